"""`Worker`: opens videos and writes their frames for `ingest_videos`, several at a time on one machine."""

from __future__ import annotations

import threading
import time
import warnings
from collections import OrderedDict
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from videolib.addresses import hide_secrets, is_address
from videolib.content import content_digest
from videolib.downloads import download_video
from videolib.errors import DownloadError, VideoReadError
from videolib.ingestion.pipeline import BATCH_SIZE, embed_samples, one_thread_workers
from videolib.store import FrameStore, mean_bytes
from videolib.types import Sampling, Video
from videolib.video import SamplePlan, checked_path, describe, plan_samples, read_timeline

if TYPE_CHECKING:
    from videolib.encoding import Encoder

END_SECONDS = 10.0  # for what is in the model when all is stopped
PLANS = 16  # that are kept between opening a video and writing its frames
WRITE_SECONDS = (
    2.0  # a batch that is not full waits no longer, so that the bar moves, and an interrupt keeps it
)
Part: TypeAlias = tuple[int, int]  # the first frame_number, and the one behind the last
WRITES_A_CHECK = 100  # of the room in the store, which counts all frames there


@dataclass(frozen=True)
class Sampled:
    """How frames are chosen and embedded, as `ingest` takes it."""

    every_seconds: float
    sampling: Sampling
    reuse_stills: bool


@dataclass(frozen=True)
class Opened:
    """What is known of a video before its frames are read; without `video` it is stored whole, as it is."""

    content_id: str
    video: Video | None = None
    frame_count: int = 0
    downloaded_bytes: int = 0
    is_divisible: bool = False  # as far as anybody knows: a part of it has the same frames as the whole


@dataclass(frozen=True)
class Written:
    """What became of a video's samples, or of a part of them."""

    frame_count: int
    lost_count: int
    problem: str  # of samples that could not be read


class Worker:
    """One machine's pool of threads, and the encoder; any thread may call it. To be entered before."""

    def __init__(self, encoder: Encoder, store: FrameStore, how: Sampled) -> None:
        self.encoder, self.store, self.how = encoder, store, how
        self.stopped = threading.Event()
        self._plans: OrderedDict[str, tuple[Path, SamplePlan]] = OrderedDict()
        self._lock = threading.Lock()
        self._written = self._writes = 0

    def __enter__(self) -> Worker:
        with ExitStack() as stack:
            self._heard = stack.enter_context(warnings.catch_warnings(record=True))
            warnings.simplefilter("always")
            self._pool = stack.enter_context(one_thread_workers())
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
        self._open.close()
        for each in self._heard:  # what is not of a video
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)

    def stop(self) -> None:
        """Let all that runs end soon, with what is embedded written."""
        self.stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def frames_written(self) -> int:
        """Count the frames that were written so far."""
        return self._written

    def open(self, source: str, content_id: str | None, stored: frozenset[str]) -> Opened:
        """Fetch a video and plan its samples.

        Parameters
        ----------
        content_id
            Of the video that this source was stored with whole; where it still holds that, nothing else is done.
        stored
            The content_ids that are stored whole, under whatever source.
        """
        path = self._fetch(source)
        size = path.stat().st_size if is_address(source) else 0
        if content_id is not None and content_digest(path) == content_id:
            return Opened(content_id, downloaded_bytes=size)
        timeline = read_timeline(path)
        video = describe(timeline, hide_secrets(source))
        if video.video_id in stored:
            return Opened(video.video_id, video, downloaded_bytes=size)
        plan = plan_samples(timeline, every_seconds=self.how.every_seconds, sampling=self.how.sampling)
        with self._lock:
            self._plans[source] = path, plan
            while len(self._plans) > PLANS:
                self._plans.popitem(last=False)
        planned = sum(map(len, plan.by_packet.values()))
        is_divisible = not (
            is_address(source)  # which each machine would have to download
            or self.how.sampling == "shots"  # for which each would have to decode all
            or timeline.is_untimed
            or plan.doubt
            or planned < len(plan)
        )
        return Opened(video.video_id, video, len(plan), size, is_divisible)

    def write(self, source: str, video_id: str, is_new: bool, part: Part | None = None) -> Written:
        """Embed and write what is missing of a video that is recorded already, or of a part of it."""
        with self._lock:
            kept = self._plans.get(source)
        if kept is None:
            self.open(source, None, frozenset())
            return self.write(source, video_id, is_new, part)
        path, plan = kept
        first, stop = part or (1, len(plan) + 1)
        others = [number for number in range(1, len(plan) + 1) if not first <= number < stop]
        done = set() if is_new else {*self.store.read_frame_numbers(video_id).tolist()}.difference(others)
        count = len(done) + self._write(plan.without([*done, *others]), video_id)
        if part is None:
            with self._lock:
                self._plans.pop(source, None)
        if not (count or part or self.stopped.is_set()):
            raise VideoReadError(
                f"{path} has no frame that can be read among the {len(plan)} to sample; download or export it again"
            )
        return Written(count, stop - first - count, self._problem(path))

    def _write(self, samples: SamplePlan, video_id: str) -> int:
        """Write the samples, as many at once as a batch has, or what is embedded when it is stopped."""
        how, waiting, count, written_at = self.how, [], 0, time.monotonic()
        batches = embed_samples(
            video_id, samples, self.encoder, reuse_stills=how.reuse_stills, pool=self._pool
        )
        try:
            with closing(batches):
                for batch in batches:
                    waiting.append(batch)
                    if self.stopped.is_set():
                        break
                    is_late = time.monotonic() - written_at > WRITE_SECONDS
                    if is_late or sum(map(len, waiting)) >= BATCH_SIZE:
                        count += self._put(waiting, len(samples) - count)
                        written_at = time.monotonic()
        except Exception:
            if not self.stopped.is_set():  # else the pool is closed
                raise
        return count + self._put(waiting, len(samples) - count)

    def _put(self, waiting: list[pd.DataFrame], left: int) -> int:
        if not waiting:
            return 0
        rows = pd.concat(waiting, ignore_index=True)
        waiting.clear()
        with self._lock:
            is_due = self._writes % WRITES_A_CHECK == 0
            self._writes += 1
        if is_due:
            self.store.check_room(left, frame_bytes=mean_bytes(rows))
        self.store.write_frames(rows)
        with self._lock:
            self._written += len(rows)
        return len(rows)

    def _fetch(self, source: str) -> Path:
        if not is_address(source):
            return checked_path(source)
        try:
            return checked_path(download_video(source, progress=False, stop=self.stopped))
        except ValueError as error:
            raise DownloadError(str(error)) from error

    def _problem(self, path: Path) -> str:
        """Take what was warned of a file."""
        begin = f"{path}: "
        told = [each for each in list(self._heard) if str(each.message).startswith(begin)]
        for each in told:
            self._heard.remove(each)
        return "; ".join(str(each.message)[len(begin) :] for each in told)
