"""How a store is read: searched, listed, and brought into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import ColumnElement, Connection, and_, func, literal, or_, select

from videolib.errors import StoreError
from videolib.search import FrameIndex, as_video_ids, check_k, make_matches
from videolib.store.connection import Connected, retried
from videolib.store.pictures import fetch_pictures
from videolib.store.schema import FRAME_KEYS, FRAMES, VIDEOS, Vector, dot_product, has_table
from videolib.store.videos import (
    choose_videos,
    describe_model,
    describe_unfinished,
    group_videos,
    is_among,
    latest_ids,
    require_videos,
    warn_of_unfinished,
)
from videolib.tables import FrameTable
from videolib.types import FloatArray

BATCH_SIZE, INDEX_BATCH_SIZE = 1000, 20_000  # frames with pictures, and without: some tens of MB
MOST_ROWS = 2**31 - 1  # of a table; databases take no greater LIMIT than 2**63 - 1
INDEX_OVERFETCH = 4  # a vector index that finds more than k rows misses fewer of the best k

Condition: TypeAlias = ColumnElement[bool]


class Reading(Connected):
    """The methods of a store that change nothing."""

    def search(
        self,
        query: npt.ArrayLike,
        k: int = 5,
        *,
        video_id: str | Iterable[str] | None = None,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        exact: bool = True,
    ) -> pd.DataFrame:
        """Find the frames most similar to a query, in the database; a warning tells of videos not yet complete.

        Parameters
        ----------
        query
            (d,) embedding, of the model whose embeddings the store holds.
        k
            How many matches at most.
        video_id
            Search this video only, or these; by default all, and where a video is stored at several samplings
            the one that was ingested last.
        start_seconds, end_seconds
            Search frames with start_seconds <= timestamp_seconds < end_seconds only.
        exact
            Compare with every frame; else SingleStore may use a vector index (`create_vector_index`), which
            is faster on very many frames and may miss some. Without an index it makes no difference.

        Returns
        -------
        Columns rank, video_id, title, frame_number, timestamp_seconds, similarity, frame_data; best first, ties in
        the order of video_id and frame_number. Without rows where nothing is stored. What else is known of a
        match's video, such as its file, comes by ``matches.merge(store.list_videos()[["video_id", "source"]])``.

        Raises
        ------
        ValueError
            If the query has a wrong shape or a value that is not finite, k is negative, or there is no video_id
            in a list.
        StoreError
            If a video is not in the store.
        """
        k = min(check_k(k), MOST_ROWS)
        ids, span = as_video_ids(video_id), within(start_seconds, end_seconds)
        matches, unfinished = self._search(as_query(query), k, ids, span, exact=exact)
        warn_of_unfinished(unfinished, stacklevel=2)
        return fetch_pictures(matches)

    @retried
    def _search(
        self, query: FloatArray, k: int, video_ids: list[str] | None, span: list[Condition], *, exact: bool
    ) -> tuple[pd.DataFrame, list[str]]:
        with self._begin() as connection:
            chosen = choose_videos(connection, video_ids)
            if chosen is None:
                return _no_matches(), []
            similarity = similarity_to(query, chosen.model)
            index_k = None if exact else min(INDEX_OVERFETCH * k, MOST_ROWS)
            # An index knows no second key.
            ties = [FRAMES.c.video_id, FRAMES.c.frame_number] if exact else []
            statement = (
                select(*FRAME_KEYS, similarity.label("similarity"))
                .where(*chosen.conditions, *span)
                .order_by(self._database.best_first("similarity", index_k=index_k), *ties)
                .limit(k)
            )
            found = self._database.read(connection, statement)
            if not exact:
                found = found.sort_values(
                    ["similarity", "video_id", "frame_number"], ascending=[False, True, True]
                )
            # Only now the pictures, which are most of the data.
            pictures = self._select_column(connection, found, FRAMES.c.frame_data)
        pictures["title"] = pictures["video_id"].map(chosen.titles)
        return make_matches(found, found["similarity"], pictures), chosen.unfinished

    def similarities(self, query: npt.ArrayLike, video_id: str) -> pd.DataFrame:
        """Compare a query with every frame of a video: its curve over time, without pictures; warns as `search`.

        Parameters
        ----------
        query
            (d,) embedding, of the model whose embeddings the store holds.

        Returns
        -------
        Columns video_id, frame_number, timestamp_seconds, similarity, one row for each frame, in order of time.

        Raises
        ------
        ValueError
            If the query has a wrong shape or a value that is not finite.
        StoreError
            If the video is not in the store.
        """
        curve, unfinished = self._similarities(as_query(query), video_id)
        warn_of_unfinished(unfinished, stacklevel=2)
        return curve

    @retried
    def _similarities(self, query: FloatArray, video_id: str) -> tuple[pd.DataFrame, list[str]]:
        with self._begin() as connection:
            chosen = choose_videos(connection, [video_id])
            assert chosen is not None
            similarity = similarity_to(query, chosen.model)
            statement = (
                select(*FRAME_KEYS, similarity.label("similarity"))
                .where(*chosen.conditions)
                .order_by(FRAMES.c.frame_number)
            )
            return self._database.read(connection, statement), chosen.unfinished

    @retried
    def read_frames(
        self, video_id: str, *, start_seconds: float | None = None, end_seconds: float | None = None
    ) -> pd.DataFrame:
        """Read a video's frames in order, or only those with start_seconds <= timestamp_seconds < end_seconds.

        Returns
        -------
        Columns video_id, frame_number, timestamp_seconds, embedding_data, frame_data.

        Raises
        ------
        StoreError
            If the video is not in the store.
        """
        with self._begin() as connection:
            require_videos(connection, video_id)
            span = within(start_seconds, end_seconds)
            statement = select(FRAMES).where(FRAMES.c.video_id == video_id, *span)
            rows = self._database.read(connection, statement.order_by(FRAMES.c.frame_number))
        return FrameTable(fetch_pictures(rows))

    def read_batches(self, video_id: str, *, after: int = 0) -> Iterator[pd.DataFrame]:
        """Read a video's frames of a frame_number above `after` in order, some at a time, as `read_frames` does.

        Raises
        ------
        StoreError
            If the video is not in the store.
        """
        while True:
            batch = FrameTable(self._read_batch(video_id, after, FRAMES.columns, BATCH_SIZE))
            if batch.empty:
                return
            yield fetch_pictures(batch)
            after = int(batch["frame_number"].iloc[-1])

    def load_index(
        self, video_id: str | Iterable[str] | None = None, *, dtype: Literal["float32", "float16"] = "float32"
    ) -> FrameIndex:
        """Load the embeddings into memory, to search them many times without the database; warns as `search`.

        Parameters
        ----------
        video_id
            Load this video only, or these; by default all, as `search` takes them.
        dtype
            float16 takes half the memory; searches are slower, and similarities 0.001 off at most.

        Returns
        -------
        What finds the same matches as `search`; frames that are written later are not in it.

        Raises
        ------
        ValueError
            If there is no video_id in a list.
        StoreError
            If there are no such frames, or a video is not in the store.
        """
        ids = as_video_ids(video_id)
        videos = self.list_videos()
        videos = videos[videos["latest"] if ids is None else videos["video_id"].isin(ids)]
        missing = sorted(set(ids or []) - set(videos["video_id"]))
        count = int(videos["frame_count"].sum())
        if missing or count == 0:
            raise StoreError(
                f"{self!r} must hold frames of video_id {missing[0] if missing else video_id!r}, and has none: "
                "see list_videos()"
            )
        open_ones = videos[~videos["complete"].astype(bool)]
        unfinished = open_ones[["video_id", "title", "frame_count"]].itertuples(index=False)
        warn_of_unfinished([describe_unfinished(*row) for row in unfinished], stacklevel=2)
        embeddings = np.empty((count, videos["dimension"].iloc[0]), dtype)
        keys = []
        done = 0
        for names in group_videos(videos, INDEX_BATCH_SIZE):
            after = 0
            while done < count:
                size = min(INDEX_BATCH_SIZE, count - done)
                batch = self._read_batch(names, after, [*FRAME_KEYS, FRAMES.c.embedding_data], size)
                if batch.empty:
                    break
                batch = batch.sort_values(["video_id", "frame_number"])
                rows = list(batch.pop("embedding_data"))
                others = [np.shape(row) != embeddings.shape[1:] for row in rows]
                if any(others):
                    name = batch["video_id"].iloc[others.index(True)]
                    raise StoreError(
                        f"{self!r} must hold embeddings of dimension {embeddings.shape[1]} alone, and {name!r} has "
                        "others: delete_video it, and ingest it anew"
                    )
                embeddings[done : done + len(batch)] = rows
                done += len(batch)
                after = int(batch["frame_number"].iloc[-1])
                keys.append(batch)
                if len(names) > 1 or len(batch) < size:
                    break  # that was all of them
        frames = pd.concat(keys, ignore_index=True)
        return FrameIndex(frames, embeddings[:done], self._read_pictures, videos)

    @retried
    def _read_batch(
        self,
        video_id: str | list[str],
        after: int,
        columns: Iterable[ColumnElement[Any]],
        size: int,
        span: Iterable[Condition] = (),
    ) -> pd.DataFrame:
        with self._begin() as connection:
            names = [video_id] if isinstance(video_id, str) else video_id
            require_videos(connection, *names)
            statement = (
                select(*columns)
                .where(is_among(FRAMES.c.video_id, names), FRAMES.c.frame_number > after, *span)
                .order_by(FRAMES.c.frame_number)
                .limit(size)
            )
            return self._database.read(connection, self._database.rows_first(statement))

    @retried
    def _read_pictures(self, keys: pd.DataFrame) -> pd.DataFrame:
        with self._begin() as connection:
            rows = self._select_column(connection, keys, FRAMES.c.frame_data)
        return fetch_pictures(rows)

    def _select_column(
        self, connection: Connection, keys: pd.DataFrame, column: ColumnElement[Any]
    ) -> pd.DataFrame:
        """Read video_id, frame_number and this column of the frames with these video_id and frame_number."""
        if keys.empty:
            return keys[["video_id", "frame_number"]].assign(**{str(column.key): None})
        wanted = [
            and_(FRAMES.c.video_id == video_id, FRAMES.c.frame_number.in_(numbers.tolist()))
            for video_id, numbers in keys.groupby("video_id")["frame_number"]
        ]
        statement = select(FRAMES.c.video_id, FRAMES.c.frame_number, column).where(or_(*wanted))
        return self._database.read(connection, self._database.rows_first(statement))

    @retried
    def read_frame_numbers(self, video_id: str) -> npt.NDArray[np.int64]:
        """Read which of a video's frames are stored: (n,) frame numbers, ascending.

        Raises
        ------
        StoreError
            If the video is not in the store.
        """
        with self._begin() as connection:
            require_videos(connection, video_id)
            numbers = select(FRAMES.c.frame_number).where(FRAMES.c.video_id == video_id)
            rows = connection.execute(numbers.order_by(FRAMES.c.frame_number)).scalars()
            return np.array(rows.all(), dtype=np.int64)

    @retried
    def list_videos(self, *, missing_ok: bool = False) -> pd.DataFrame:
        """List the videos by title.

        Parameters
        ----------
        missing_ok
            List none where there is no store yet, instead of saying so by a StoreError.

        Returns
        -------
        The columns of `Video`; model, dimension, every_seconds, sampling; complete, whether all frames are written;
        content_id, the same for all samplings of a video; frame_count and last_frame_number, 0 where there is none
        yet; latest, whether it was ingested last of its content, which is what a search of all videos takes.
        """
        last = func.coalesce(func.max(FRAMES.c.frame_number), 0).label("last_frame_number")
        statement = (
            select(VIDEOS, func.count(FRAMES.c.frame_number).label("frame_count"), last)
            .outerjoin_from(VIDEOS, FRAMES, VIDEOS.c.video_id == FRAMES.c.video_id)
            .group_by(*VIDEOS.columns)
        )
        videos = pd.DataFrame(columns=statement.exported_columns.keys())
        if self._exists() or not missing_ok:
            with self._begin() as connection:
                if has_table(connection, VIDEOS):
                    videos = self._database.read(connection, statement)
        videos["latest"] = videos["video_id"].isin(latest_ids(videos.itertuples()))
        videos = videos.drop(columns="written_at")
        # Sorted here, because databases differ in the order of capital letters.
        return videos.sort_values(["title", "video_id"], ignore_index=True)


def as_query(query: npt.ArrayLike) -> FloatArray:
    """Return a query as float32; ValueError if it is not one embedding of finite numbers."""
    values = np.asarray(query, dtype=np.float32)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"query must be one embedding (d,) of finite numbers, got shape {values.shape}")
    return values


def similarity_to(query: FloatArray, model: tuple[str, int]) -> ColumnElement[float]:
    """Each frame's similarity to a query, as the database computes it; ValueError if it does not fit the model."""
    if len(query) != model[1]:
        raise ValueError(
            f"query must fit the store's model, {describe_model(model)}, got dimension {len(query)}: "
            "make it with the encoder that the store was filled with"
        )
    return dot_product(FRAMES.c.embedding_data, literal(query, Vector(len(query))))


def _no_matches() -> pd.DataFrame:
    keys = pd.DataFrame(columns=[column.name for column in FRAME_KEYS])
    return make_matches(keys, [], pd.DataFrame(columns=["video_id", "frame_number", "frame_data"]))


def within(start_seconds: float | None, end_seconds: float | None) -> list[Condition]:
    seconds = FRAMES.c.timestamp_seconds
    start = [] if start_seconds is None else [seconds >= start_seconds]
    return start if end_seconds is None else [*start, seconds < end_seconds]
