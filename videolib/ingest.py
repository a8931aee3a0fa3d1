"""A video's way into a store: read, embed and write in batches, and go on where an earlier run stopped."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from videolib.database import FrameStore
from videolib.decoding import available_cores
from videolib.downloads import fetch_video, hide_secrets
from videolib.frames import (
    Frame,
    SamplePlan,
    Sampling,
    Video,
    describe,
    plan_samples,
    read_plan,
    sample_frames,
)
from videolib.images import ImageSource, RGBArray, encode_jpeg, make_thumbnail, resize

if TYPE_CHECKING:
    from videolib.encoding import Encoder
    from videolib.similarity import FloatArray

BATCH_SIZE = 32  # frames that are written at once
ENCODE_SIZE = 8  # pictures that one worker embeds at once
WAITING_BATCHES = 2  # in the model while the next one is decoded
SHRUNK_BYTES = 500_000  # of a decoded frame, in memory
STILL_SIDE = 16  # pixels of the tiny pictures that tell a still from a new picture
STILL_DIFFERENCE = 2  # grey levels; a still that is encoded again and again differs by one
PREFLIGHT_SAMPLES = 24
ROW_BYTES = 120  # of a frame in the store beside its embedding and its picture


@dataclass(frozen=True)
class _Shrunk:
    """What is kept of a decoded frame: what the model needs, the JPEG, and the tiny picture, (16, 16, 3)."""

    prepared: ImageSource
    jpeg: bytes
    tiny: RGBArray


def embed_frames(video_id: str, frames: Sequence[Frame], encoder: Encoder) -> pd.DataFrame:
    """Make rows of the frames table.

    Returns
    -------
    Columns video_id, frame_number, timestamp_seconds, embedding_data ((d,) float32, unit length) and
    frame_data (JPEG, long side 480 pixels).
    """
    times = [(frame.frame_number, frame.timestamp_seconds) for frame in frames]
    jpegs = [encode_jpeg(frame.image) for frame in frames]
    return _make_rows(video_id, times, list(encoder.encode_images(frames)), jpegs)


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

    A video that is stored already costs nothing. An interrupted run, whatever ended it, is gone on with:
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
        If the file is no readable video.
    DownloadError
        If the URL cannot be downloaded.
    StoreError
        If the store holds another model's embeddings, or this video's frames chosen otherwise, or if its
        database is of SingleStore's free shared tier and has no room.
    """
    plan = read_plan(fetch_video(source, progress=progress))
    video = describe(plan, hide_secrets(os.fspath(source)))
    stored = store.list_videos().set_index("video_id")
    is_complete = stored["complete"].get(video.video_id, False)
    samples = None
    if not is_complete:
        samples = plan_samples(plan, every_seconds=every_seconds, sampling=sampling)
    store.write_video(
        video,
        model=encoder.model,
        dimension=encoder.dimension,
        every_seconds=every_seconds,
        sampling=sampling,
    )
    if samples is None:
        return video
    done = int(stored["last_frame_number"].get(video.video_id, 0))
    total = len(samples)
    store.check_room(total - done)
    batches = _embed_samples(video.video_id, samples.after(done), encoder, reuse_stills=reuse_stills)
    bar = tqdm(total=total, initial=done, desc=video.title, unit="frame", disable=not progress)
    with bar, closing(batches):
        for batch in batches:
            store.write_frames(batch)
            bar.update(len(batch))
    store.mark_complete(video.video_id)
    return video


@dataclass(frozen=True)
class Preflight:
    """What an ingest will take: frames, seconds on this machine, bytes in the store."""

    video: Video
    frame_count: int
    seconds: float
    store_bytes: int

    def __repr__(self) -> str:
        return (
            f"{_tell_seconds(self.video.duration_seconds)} of video: {self.frame_count:,} frames, about "
            f"{_tell_seconds(self.seconds)} and {max(1, round(self.store_bytes / 1e6)):,} MB on this machine"
        )


