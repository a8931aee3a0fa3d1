"""`ingest`: one video into a store, or what is missing of it."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace as replaced
from typing import TYPE_CHECKING

import pandas as pd

from videolib.addresses import hide_secrets, printable
from videolib.downloads import fetch_video
from videolib.errors import StoreError, VideoReadError, interrupted
from videolib.ingestion.pipeline import embed_samples
from videolib.ingestion.sources import locate
from videolib.progress import tqdm
from videolib.store import FrameStore, mean_bytes
from videolib.types import Sampling, Video
from videolib.video import SamplePlan, describe, plan_samples, read_timeline

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
    replace: bool = False,
    progress: bool = True,
) -> Video:
    """Sample a video's frames, embed them and write them to a store.

    A video that is stored already costs nothing. An interrupted run, whatever ended it, is resumed:
    the store then holds the same rows as after an undisturbed one. Another sampling of a stored video is stored
    beside it, and a search of all videos takes the one that was ingested last. Decoding and embedding share the
    cores.

    Parameters
    ----------
    source
        A path, or an http(s) URL, which is downloaded to the cache first. The store keeps the absolute path.
    encoder, store
        What embeds the frames, and where they go.
    every_seconds, sampling
        How frames are chosen, as `extract_frames` takes it.
    reuse_stills
        Give a frame that looks like the one before it, such as a slide that stays, the embedding and the
        picture of that one instead of embedding it again. Each keeps its row and its time.
    replace
        Where the source was stored with other content, delete that when the new is complete.
    progress
        Show a progress bar, in a notebook or a terminal.

    Returns
    -------
    The video; its video_id is the key to its frames at this sampling.

    Raises
    ------
    VideoReadError
        If the file is no readable video, or not one of the frames to sample can be read.
    DownloadError
        If the URL cannot be downloaded.
    StoreError
        If the store holds another model's embeddings, or this source with other content, or if its database is of
        SingleStore's free shared tier and has no room.
    """
    source = locate(source)
    timeline = read_timeline(fetch_video(source, progress=progress))
    video = describe(timeline, hide_secrets(source))
    videos = store.list_videos(missing_ok=True)
    # What is hidden of an address may be all that tells it from another.
    outdated = find_outdated(videos, video) if video.source == source else videos.head(0)
    if len(outdated) and not replace:
        raise StoreError(describe_outdated(outdated, video))
    known = (videos["content_id"] == video.video_id) & (videos["sampling"] == sampling)
    known &= videos["every_seconds"] == every_seconds
    samples = None
    if not videos["complete"][known].any():
        samples = plan_samples(timeline, every_seconds=every_seconds, sampling=sampling)
    video_id = store.write_video(
        video,
        model=encoder.model,
        dimension=encoder.dimension,
        every_seconds=every_seconds,
        sampling=sampling,
    )
    video = replaced(video, video_id=video_id)
    if samples is not None:
        _ingest_samples(samples, video, encoder, store, reuse_stills=reuse_stills, progress=progress)
    for video_id in outdated["video_id"]:
        store.delete_video(video_id)
    return video


def find_outdated(videos: pd.DataFrame, video: Video) -> pd.DataFrame:
    """The stored videos of the same source and other content."""
    return videos[(videos["source"] == printable(video.source)) & (videos["content_id"] != video.video_id)]


def describe_outdated(outdated: pd.DataFrame, video: Video) -> str:
    """Say why a source whose content changed is refused, and what to do."""
    title, video_id = outdated.iloc[0][["title", "video_id"]]
    return (
        f"source must hold what it held when it was stored, got other content in {video.source!r}, stored as "
        f"{title!r} ({video_id}): call ingest with replace=True to put the new in its place, or ingest a copy of "
        "another name to keep both"
    )


def _ingest_samples(
    samples: SamplePlan,
    video: Video,
    encoder: Encoder,
    store: FrameStore,
    *,
    reuse_stills: bool,
    progress: bool,
) -> None:
    """Write what is missing of a video that is recorded already, and mark it complete."""
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
        raise interrupted(
            f"{written} of {len(samples)} frames of {video.title!r} are stored: call ingest again to go on"
        ) from None
    if not written:
        raise VideoReadError(
            f"{samples.timeline.table.path} has no frame that can be read among the {len(samples)} to sample; "
            "download or export it again"
        )
    store.mark_complete(video.video_id)
