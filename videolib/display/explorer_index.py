"""What the explorer searches: a store's index in memory for as long as the store stays as it is, else the store."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pandas as pd

from videolib.errors import StoreError
from videolib.search import FrameIndex
from videolib.store import FrameStore
from videolib.tables import FrameTable
from videolib.types import FloatArray

Span = tuple[float | None, float | None]  # seconds from and to which is searched

MOST_BYTES = 500_000_000  # of embeddings in memory, of all stores: less than the model's own weights (605 MB)
KEPT_PICTURES = 500  # of an index: some 10 MB
LOOK_AGAIN_SECONDS = 10  # after a store was too large or not complete: its list counts all frames

_kept: OrderedDict[str, Indexed] = (
    OrderedDict()
)  # by the store's URL: each run of a cell opens the store anew
_seen: dict[str, Hashable] = {}
_refused: dict[str, float] = {}  # until when


class Indexed:
    """An index of a store as it was, to be searched and judged by; the pictures that were found last are kept."""

    def __init__(self, index: FrameIndex, videos: pd.DataFrame, state: Hashable) -> None:
        self.index, self.videos, self.state = index, videos, state
        self.best_curves, self.add_embeddings = index.best_curves, index.add_embeddings
        self.similarities, self.sample_embeddings = index.similarities, index.sample_embeddings
        self.read_embeddings = index.read_embeddings
        self._pictures: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def list_videos(self) -> pd.DataFrame:
        return self.videos

    def add_pictures(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add the column frame_data; the database is asked for what is not known yet alone."""
        keys = list(zip(rows["video_id"], rows["frame_number"], strict=True))
        is_new = [key not in self._pictures for key in keys]
        if any(is_new):
            read = self.index.add_pictures(rows.loc[is_new, ["video_id", "frame_number"]])
            found = read.dropna(subset="frame_data")
            self._pictures.update(
                zip(
                    zip(found["video_id"], found["frame_number"], strict=True),
                    found["frame_data"],
                    strict=True,
                )
            )
        pictures = [self._pictures.get(key) for key in keys]
        for key in keys:
            if key in self._pictures:
                self._pictures.move_to_end(key)
        while len(self._pictures) > max(KEPT_PICTURES, len(keys)):
            self._pictures.popitem(last=False)
        return FrameTable(rows.assign(frame_data=pd.Series(pictures, index=rows.index, dtype=object)))


class Part:
    """What lies within some seconds of the videos, for `judge`."""

    def __init__(self, where: FrameStore | Indexed, video_ids: list[str] | None, span: Span) -> None:
        videos = where.list_videos()
        chosen = videos["latest"].astype(bool) if video_ids is None else videos["video_id"].isin(video_ids)
        self._where, self._span = where, span
        counts = [sum(map(len, self.read_embeddings(each))) for each in videos.loc[chosen, "video_id"]]
        self._videos = videos[chosen].assign(frame_count=counts)

    def list_videos(self) -> pd.DataFrame:
        return self._videos

    def read_embeddings(self, video_id: str) -> Iterator[FloatArray]:
        start, end = self._span
        return self._where.read_embeddings(video_id, start_seconds=start, end_seconds=end)


def searched(store: FrameStore, video_ids: list[str] | None = None) -> FrameStore | Indexed:
    """Return the index of a store, loaded where there is none yet and it is not too large; else the store itself.

    A store that changes from one search to the next, as during an ingest, or is not complete, is searched itself; so
    are videos at a sampling that is not the latest.
    """
    if time.monotonic() < _refused.get(store.url, 0) or (state := _state_of(store)) is None:
        return store
    known = _kept.get(store.url)
    if known is None or known.state != state:
        _kept.pop(store.url, None)
        known = _load(store, state)
    if known is None or not set(video_ids or []) <= set(known.videos["video_id"]):
        return store
    _kept[store.url] = known
    _kept.move_to_end(store.url)
    return known


def _load(store: FrameStore, state: Hashable) -> Indexed | None:
    """Load an index, unless the store has just changed again."""
    if _seen.setdefault(store.url, state) != state:
        _seen[store.url] = state
        return None
    with held(store):
        videos = store.list_videos()
        latest = videos[videos["latest"].astype(bool)]
        videos = latest[latest["frame_count"] > 0]
        size = _bytes_of(videos)
        if not 0 < size <= MOST_BYTES or not latest["complete"].all():
            _refused[store.url] = time.monotonic() + LOOK_AGAIN_SECONDS
            return None
        while _kept and size + sum(_bytes_of(each.videos) for each in _kept.values()) > MOST_BYTES:
            _kept.popitem(last=False)
        return Indexed(store.load_index(videos["video_id"]), videos, state)


def _bytes_of(videos: pd.DataFrame) -> int:
    return int((4 * videos["frame_count"] * videos["dimension"]).sum())


def _state_of(store: FrameStore) -> Hashable:
    """What is another after anything was written; None where that cannot be told, or there is nothing to gain."""
    if (path := _file_of(store)) is not None:
        files = [each.stat() for each in (path, path.with_name(f"{path.name}.wal")) if each.is_file()]
        return tuple((file.st_mtime_ns, file.st_size) for file in files) or None
    if store.engine.dialect.name == "duckdb":
        return None
    videos = store.list_videos()
    names = ["video_id", "frame_count", "last_frame_number", "complete", "latest"]
    return tuple(videos[names].itertuples(index=False, name=None))


def _file_of(store: FrameStore) -> Path | None:
    """DuckDB's file, which takes 10 ms to open but none to look at; None in memory, and of SingleStore."""
    url = store.engine.url
    is_file = store.engine.dialect.name == "duckdb" and url.database not in (None, "", ":memory:")
    return Path(url.database or "") if is_file else None


@contextmanager
def same_frames(store: FrameStore) -> Iterator[None]:
    """What is written meanwhile are no frames: the index stays what it is."""
    known = _kept.get(store.url)
    is_current = known is not None and known.state == _state_of(store)
    yield
    if known is not None and is_current and (state := _state_of(store)) is not None:
        known.state = state


@contextmanager
def held(store: FrameStore) -> Iterator[None]:
    """Hold DuckDB's file open, which each question of a search would open anew, in 10 ms; nobody makes it here."""
    path = _file_of(store)
    try:
        connection = store.engine.connect() if path is not None and path.is_file() else nullcontext()
    except Exception as error:
        raise StoreError(f"{store!r} cannot be opened: {error}") from error
    with connection:
        yield
