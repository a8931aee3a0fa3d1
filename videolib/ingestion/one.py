"""`ingest`: one video into a store, or what is missing of it."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from videolib.addresses import hide_secrets
from videolib.downloads import fetch_video
from videolib.errors import VideoReadError
from videolib.ingestion.pipeline import embed_samples
from videolib.progress import tqdm
from videolib.store import FrameStore, mean_bytes
from videolib.types import Sampling, Video
from videolib.video import describe, plan_samples, read_timeline

if TYPE_CHECKING:
    from videolib.encoding import Encoder


def ingest(
    source: str | os.PathLike[str],
    encoder: Encoder,
    store: FrameStore,
    *,
    every_seconds: float = 1.0,
    sampling: Sampling = "interval",
    reuse_stills: bool = True,
    progress: bool = True,
) -> Video:
    """Sample a video's frames, embed them and write them to a store.

    A video that is stored already costs nothing. An interrupted run, whatever ended it, is resumed:
    the store then holds the same rows as after an undisturbed one. Decoding and embedding share the cores.

    Parameters
    ----------
    source
        A path, or an http(s) URL, which is downloaded to the cache first.
    encoder, store
        What embeds the frames, and where they go.
    every_seconds, sampling
        How frames are chosen, as `extract_frames` takes it.
    reuse_stills
        Give a frame that looks like the one before it, such as a slide that stays, the embedding and the
        picture of that one instead of embedding it again. Each keeps its row and its time.
    progress
        Show a progress bar, in a notebook or a terminal.

    Returns
    -------
    The video; its video_id is the key to its frames.

    Raises
    ------
    VideoReadError
        If the file is no readable video, or not one of the frames to sample can be read.
    DownloadError
        If the URL cannot be downloaded.
    StoreError
        If the store holds another model's embeddings, or this video's frames chosen otherwise, or if its
        database is of SingleStore's free shared tier and has no room.
    """
    timeline = read_timeline(fetch_video(source, progress=progress))
    video = describe(timeline, hide_secrets(os.fspath(source)))
    videos = store.list_videos().set_index("video_id")
    is_complete = videos["complete"].get(video.video_id, False)
    samples = None
    if not is_complete:
        samples = plan_samples(timeline, every_seconds=every_seconds, sampling=sampling)
    store.write_video(
        video,
        model=encoder.model,
        dimension=encoder.dimension,
        every_seconds=every_seconds,
        sampling=sampling,
    )
    if samples is None:
        return video
    done = store.read_frame_numbers(video.video_id)
    left, written = samples.without(done.tolist()), len(done)
    batches = embed_samples(video.video_id, left, encoder, reuse_stills=reuse_stills)
    bar = tqdm(total=len(samples), initial=len(done), desc=video.title, unit="frame", disable=not progress)
    try:
        with bar, closing(batches):
            for number, batch in enumerate(batches):
                if number in (0, 4):  # the first batches are small, and often black
                    store.check_room(len(samples) - written, frame_bytes=mean_bytes(batch))
                store.write_frames(batch)
                bar.update(len(batch))
                written += len(batch)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{written} of {len(samples)} frames of {video.title!r} are stored: call ingest again to go on"
        ) from None
    if not written:
        raise VideoReadError(
            f"{timeline.table.path} has no frame that can be read among the {len(samples)} to sample; "
            "download or export it again"
        )
    store.mark_complete(video.video_id)
    return video
