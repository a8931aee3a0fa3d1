"""How a store is read: searched, listed, and brought into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import ColumnElement, Connection, and_, func, literal, or_, select

from videolib.errors import StoreError
from videolib.search import MATCH_COLUMNS, FrameIndex, check_k, make_matches
from videolib.store.connection import Connected, retried
from videolib.store.schema import FRAME_KEYS, FRAMES, VIDEOS, Vector, dot_product, has_table
from videolib.types import FloatArray

BATCH_SIZE, INDEX_BATCH_SIZE = 1000, 20_000  # frames with pictures, and without: some tens of MB
MOST_ROWS = 2**31 - 1  # of a table; databases take no greater LIMIT than 2**63 - 1
INDEX_OVERFETCH = 4  # a vector index that finds more than k rows misses fewer of the best k


class Reading(Connected):
    """The methods of a store that change nothing."""

    @retried
    def search(
        self,
        query: npt.ArrayLike,
        k: int = 5,
        *,
        video_id: str | None = None,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        exact: bool = True,
    ) -> pd.DataFrame:
        """Find the frames most similar to a query, in the database.

        Parameters
        ----------
        query
            (d,) embedding, of the model whose embeddings the store holds.
        k
            How many matches at most.
        video_id
            Search this video only.
        start_seconds, end_seconds
            Search frames with start_seconds <= timestamp_seconds < end_seconds only.
        exact
            Compare with every frame; else SingleStore may use a vector index (`create_vector_index`), which
            is faster on very many frames and may miss some. Without an index it makes no difference.

        Returns
        -------
        Columns rank, video_id, frame_number, timestamp_seconds, similarity, frame_data; best first, ties in
        the order of video_id and frame_number. Without rows where nothing is stored.

        Raises
        ------
        ValueError
            If the query has a wrong shape or a value that is not finite, or k is negative.
        """
        k = min(check_k(k), MOST_ROWS)
        values = as_query(query)
        with self._begin() as connection:
            model = stored_model(connection)
            if model is None:
                return _no_matches()
            similarity = similarity_to(values, model)
            index_k = None if exact else min(INDEX_OVERFETCH * k, MOST_ROWS)
            # An index knows no second key.
            ties = [FRAMES.c.video_id, FRAMES.c.frame_number] if exact else []
            statement = (
                select(*FRAME_KEYS, similarity.label("similarity"))
                .where(*conditions_of(video_id, start_seconds, end_seconds))
                .order_by(self._database.best_first("similarity", index_k=index_k), *ties)
                .limit(k)
            )
            found = self._database.read(connection, statement)
            if not exact:
                found = found.sort_values(
                    ["similarity", "video_id", "frame_number"], ascending=[False, True, True]
                )
            # Only now the pictures, which are most of the data.
            return make_matches(found, found["similarity"], self._select_pictures(connection, found))

    @retried
    def similarities(self, query: npt.ArrayLike, video_id: str) -> pd.DataFrame:
        """Compare a query with every frame of a video: its curve over time, without pictures.

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
        values = as_query(query)
        with self._begin() as connection:
            similarity = similarity_to(values, require_videos(connection, video_id))
            statement = (
                select(*FRAME_KEYS, similarity.label("similarity"))
                .where(FRAMES.c.video_id == video_id)
                .order_by(FRAMES.c.frame_number)
            )
            return self._database.read(connection, statement)

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
            conditions = conditions_of(video_id, start_seconds, end_seconds)
            statement = select(FRAMES).where(*conditions).order_by(FRAMES.c.frame_number)
            return self._database.read(connection, statement)

    def read_batches(self, video_id: str, *, after: int = 0) -> Iterator[pd.DataFrame]:
        """Read a video's frames of a frame_number above `after` in order, some at a time, as `read_frames` does.

        Raises
        ------
        StoreError
            If the video is not in the store.
        """
        while True:
            batch = self._read_batch(video_id, after, FRAMES.columns, BATCH_SIZE)
            if batch.empty:
                return
            yield batch
            after = int(batch["frame_number"].iloc[-1])

    def load_index(
        self, video_id: str | None = None, *, dtype: Literal["float32", "float16"] = "float32"
    ) -> FrameIndex:
        """Load the embeddings into memory, to search them many times without the database.

        Parameters
        ----------
        video_id
            Load this video only.
        dtype
            float16 takes half the memory; searches are slower, and similarities 0.001 off at most.

        Returns
        -------
        What finds the same matches as `search`; frames that are written later are not in it.

        Raises
        ------
        StoreError
            If there are no such frames.
        """
        videos = self.list_videos()
        if video_id is not None:
            videos = videos[videos["video_id"] == video_id]
        count = int(videos["frame_count"].sum())
        if count == 0:
            raise StoreError(
                f"{self!r} must hold frames of video_id {video_id!r}, and has none: see list_videos()"
            )
        embeddings = np.empty((count, videos["dimension"].iloc[0]), dtype)
        keys = []
        done = 0
        for name in sorted(videos["video_id"]):
            after = 0
            while done < count:
                size = min(INDEX_BATCH_SIZE, count - done)
                batch = self._read_batch(name, after, [*FRAME_KEYS, FRAMES.c.embedding_data], size)
                if batch.empty:
                    break
                rows = list(batch.pop("embedding_data"))
                if {np.shape(row) for row in rows} != {embeddings.shape[1:]}:
                    raise StoreError(
                        f"{self!r} must hold embeddings of dimension {embeddings.shape[1]} alone, and {name!r} has "
                        "others: delete_video it, and ingest it anew"
                    )
                embeddings[done : done + len(batch)] = rows
                done += len(batch)
                after = int(batch["frame_number"].iloc[-1])
                keys.append(batch)
        frames = pd.concat(keys, ignore_index=True)
        return FrameIndex(frames, embeddings[:done], self._read_pictures, videos)

    @retried
    def _read_batch(
        self, video_id: str, after: int, columns: Iterable[ColumnElement[Any]], size: int
    ) -> pd.DataFrame:
        with self._begin() as connection:
            require_videos(connection, video_id)
            statement = (
                select(*columns)
                .where(FRAMES.c.video_id == video_id, FRAMES.c.frame_number > after)
                .order_by(FRAMES.c.frame_number)
                .limit(size)
            )
            return self._database.read(connection, self._database.rows_first(statement))

    @retried
    def _read_pictures(self, keys: pd.DataFrame) -> pd.DataFrame:
        with self._begin() as connection:
            return self._select_pictures(connection, keys)

    def _select_pictures(self, connection: Connection, keys: pd.DataFrame) -> pd.DataFrame:
        """Read video_id, frame_number and frame_data of the frames with these video_id and frame_number."""
        return self._select_column(connection, keys, FRAMES.c.frame_data)

    def _select_column(
        self, connection: Connection, keys: pd.DataFrame, column: ColumnElement[Any]
    ) -> pd.DataFrame:
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
    def list_videos(self) -> pd.DataFrame:
        """List the videos by title.

        Returns
        -------
        The columns of `Video`; model, dimension, every_seconds, sampling; complete, whether all frames are written;
        frame_count and last_frame_number, 0 where there is none yet.
        """
        last = func.coalesce(func.max(FRAMES.c.frame_number), 0).label("last_frame_number")
        statement = (
            select(VIDEOS, func.count(FRAMES.c.frame_number).label("frame_count"), last)
            .outerjoin_from(VIDEOS, FRAMES, VIDEOS.c.video_id == FRAMES.c.video_id)
            .group_by(*VIDEOS.columns)
        )
        with self._begin() as connection:
            if not has_table(connection, VIDEOS):
                return pd.DataFrame(columns=statement.exported_columns.keys())
            videos = self._database.read(connection, statement)
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
    keys = pd.DataFrame(columns=MATCH_COLUMNS[1:4])
    return make_matches(keys, [], pd.DataFrame(columns=["video_id", "frame_number", "frame_data"]))


