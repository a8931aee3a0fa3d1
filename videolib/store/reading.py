"""How a store is read: searched, listed, and brought into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Label,
    Select,
    and_,
    func,
    literal,
    or_,
    select,
    text,
    true,
)

from videolib.errors import StoreError
from videolib.search import LEAST_SPREAD, MATCH_COLUMNS, FrameIndex, check_k, make_matches, standardize
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
        values = _as_query(query)
        with self._begin() as connection:
            model = stored_model(connection)
            if model is None:
                return _no_matches()
            similarity = _similarity_to(values, model)
            index_k = None if exact else min(INDEX_OVERFETCH * k, MOST_ROWS)
            # An index knows no second key.
            ties = [FRAMES.c.video_id, FRAMES.c.frame_number] if exact else []
            statement = (
                select(*FRAME_KEYS, similarity.label("similarity"))
                .where(*_conditions(video_id, start_seconds, end_seconds))
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
        values = _as_query(query)
        with self._begin() as connection:
            similarity = _similarity_to(values, require_videos(connection, video_id))
            statement = (
                select(*FRAME_KEYS, similarity.label("similarity"))
                .where(FRAMES.c.video_id == video_id)
                .order_by(FRAMES.c.frame_number)
            )
            return self._database.read(connection, statement)

    @retried
    def best_curves(
        self,
        query: npt.ArrayLike,
        k: int = 5,
        *,
        skip: int = 0,
        video_id: str | Sequence[str] | None = None,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        standardized: bool = False,
    ) -> pd.DataFrame:
        """Read the whole curves of the k videos that come nearest to a query: the k best moments lie in these.

        Parameters
        ----------
        query
            (d,) embedding, or (m, d) of several, of which the one that a video comes least near to counts.
        k, skip
            How many videos at most, after how many better ones.
        video_id
            This video only, or these.
        start_seconds, end_seconds
            Judge the videos by frames with start_seconds <= timestamp_seconds < end_seconds only.
        standardized
            Standardize the similarities over all frames that are searched, so that those of several queries can
            be compared.

        Returns
        -------
        Columns video_id, frame_number, timestamp_seconds, similarity (similarity_1, similarity_2, … of several
        queries), if standardized z_similarity, …, title, duration_seconds; the best video first, each in order
        of time.

        Raises
        ------
        ValueError
            If the query has a wrong shape or a value that is not finite, or k is negative.
        """
        k = min(check_k(k), MOST_ROWS)
        queries = [_as_query(one) for one in np.atleast_2d(np.asarray(query, dtype=np.float32))]
        names = (
            ["similarity"] if np.ndim(query) == 1 else [f"similarity_{n + 1}" for n in range(len(queries))]
        )
        with self._begin() as connection:
            model = stored_model(connection)
            if model is None:
                return pd.DataFrame(columns=["video_id", "frame_number", "timestamp_seconds", *names])
            values = [
                _similarity_to(one, model).label(name) for one, name in zip(queries, names, strict=True)
            ]
            conditions = _conditions(video_id, start_seconds, end_seconds)
            best = self._database.read(
                connection,
                _best_videos(values, conditions, standardized=standardized).limit(k).offset(skip),
            )
            order = {name: place for place, name in enumerate(best["video_id"])}
            statement = (
                select(*FRAME_KEYS, *values)
                .where(FRAMES.c.video_id.in_(order))
                .order_by(FRAMES.c.video_id, FRAMES.c.frame_number)
            )
            curves = self._database.read(connection, statement)
            about = select(VIDEOS.c.video_id, VIDEOS.c.title, VIDEOS.c.duration_seconds)
            videos = self._database.read(connection, about.where(VIDEOS.c.video_id.in_(order)))
        if standardized and order:
            for name in names:
                mean, square = best[f"mean_{name}"][0], best[f"square_{name}"][0]
                curves[f"z_{name}"] = standardize(curves[name], mean, np.sqrt(max(square - mean**2, 0.0)))
        curves = curves.merge(videos, how="left", on="video_id")
        return curves.sort_values(
            "video_id", key=lambda ids: ids.map(order), kind="stable", ignore_index=True
        )

    @retried
    def add_embeddings(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add the column embedding_data to a table that has video_id and frame_number; missing where it is gone."""
        with self._begin() as connection:
            return self._with_column(connection, rows, FRAMES.c.embedding_data)

    @retried
    def add_pictures(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add the column frame_data to a table that has video_id and frame_number; missing where it is gone."""
        with self._begin() as connection:
            return self._with_column(connection, rows, FRAMES.c.frame_data)

    def _with_column(
        self, connection: Connection, rows: pd.DataFrame, column: ColumnElement[Any]
    ) -> pd.DataFrame:
        found = self._select_column(connection, rows, column)
        rows = rows.drop(columns=str(column.key), errors="ignore")
        return rows.merge(found, how="left", on=["video_id", "frame_number"])

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
            conditions = _conditions(video_id, start_seconds, end_seconds)
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


def _as_query(query: npt.ArrayLike) -> FloatArray:
    values = np.asarray(query, dtype=np.float32)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"query must be one embedding (d,) of finite numbers, got shape {values.shape}")
    return values


def _similarity_to(query: FloatArray, model: tuple[str, int]) -> ColumnElement[float]:
    """Each frame's similarity to a query, as the database computes it; ValueError if it does not fit the model."""
    if len(query) != model[1]:
        raise ValueError(
            f"query must fit the store's model, {describe_model(model)}, got dimension {len(query)}: "
            "make it with the encoder that the store was filled with"
        )
    return dot_product(FRAMES.c.embedding_data, literal(query, Vector(len(query))))


def _best_videos(
    values: list[Label[float]], conditions: list[ColumnElement[bool]], *, standardized: bool
) -> Select[Any]:
    """The videos by the least height of their curves, highest first, ties in the order of video_id.

    If standardized, beside mean_1, square_1, …, of all these frames, which are read once all the same.
    """
    frames = select(FRAMES.c.video_id, *values).where(*conditions).subquery("compared")
    curves = [frames.c[each.name] for each in values]
    sums = [func.count().label("frame_count"), *(func.max(each).label(f"top_{each.name}") for each in curves)]
    if standardized:
        sums += [func.sum(each).label(f"total_{each.name}") for each in curves]
        sums += [func.sum(each * each).label(f"squares_{each.name}") for each in curves]
    videos = select(frames.c.video_id, *sums).group_by(frames.c.video_id).cte("per_video")
    heights: list[ColumnElement[float]] = [videos.c[f"top_{each.name}"] for each in curves]
    columns: list[ColumnElement[Any]] = [videos.c.video_id]
    source: FromClause = videos
    if standardized:
        count = func.sum(videos.c.frame_count)
        means = [
            (func.sum(videos.c[f"total_{each.name}"]) / count).label(f"mean_{each.name}") for each in curves
        ]
        squares = [
            (func.sum(videos.c[f"squares_{each.name}"]) / count).label(f"square_{each.name}")
            for each in curves
        ]
        levels = select(*means, *squares).subquery("levels")
        columns += levels.c
        source = videos.join(levels, true())
        for n, each in enumerate(curves):
            mean, square = levels.c[f"mean_{each.name}"], levels.c[f"square_{each.name}"]
            heights[n] = (heights[n] - mean) / func.sqrt(func.greatest(square - mean * mean, LEAST_SPREAD**2))
    height = func.least(*heights) if len(heights) > 1 else heights[0]
    statement = select(*columns, height.label("height")).select_from(source)
    return statement.order_by(text("height DESC"), videos.c.video_id)


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


def _conditions(
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