def preflight(
    source: str | os.PathLike[str],
    encoder: Encoder,
    *,
    every_seconds: float = 1.0,
    sampling: Sampling = "interval",
) -> Preflight:
    """Estimate what `ingest` will take, from a handful of samples in the middle of the video.

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
    plan = read_plan(path)
    video = describe(plan, os.fspath(path))
    samples = plan_samples(plan, every_seconds=every_seconds, sampling=sampling)
    planned = time.perf_counter() - started
    few = samples.middle(PREFLIGHT_SAMPLES)
    seconds = []
    for _ in range(2):  # the first time warms up
        started = time.perf_counter()
        rows = pd.concat(_embed_samples(video.video_id, few, encoder, reuse_stills=False))
        seconds.append(time.perf_counter() - started)
    share = len(samples) / max(1, len(rows))
    row_bytes = rows["frame_data"].map(len).mean() + 4 * encoder.dimension + ROW_BYTES
    return Preflight(video, len(samples), planned + seconds[1] * share, round(len(samples) * row_bytes))


def _embed_samples(
    video_id: str, samples: SamplePlan, encoder: Encoder, *, reuse_stills: bool
) -> Generator[pd.DataFrame, None, None]:
    """Decode and embed, in one pool of one-thread workers; yield rows of the frames table in batches.

    Which frames are stills is decided within a batch, so that an ingest that goes on after any batch writes
    the same rows as an undisturbed one.
    """
    on_cpu = str(getattr(encoder, "device", "cpu")) == "cpu"
    size = ENCODE_SIZE if on_cpu else BATCH_SIZE  # a GPU takes one batch at a time, the larger the better
    waiting: deque[_Waiting] = deque()
    with _one_thread_workers() as pool:
        frames = sample_frames(
            samples, lambda image: _shrink(image, encoder), converted_bytes=SHRUNK_BYTES, pool=pool
        )
        with closing(frames):
            for batch in iter(lambda: list(islice(frames, BATCH_SIZE)), []):
                fresh, source = _find_stills([shrunk.tiny for _, _, shrunk in batch], reuse_stills)
                pictures = [batch[row][2].prepared for row in fresh]
                parts = [pictures[start : start + size] for start in range(0, len(pictures), size)]
                futures = [pool.submit(encoder.encode_images, part) for part in parts]
                waiting.append(_Waiting(batch, source, futures))
                if len(waiting) > WAITING_BATCHES:
                    yield waiting.popleft().rows(video_id)
            while waiting:
                yield waiting.popleft().rows(video_id)


@dataclass(frozen=True)
class _Waiting:
    """A batch on its way through the model: `source` tells of which of the embedded frames each is a still."""

    batch: list[tuple[int, float, _Shrunk]]
    source: list[int]
    futures: list[Future[FloatArray]]

    def rows(self, video_id: str) -> pd.DataFrame:
        embeddings = np.concatenate([future.result() for future in self.futures])
        first = [self.source.index(one) for one in self.source]
        return _make_rows(
            video_id,
            [(frame_number, seconds) for frame_number, seconds, _ in self.batch],
            [embeddings[one] for one in self.source],
            [self.batch[row][2].jpeg for row in first],
        )


def _make_rows(
    video_id: str,
    times: Sequence[tuple[int, float]],
    embeddings: Sequence[FloatArray],
    jpegs: Sequence[bytes],
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "video_id": video_id,
            "frame_number": [frame_number for frame_number, _ in times],
            "timestamp_seconds": [seconds for _, seconds in times],
            "embedding_data": list(embeddings),
            "frame_data": list(jpegs),
        }
    )


def _shrink(image: RGBArray, encoder: Encoder) -> _Shrunk:
    thumbnail = make_thumbnail(image)
    return _Shrunk(encoder.prepare(image), encode_jpeg(thumbnail), resize(thumbnail, STILL_SIDE, STILL_SIDE))


def _find_stills(tinies: Sequence[RGBArray], reuse_stills: bool) -> tuple[list[int], list[int]]:
    """Tell which rows are to be embedded, and for each row which of those it takes its embedding from."""
    fresh: list[int] = []
    source = []
    for row, tiny in enumerate(tinies):
        # held against the last one embedded, so that a slow change does not creep by
        if not (reuse_stills and fresh and _is_still(tinies[fresh[-1]], tiny)):
            fresh.append(row)
        source.append(len(fresh) - 1)
    return fresh, source


def _is_still(one: RGBArray, other: RGBArray) -> bool:
    return int(np.abs(one.astype(np.int16) - other).max()) <= STILL_DIFFERENCE


@contextmanager
def _one_thread_workers() -> Iterator[ThreadPoolExecutor]:
    """Start a worker for each core; torch uses no further threads in them, which would fight for the cores."""
    torch = sys.modules.get("torch")  # an encoder of one's own may do without
    before = torch.get_num_threads() if torch else 1
    one_thread = partial(torch.set_num_threads, 1) if torch else None
    pool = ThreadPoolExecutor(available_cores(), initializer=one_thread)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        if torch:
            torch.set_num_threads(before)  # parts of it are common to all threads


def _tell_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    minutes = seconds / 60
    return f"{minutes:.1f} minutes" if minutes < 10 else f"{minutes:.0f} minutes"