def stored_model(connection: Connection) -> tuple[str, int] | None:
    """Name and dimension of the model whose embeddings are stored; None in an empty store."""
    if not has_table(connection, VIDEOS):
        return None
    row = connection.execute(select(VIDEOS.c.model, VIDEOS.c.dimension).limit(1)).one_or_none()
    return row and (row.model, row.dimension)


def describe_model(model: tuple[str, int]) -> str:
    return f"{model[0]!r} (dimension {model[1]})"


def require_videos(connection: Connection, *video_ids: str) -> tuple[str, int]:
    """Return the stored model; StoreError if one of the videos is not in the store."""
    these = select(VIDEOS.c.video_id, VIDEOS.c.model, VIDEOS.c.dimension).where(
        VIDEOS.c.video_id.in_(video_ids)
    )
    rows = connection.execute(these).all() if has_table(connection, VIDEOS) else []
    if missing := set(video_ids) - {row.video_id for row in rows}:
        raise StoreError(f"video_id must be of a video in the store, got {min(missing)!r}: see list_videos()")
    return rows[0].model, rows[0].dimension


def conditions_of(
    video_id: str | Sequence[str] | None, start_seconds: float | None, end_seconds: float | None
) -> list[ColumnElement[bool]]:
    seconds = FRAMES.c.timestamp_seconds
    conditions = []
    if video_id is not None:
        is_one = isinstance(video_id, str)
        conditions.append(FRAMES.c.video_id == video_id if is_one else FRAMES.c.video_id.in_(video_id))
    if start_seconds is not None:
        conditions.append(seconds >= start_seconds)
    if end_seconds is not None:
        conditions.append(seconds < end_seconds)
    return conditions
