"""From samples to rows of a store: decoded, embedded and shrunk in one pool of workers, and stills told."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from videolib.cores import available_cores
from videolib.images import ImageSource, encode_jpeg, make_thumbnail, resize
from videolib.tables import FrameTable
from videolib.types import FloatArray, Frame, RGBArray
from videolib.video import SamplePlan, sample_frames

if TYPE_CHECKING:
    from videolib.encoding import Encoder

BATCH_SIZE = 32  # frames that are written at once; fewer of the first ones
FIRST_SIZE = 4  # a power of two; the first batch, and each that follows is as large as all before it
ENCODE_SIZE = 8  # images that one worker embeds at once
WAITING_BATCHES = 2  # in the model while the next one is decoded
SHRUNK_BYTES = 500_000  # of a decoded frame, in memory
STILL_SIDE = 16  # pixels of the tiny images that tell a still from a new frame
STILL_DIFFERENCE = 2  # grey levels; a still that is encoded again and again differs by one


def embed_frames(video_id: str, frames: Sequence[Frame], encoder: Encoder) -> pd.DataFrame:
    """Make rows of the frames table.

    Returns
    -------
    Columns video_id, frame_number, timestamp_seconds, embedding_data ((d,) float32, unit length) and
    frame_data (JPEG, long side 480 pixels).
    """
    times = [(frame.frame_number, frame.timestamp_seconds) for frame in frames]
    jpegs = [encode_jpeg(frame.image) for frame in frames]
    return FrameTable(_make_rows(video_id, times, list(encoder.encode_images(frames)), jpegs))


@dataclass(frozen=True)
class _Shrunk:
    """What is kept of a decoded frame: what the model needs, the JPEG, and the tiny image, (16, 16, 3)."""

    prepared: ImageSource
    jpeg: bytes
    tiny: RGBArray


def embed_samples(
    video_id: str,
    samples: SamplePlan,
    encoder: Encoder,
    *,
    reuse_stills: bool,
    pool: ThreadPoolExecutor | None = None,
) -> Generator[pd.DataFrame, None, None]:
    """Decode and embed, in one pool of one-thread workers; yield rows of the frames table in batches.

    Without a `pool` of `one_thread_workers`, which several videos may share, it makes its own. Which frames are
    stills is decided within a batch, and where batches end is told by the frame numbers alone, so that an ingest that
    resumes after any batches writes the same rows as an undisturbed one.
    """
    on_cpu = str(getattr(encoder, "device", "cpu")) == "cpu"
    size = ENCODE_SIZE if on_cpu else BATCH_SIZE  # a GPU takes one batch at a time, the larger the better
    waiting: deque[_Waiting] = deque()
    with one_thread_workers() if pool is None else nullcontext(pool) as pool:
        frames = sample_frames(
            samples, lambda image: _shrink(image, encoder), converted_bytes=SHRUNK_BYTES, pool=pool
        )
        with closing(frames):
            for _, group in groupby(frames, lambda frame: _batch_of(frame[0])):
                batch = list(group)
                fresh, source = _find_stills([shrunk.tiny for _, _, shrunk in batch], reuse_stills)
                images = [batch[row][2].prepared for row in fresh]
                parts = [images[start : start + size] for start in range(0, len(images), size)]
                futures = [pool.submit(encoder.encode_images, part) for part in parts]
                waiting.append(_Waiting(batch, source, futures))
                while waiting and (len(waiting) > WAITING_BATCHES or waiting[0].is_done()):
                    yield waiting.popleft().rows(video_id)
            while waiting:
                yield waiting.popleft().rows(video_id)


def _batch_of(frame_number: int) -> int:
    """Tell which batch a frame belongs to; the first ones are small, so that something is soon stored."""
    place = frame_number - 1
    if place >= BATCH_SIZE:
        return BATCH_SIZE + place // BATCH_SIZE
    return max(place, FIRST_SIZE - 1).bit_length()


@dataclass(frozen=True)
class _Waiting:
    """A batch on its way through the model: `source` tells of which of the embedded frames each is a still."""

    batch: list[tuple[int, float, _Shrunk]]
    source: list[int]
    futures: list[Future[FloatArray]]

    def is_done(self) -> bool:
        return all(future.done() for future in self.futures)

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
def one_thread_workers() -> Iterator[ThreadPoolExecutor]:
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
