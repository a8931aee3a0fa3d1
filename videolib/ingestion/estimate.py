"""`preflight` and `preflight_videos`: what an ingest will take, told beforehand."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from videolib.addresses import is_address
from videolib.downloads import fetch_video
from videolib.errors import DownloadError, VideoReadError
from videolib.ingestion.pipeline import embed_samples
from videolib.ingestion.sources import Source, find_sources
from videolib.progress import tqdm
from videolib.shown import facts_html
from videolib.store import FrameStore, file_bytes, mean_bytes
from videolib.times import format_seconds
from videolib.types import Sampling, Video
from videolib.video import describe, plan_samples, read_timeline

if TYPE_CHECKING:
    from videolib.encoding import Encoder

PREFLIGHT_SAMPLES = 24
PREFLIGHT_VIDEOS = 5  # of which some frames are embedded


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
            f"{_tell_seconds(self.seconds)} on this machine,\n{_tell_room(self.store_bytes, self.file_bytes)}"
        )

    def _repr_html_(self) -> str:
        return _takes_html(
            self, {"video": f"{self.video.title}, {format_seconds(self.video.duration_seconds)}"}
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


@dataclass(frozen=True)
class PreflightVideos:
    """What `ingest_videos` will take: frames, seconds on this machine, bytes in the store.

    Attributes
    ----------
    video_count
        Contents that can be read, each counted once; with those at addresses that nobody has looked at.
    problems
        source and error of what cannot be read.
    duration_seconds
        All videos together.
    """

    video_count: int
    problems: pd.DataFrame
    duration_seconds: float
    frame_count: int
    seconds: float
    store_bytes: int
    file_bytes: int

    def __repr__(self) -> str:
        failed = f", {len(self.problems):,} more that cannot be read" if len(self.problems) else ""
        return (
            f"{self.video_count:,} videos{failed}: {_tell_seconds(self.duration_seconds)}, "
            f"{self.frame_count:,} frames,\nabout {_tell_seconds(self.seconds)} on this machine, "
            f"{_tell_room(self.store_bytes, self.file_bytes)}"
        )

    def _repr_html_(self) -> str:
        what = {"videos": f"{self.video_count:,}, {format_seconds(self.duration_seconds)} together"}
        if len(self.problems):
            what["cannot be read"] = f"{len(self.problems):,}: see problems"
        return _takes_html(self, what)


def preflight_videos(
    sources: Source | Iterable[Source],
    encoder: Encoder,
    *,
    recursive: bool = True,
    every_seconds: float = 1.0,
    sampling: Sampling = "interval",
    store: FrameStore | None = None,
    progress: bool = True,
) -> PreflightVideos:
    """Estimate what `ingest_videos` will take, by `preflight` of five videos spread over the list.

    The frames of the others are counted without decoding them; addresses, but for those among the five, are not
    downloaded, and count as the mean of what is known.

    Raises
    ------
    ValueError
        As `ingest_videos` and `preflight` do.
    VideoReadError
        If not one of the videos that were looked at can be read.
    """
    found = find_sources(sources, recursive=recursive)
    chosen = set(np.linspace(0, len(found) - 1, PREFLIGHT_VIDEOS).round().astype(int).tolist())
    known: dict[str, tuple[float, int]] = {}  # seconds and frames by content
    closely, problems, unseen = [], [], 0
    for place, source in enumerate(tqdm(found, desc="preflight", unit="video", disable=not progress)):
        if is_address(source) and place not in chosen:
            unseen += 1
            continue
        try:
            if place in chosen:
                told = preflight(source, encoder, every_seconds=every_seconds, sampling=sampling, store=store)
                closely.append(told)
                video, count = told.video, told.frame_count
            else:
                timeline = read_timeline(source)
                video = describe(timeline, source)
                count = len(plan_samples(timeline, every_seconds=every_seconds, sampling=sampling))
            known[video.video_id] = video.duration_seconds, count
        except (VideoReadError, DownloadError, OSError) as error:
            problems.append((source, str(error)))
    if not closely:
        raise VideoReadError(
            f"none of the {len(chosen)} videos that were tried can be read: {problems[0][1]}"
        )
    share = 1 + unseen / len(known)
    frame_count = round(sum(count for _, count in known.values()) * share)
    tried = sum(told.frame_count for told in closely)
    stored = round(sum(told.store_bytes for told in closely) / tried * frame_count)
    return PreflightVideos(
        len(known) + unseen,
        pd.DataFrame(problems, columns=["source", "error"]),
        sum(seconds for seconds, _ in known.values()) * share,
        frame_count,
        sum(told.seconds for told in closely) / tried * frame_count,
        stored,
        file_bytes(stored),
    )


def _takes_html(told: Preflight | PreflightVideos, what: dict[str, str]) -> str:
    takes = {
        "frames": f"{told.frame_count:,}",
        "time": f"about {_tell_seconds(told.seconds)} on this machine",
        "room": _tell_room(told.store_bytes, told.file_bytes),
    }
    return facts_html("What an ingest will take", what | takes)


def _tell_room(store_bytes: int, file_bytes: int) -> str:
    return f"{_tell_megabytes(store_bytes)} in a store, as a new DuckDB file {_tell_megabytes(file_bytes)}"


def _tell_megabytes(count: int) -> str:
    return f"{max(1, round(count / 1e6)):,} MB"


def _tell_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    minutes = seconds / 60
    return f"{minutes:.1f} minutes" if minutes < 10 else f"{minutes:.0f} minutes"
