"""`preflight`: what an ingest will take, told beforehand."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from videolib.downloads import fetch_video
from videolib.ingestion.pipeline import embed_samples
from videolib.store import FrameStore, file_bytes, mean_bytes
from videolib.types import Sampling, Video
from videolib.video import describe, plan_samples, read_timeline

if TYPE_CHECKING:
    from videolib.encoding import Encoder

PREFLIGHT_SAMPLES = 24


@dataclass(frozen=True)
class Preflight:
    """What an ingest will take: frames, seconds on this machine, bytes in the store.

    Attributes
    ----------
    store_bytes
        The pictures and embeddings themselves; addresses in the place of pictures that lie outside.
    file_bytes
        A new DuckDB file with them: beyond 32 MB about twice as much, half of it free for the next video.
    """

    video: Video
    frame_count: int
    seconds: float
    store_bytes: int
    file_bytes: int

    def __repr__(self) -> str:
        return (
            f"{_tell_seconds(self.video.duration_seconds)} of video: {self.frame_count:,} frames, about "
            f"{_tell_seconds(self.seconds)} and {_tell_megabytes(self.store_bytes)} on this machine, as a new DuckDB "
            f"file {_tell_megabytes(self.file_bytes)}"
        )


def preflight(
    source: str | os.PathLike[str],
    encoder: Encoder,
    *,
    every_seconds: float = 1.0,
    sampling: Sampling = "interval",
    store: FrameStore | None = None,
) -> Preflight:
    """Estimate what `ingest` will take, from a handful of samples in the middle of the video.

    Parameters
    ----------
    source, encoder, every_seconds, sampling
        As `ingest` takes them.
    store
        Where it goes: pictures that it keeps outside the database do not count.

    Raises
    ------
    ValueError
        If sampling is "shots", whose number is known only after decoding the whole video.
    VideoReadError, DownloadError
        As `ingest` does.
    """
    if sampling == "shots":
        raise ValueError(
            "sampling must be 'interval' or 'keyframes', got 'shots': to count shots takes as long as to ingest them"
        )
    path = fetch_video(source)
    started = time.perf_counter()
    timeline = read_timeline(path)
    video = describe(timeline, os.fspath(path))
    samples = plan_samples(timeline, every_seconds=every_seconds, sampling=sampling)
    planned = time.perf_counter() - started
    few = samples.middle(PREFLIGHT_SAMPLES)
    seconds = []
    for _ in range(2):  # the first time warms up
        started = time.perf_counter()
        rows = pd.concat(embed_samples(video.video_id, few, encoder, reuse_stills=False))
        seconds.append(time.perf_counter() - started)
    share = len(samples) / max(1, len(rows))
    outside = store is not None and store.pictures is not None
    stored = len(samples) * mean_bytes(rows, outside=outside)
    return Preflight(video, len(samples), planned + seconds[1] * share, stored, file_bytes(stored))


def _tell_megabytes(count: int) -> str:
    return f"{max(1, round(count / 1e6)):,} MB"


def _tell_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    minutes = seconds / 60
    return f"{minutes:.1f} minutes" if minutes < 10 else f"{minutes:.0f} minutes"
