"""A video's way into a store: read, embed and write in batches, and go on where an earlier run stopped."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import pandas as pd
from tqdm.auto import tqdm

from videolib.database import FrameStore
from videolib.downloads import fetch_video, hide_secrets
from videolib.frames import Frame, Video, extract_frames, probe_video
from videolib.images import encode_jpeg

if TYPE_CHECKING:
    from videolib.encoding import Encoder

BATCH_SIZE = 32


def embed_frames(video_id: str, frames: Sequence[Frame], encoder: Encoder) -> pd.DataFrame:
    """Make rows of the frames table.

    Returns
    -------
    Columns video_id, frame_number, timestamp_seconds, embedding_data ((d,) float32, unit length) and
    frame_data (JPEG, long side 480 pixels).
    """
    return pd.DataFrame(
        {
            "video_id": video_id,
            "frame_number": [frame.frame_number for frame in frames],
            "timestamp_seconds": [frame.timestamp_seconds for frame in frames],
            "embedding_data": list(encoder.encode_images(frames)),
            "frame_data": [encode_jpeg(frame.image) for frame in frames],
        }
    )


def ingest(
    source: str | os.PathLike[str],
    encoder: Encoder,
    store: FrameStore,
    *,
    every_seconds: float = 1.0,
    progress: bool = True,
) -> Video:
    """Sample a video's frames, embed them and write them to a store.

    A video that is stored already costs nothing. An interrupted run, whatever ended it, is gone on with:
    the store then holds the same rows as after an undisturbed one.

    Parameters
    ----------
    source
        A path, or an http(s) URL, which is downloaded to the cache first.
    encoder, store
        What embeds the frames, and where they go.
    every_seconds
        Interval between two samples.
    progress
        Show a progress bar, in a notebook or a terminal.

    Returns
    -------
    The video; its video_id is the key to its frames.

    Raises
    ------
    VideoReadError
        If the file is no readable video.
    DownloadError
        If the URL cannot be downloaded.
    StoreError
        If the store holds another model's embeddings, or this video at another interval.
    """
    path = fetch_video(source, progress=progress)
    video = replace(probe_video(path), source=hide_secrets(os.fspath(source)))
    stored = store.list_videos().set_index("video_id")
    done = int(stored["last_frame_number"].get(video.video_id, 0))
    frames = extract_frames(path, every_seconds=every_seconds, start_seconds=done * every_seconds)
    store.write_video(video, model=encoder.model, dimension=encoder.dimension, every_seconds=every_seconds)
    if stored["complete"].get(video.video_id, False):
        return video
    total = math.ceil(video.duration_seconds / every_seconds)
    with tqdm(total=total, initial=done, desc=video.title, unit="frame", disable=not progress) as bar:
        for batch in iter(lambda: list(islice(frames, BATCH_SIZE)), []):
            store.write_frames(embed_frames(video.video_id, batch, encoder))
            bar.update(len(batch))
    store.mark_complete(video.video_id)
    return video
