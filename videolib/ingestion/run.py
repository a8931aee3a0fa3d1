"""The way of many videos into a store: what is begun when, and what becomes of each."""

from __future__ import annotations

import heapq
import math
import os
from collections import defaultdict, deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from videolib.addresses import hide_secrets, is_address, printable
from videolib.errors import DownloadError, VideoReadError, interrupted
from videolib.ingestion.one import describe_outdated, find_outdated
from videolib.ingestion.worker import Opened, Part, Sampled, Written
from videolib.store import FrameStore
from videolib.types import Video

if TYPE_CHECKING:
    from videolib.encoding import Encoder

OPENED_AHEAD = 4  # videos that are opened, or being opened, before their turn
DOWNLOADED_AHEAD = 4 << 30  # bytes; where so much waits for its turn no further download begins
TICK_SECONDS = 0.2  # between two looks at the bar
OF_ONE_VIDEO = (VideoReadError, DownloadError, OSError)


class Workers(Protocol):
    """What opens and writes videos, without letting anybody wait."""

    @property
    def at_once(self) -> int: ...  # videos that are written, and downloads
    def open(self, source: str, content_id: str | None, stored: frozenset[str]) -> Future[Opened]: ...
    def split(self, opened: Opened) -> list[Part | None]: ...  # None for all of it
    def write(self, source: str, video_id: str, is_new: bool, part: Part | None) -> Future[Written]: ...
    def wait(self, running: Iterable[Future[Any]], seconds: float) -> set[Future[Any]]: ...
    def frames_written(self) -> int: ...
    def stop(self, writing: Iterable[Future[Any]]) -> None: ...


@dataclass(eq=False)
class Row:
    """A source, and what is known of it."""

    place: int
    source: str
    size: int  # bytes of the file; of an address 0 until it is downloaded
    content_id: str = ""
    video: Video | None = None
    video_id: str | None = None
    frame_count: int = 0  # that are stored in the end
    is_new: bool = True
    part_count: int = 1
    parts: list[Written] = field(default_factory=list)  # that are written
    state: str = ""
    error: str = ""

    def fail(self, error: object) -> None:
        self.state, self.error, self.video_id, self.frame_count = "failed", str(error), None, 0


class Run:
    """All sources on their way: unopened, being opened, opened, ready, being written, ended."""

    def __init__(
        self,
        sources: list[str],
        encoder: Encoder,
        store: FrameStore,
        how: Sampled,
        workers: Workers,
        *,
        replace: bool,
    ) -> None:
        self.encoder, self.store, self.how, self.workers, self.replace = encoder, store, how, workers, replace
        self.rows = [Row(place, each, _file_size(each)) for place, each in enumerate(sources)]
        self.bytes_known = self.frames_known = 0
        self.unopened = deque(self.rows)
        self.opened: list[tuple[int, Row, Opened]] = []  # a heap, by the rows' places
        self.ready: deque[tuple[Row, Part | None]] = deque()
        self.running: dict[Future[Any], tuple[str, Row]] = {}
        self.turn = 0  # the first row that is not taken
        self.taken: set[int] = set()
        self.by_content: dict[str, list[Row]] = defaultdict(
            list
        )  # the first of each is the one that is written
        self.stored = store.list_videos(missing_ok=True)
        alike = self.stored[
            (self.stored["sampling"] == how.sampling) & (self.stored["every_seconds"] == how.every_seconds)
        ]
        self.known = {row["content_id"]: row for row in alike.to_dict("records")}
        self.whole = frozenset(content_id for content_id, row in self.known.items() if row["complete"])
        self.sources = {self.known[content_id]["source"]: content_id for content_id in self.whole}
        self.model_fits = self.has_changed = False
        self.shown = 0, 0  # videos that have ended, and frames

    def work(self, bar: Any) -> None:
        """Bring all rows to their end; `bar` is tqdm's."""
        try:
            while self.unopened or self.opened or self.ready or self.running:
                self._begin()
                for future in self.workers.wait(self.running, TICK_SECONDS):
                    self._end(*self.running.pop(future), future)
                self._show(bar)
            self._settle_duplicates()
            self._delete_outdated()
        except BaseException as error:
            self.workers.stop([future for future, (task, _) in self.running.items() if task == "write"])
            if isinstance(error, KeyboardInterrupt):
                raise interrupted(self._kept()) from None
            raise

    def _begin(self) -> None:
        """Begin what there is room for."""
        while self.unopened and self._may_open(self.unopened[0]):
            row = self.unopened.popleft()
            known = self.sources.get(printable(row.source))
            if known and is_address(row.source):
                heapq.heappush(self.opened, (row.place, row, Opened(known)))
            else:
                self.running[self.workers.open(row.source, known, self.whole)] = "open", row
        # In order, so that of the same content the first is written; but the cores wait for no download.
        while self.opened:
            if self.opened[0][0] != self.turn and (self.ready or self._doing("write")):
                break
            _, row, opened = heapq.heappop(self.opened)
            self._take(row, opened)
        while self.ready and len(self._doing("write")) < self.workers.at_once:
            row, part = self.ready.popleft()
            if row.video_id is None:
                row.video_id = self._record(row)
            self.running[self.workers.write(row.source, row.video_id, row.is_new, part)] = "write", row

    def _doing(self, task: str) -> list[Row]:
        return [row for each, row in self.running.values() if each == task]

    def _may_open(self, row: Row) -> bool:
        opening = self._doing("open")
        ahead = [*(row for _, row, _ in self.opened), *(row for row, _ in self.ready)]
        if len(opening) + len(ahead) >= max(OPENED_AHEAD, self.workers.at_once):
            return False
        downloaded = sum(each.size for each in [*ahead, *self._doing("write")] if is_address(each.source))
        downloads = sum(is_address(each.source) for each in opening)
        return not is_address(row.source) or (
            downloads < self.workers.at_once and downloaded < DOWNLOADED_AHEAD
        )

    def _end(self, task: str, row: Row, future: Future[Any]) -> None:
        try:
            result = future.result()
        except OF_ONE_VIDEO as error:
            row.fail(error)
            if task == "open":
                self._pass(row)
            return
        if task == "open":
            row.size = row.size or result.downloaded_bytes
            heapq.heappush(self.opened, (row.place, row, result))
        else:
            self._collect(row, result)

    def _pass(self, row: Row, frame_count: int = 0) -> None:
        """Note that it is this row's turn no more, and how many frames of it are to be written."""
        self.bytes_known += row.size
        self.frames_known += frame_count
        self.taken.add(row.place)
        while self.turn in self.taken:
            self.taken.remove(self.turn)
            self.turn += 1

    def _take(self, row: Row, opened: Opened) -> None:
        """Decide what is to be done for a row that is opened."""
        known = self.known.get(opened.content_id, {})
        row.content_id = opened.content_id
        row.video = opened.video or Video(row.content_id, *(known[each.name] for each in fields(Video)[1:]))
        left = 0
        if changed := self._find_change(row.video, row.source):
            row.fail(changed)
        else:
            same = self.by_content[row.content_id]
            same.append(row)
            if len(same) == 1 and row.content_id in self.whole:
                self._keep(row, row.video, known)
            elif len(same) == 1:
                row.is_new = not known
                parts = self.workers.split(opened)
                row.part_count = len(parts)
                self.ready.extend((row, part) for part in parts)
                left = opened.frame_count - known.get("frame_count", 0)
        self._pass(row, left)

    def _find_change(self, video: Video, source: str) -> str:
        """Say that the source was stored with other content, if it was and that is not to be replaced."""
        if video.source != source:
            return ""  # what is hidden of an address may be all that tells it from another
        outdated = find_outdated(self.stored, video)
        self.has_changed |= len(outdated) > 0
        return describe_outdated(outdated, video) if len(outdated) and not self.replace else ""

    def _keep(self, row: Row, video: Video, known: dict[Any, Any]) -> None:
        """Leave a video as it is stored, but for its source and title; it becomes the latest of its content."""
        row.state, row.video_id, row.frame_count = "already stored", known["video_id"], known["frame_count"]
        is_same = all(known[name] == printable(getattr(video, name)) for name in ("title", "source"))
        if not (is_same and known["latest"] and self.model_fits):
            self._record(row)

    def _record(self, row: Row) -> str:
        """Record the video, or its new source; StoreError if the store holds another model's embeddings."""
        assert row.video is not None
        video_id = self.store.write_video(
            row.video,
            model=self.encoder.model,
            dimension=self.encoder.dimension,
            every_seconds=self.how.every_seconds,
            sampling=self.how.sampling,
        )
        self.model_fits = True
        return video_id

    def _collect(self, row: Row, written: Written) -> None:
        """Take what was written of a video; what is damaged is written anew in one go, for there parts may differ."""
        row.parts.append(written)
        if row.state or len(row.parts) < row.part_count:
            return
        assert row.video_id is not None
        if row.part_count > 1 and any(part.lost_count or part.problem for part in row.parts):
            self.store.delete_video(row.video_id)
            row.video_id, row.is_new, row.part_count, row.parts = None, True, 1, []
            self.ready.appendleft((row, None))
            return
        self.store.mark_complete(row.video_id)
        row.state, row.frame_count = "stored", sum(part.frame_count for part in row.parts)
        row.error = "; ".join(part.problem for part in row.parts if part.problem)

    def _settle_duplicates(self) -> None:
        """Have the first source in order stand for its content, whichever was opened first."""
        for written, *others in self.by_content.values():
            first = min([written, *others], key=attrgetter("place"))
            if written.state == "failed":
                for row in others:
                    row.fail(written.error)
                continue
            if first is not written:
                self._record(first)
            state = written.state
            for row in (written, *others):
                row.video_id, row.frame_count, row.error = (
                    written.video_id,
                    written.frame_count,
                    written.error,
                )
                row.state = state if row is first else f"duplicate of {hide_secrets(first.source)}"

    def _delete_outdated(self) -> None:
        """Delete what the sources held before; the store is read anew, for files may have changed places."""
        if not self.has_changed:
            return
        stored = self.store.list_videos()
        for row in self.rows:
            if row.video and row.state != "failed" and row.video.source == row.source:
                outdated = find_outdated(stored, row.video)["video_id"]
                for video_id in outdated:
                    self.store.delete_video(video_id)
                stored = stored.drop(outdated.index)

    def _show(self, bar: Any) -> None:
        """Move the bar; those that are unopened count as many frames a byte as the others had."""
        waiting = [*self.unopened, *self._doing("open"), *(row for _, row, _ in self.opened)]
        known = max(1, len(self.rows) - len(waiting))
        ended = len(self.rows) - len(waiting) - len(self.ready) - len(self._doing("write"))
        written = self.workers.frames_written()
        if (ended, written) != self.shown:
            unknown_bytes = sum(row.size or self.bytes_known / known for row in waiting)
            expected = self.frames_known * (1 + unknown_bytes / max(1, self.bytes_known))
            bar.total = max(written, round(expected))
            bar.set_description(f"{ended} of {len(self.rows)} videos", refresh=False)
            bar.update(written - bar.n)
            self.shown = ended, written

    def _kept(self) -> str:
        whole = sum(bool(row.state) and row.state != "failed" for row in self.rows)
        return (
            f"{whole} of {len(self.rows)} videos are stored whole, and {self.workers.frames_written():,} frames were "
            "written: call ingest_videos again to go on"
        )

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "source": [printable(hide_secrets(row.source)) for row in self.rows],
                "video_id": [row.video_id for row in self.rows],
                "frames": [row.frame_count for row in self.rows],
                "seconds": [
                    row.video.duration_seconds if row.video and row.video_id else math.nan
                    for row in self.rows
                ],
                "state": [printable(row.state) for row in self.rows],
                "error": [printable(row.error) for row in self.rows],
            }
        )


def _file_size(source: str) -> int:
    """Bytes of a file; 0 where nobody knows yet."""
    try:
        return 0 if is_address(source) else os.path.getsize(source)
    except OSError:
        return 0
