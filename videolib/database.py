"""`FrameStore`: where videos and their frames are kept and searched."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    delete,
    func,
    inspect,
    literal,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from videolib.dialects import Vector, dot_product, is_locked, open_engine, upsert
from videolib.errors import StoreError
from videolib.frames import Video
from videolib.similarity import check_k

DEFAULT_URL = "duckdb:///videolib.duckdb"
LOCK_POLL_SECONDS = 0.02
MATCH_COLUMNS = ["rank", "video_id", "frame_number", "timestamp_seconds", "similarity", "frame_data"]

_metadata = MetaData()
_videos = Table(
    "videos",
    _metadata,
    Column("video_id", String(64), primary_key=True),
    Column("title", String(1024), nullable=False),
    Column("source", String(4096), nullable=False),
    Column("duration_seconds", Double, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("frames_per_second", Double, nullable=False),
    Column("model", String(255), nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("every_seconds", Double, nullable=False),
    Column("complete", Boolean, nullable=False),
)
_frames = Table(
    "frames",
    _metadata,
    Column("video_id", String(64), primary_key=True),
    Column("frame_number", Integer, primary_key=True, autoincrement=False),
    Column("timestamp_seconds", Double, nullable=False),
    Column("embedding_data", Vector(), nullable=False),
    Column("frame_data", LargeBinary, nullable=False),
)


class FrameStore:
    """Videos and their embedded frames in a database, searched by the database.

    A store holds the embeddings of one model. Connections are opened for one operation and closed again,
    so that several notebooks can share one DuckDB file: whoever finds it locked waits.

    Parameters
    ----------
    url
        A SQLAlchemy URL such as ``duckdb:///videos.duckdb``, or the path of a DuckDB file. The default is
        the file ``videolib.duckdb`` in the current folder.
    lock_timeout_seconds
        How long to wait for another process that is writing to the same file.

    Raises
    ------
    ValueError
        If the URL is not one of a database that videolib knows.
    StoreError
        From every method, if the database cannot be opened or stays locked.
    """

    def __init__(self, url: str | os.PathLike[str] = DEFAULT_URL, *, lock_timeout_seconds: float = 30.0):
        text = os.fspath(url)
        try:
            parsed = make_url(text if "://" in text else f"duckdb:///{text}")
            self._engine = open_engine(parsed)
        except (ArgumentError, NoSuchModuleError) as error:
            raise ValueError("url must be a database URL, such as duckdb:///videos.duckdb") from error
        self.url = parsed.render_as_string(hide_password=True)
        self.lock_timeout_seconds = lock_timeout_seconds

    def __repr__(self) -> str:
        return f"FrameStore({self.url!r})"

    def write_video(self, video: Video, *, model: str, dimension: int, every_seconds: float) -> None:
        """Record a video before its frames; one that is there already is only given its new source and title.

        Parameters
        ----------
        video
            As `probe_video` describes it.
        model, dimension
            Name of the encoder, and the length of its embeddings.
        every_seconds
            Interval between two samples.

        Raises
        ------
        StoreError
            If the store holds another model's embeddings, or this video at another interval.
        """
        with self._begin() as connection:
            stored = _stored_model(connection)
            if stored not in (None, (model, dimension)):
                raise StoreError(
                    f"model must be {_describe(stored)}, whose embeddings this store holds, got "
                    f"{_describe((model, dimension))}: use another store for another model"
                )
            if stored is None:
                _create_tables(connection, dimension)
            this_one = _videos.c.video_id == video.video_id
            interval = connection.scalar(select(_videos.c.every_seconds).where(this_one))
            if interval not in (None, every_seconds):
                raise StoreError(
                    f"every_seconds must be {interval:g}, as {video.title!r} is stored already, got "
                    f"{every_seconds:g}: call delete_video({video.video_id!r}) first, or use another store"
                )
            if interval is None:
                row = {
                    "model": model,
                    "dimension": dimension,
                    "every_seconds": every_seconds,
                    "complete": False,
                }
                connection.execute(upsert(_videos, [asdict(video) | row]))
            else:
                connection.execute(
                    update(_videos).where(this_one).values(title=video.title, source=video.source)
                )

    def write_frames(self, frames: pd.DataFrame) -> None:
        """Write frames, all or none; a row of the same video_id and frame_number is replaced.

        Parameters
        ----------
        frames
            Columns video_id, frame_number, timestamp_seconds, embedding_data ((d,) float32, unit length)
            and frame_data (JPEG bytes), of videos that were written before.

        Raises
        ------
        ValueError
            If a column is missing, or an embedding has another dimension or not unit length.
        StoreError
            If a video is not in the store.
        """
        names = [column.name for column in _frames.columns]
        if missing := [name for name in names if name not in frames]:
            raise ValueError(
                f"frames must have the columns {', '.join(names)}; missing: {', '.join(missing)}"
            )
        if frames.empty:
            return
        with self._begin() as connection:
            for video_id in frames["video_id"].unique():
                _require_video(connection, video_id)
            model = _stored_model(connection)
            assert model is not None  # it stands with the video
            _check_embeddings(frames["embedding_data"], model)
            rows = [dict(zip(names, row, strict=True)) for row in frames[names].itertuples(index=False)]
            connection.execute(upsert(_frames, rows))

    def mark_complete(self, video_id: str) -> None:
        """Record that all frames of a video are written; StoreError if it is not in the store."""
        with self._begin() as connection:
            _require_video(connection, video_id)
            connection.execute(update(_videos).where(_videos.c.video_id == video_id).values(complete=True))

    def search(
        self,
        query: npt.ArrayLike,
        k: int = 5,
        *,
        video_id: str | None = None,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> pd.DataFrame:
        """Find the frames most similar to a query, by exact search in the database.

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

        Returns
        -------
        Columns rank, video_id, frame_number, timestamp_seconds, similarity, frame_data; best first, ties in
        the order of video_id and frame_number. Without rows where nothing is stored.

        Raises
        ------
        ValueError
            If the query has a wrong shape or a value that is not finite, or k is negative.
        """
        k = check_k(k)
        values = np.asarray(query, dtype=np.float32)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise ValueError(f"query must be one embedding (d,) of finite numbers, got shape {values.shape}")
        with self._begin() as connection:
            model = _stored_model(connection)
            if model is None:
                return _as_matches(pd.DataFrame(columns=MATCH_COLUMNS[1:]))
            if len(values) != model[1]:
                raise ValueError(
                    f"query must fit the store's model, {_describe(model)}, got dimension {len(values)}: "
                    "make it with the encoder that the store was filled with"
                )
            similarity = dot_product(_frames.c.embedding_data, literal(values, Vector(len(values))))
            columns = [
                _frames.c[name] for name in ("video_id", "frame_number", "timestamp_seconds", "frame_data")
            ]
            statement = (
                select(*columns, similarity.label("similarity"))
                .where(*_conditions(video_id, start_seconds, end_seconds))
                .order_by(similarity.desc(), _frames.c.video_id, _frames.c.frame_number)
                .limit(k)
            )
            return _as_matches(_read(connection, statement))

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
            _require_video(connection, video_id)
            conditions = _conditions(video_id, start_seconds, end_seconds)
            return _read(connection, select(_frames).where(*conditions).order_by(_frames.c.frame_number))

    def list_videos(self) -> pd.DataFrame:
        """List the videos by title.

        Returns
        -------
        The columns of `Video`; model, dimension, every_seconds; complete, whether all frames are written;
        frame_count and last_frame_number, 0 where there is none yet.
        """
        last = func.coalesce(func.max(_frames.c.frame_number), 0).label("last_frame_number")
        statement = (
            select(_videos, func.count(_frames.c.frame_number).label("frame_count"), last)
            .outerjoin_from(_videos, _frames, _videos.c.video_id == _frames.c.video_id)
            .group_by(*_videos.columns)
            .order_by(_videos.c.title, _videos.c.video_id)
        )
        with self._begin() as connection:
            if not _has_tables(connection):
                return pd.DataFrame(columns=statement.exported_columns.keys())
            return _read(connection, statement)

    def delete_video(self, video_id: str) -> None:
        """Delete a video and its frames; StoreError if it is not in the store."""
        with self._begin() as connection:
            _require_video(connection, video_id)
            for table in (_frames, _videos):
                connection.execute(delete(table).where(table.c.video_id == video_id))

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """Connect and begin, waiting while the file is locked; commit, or roll back on an error, and close."""
        deadline = time.monotonic() + self.lock_timeout_seconds
        while True:
            try:
                connection = self._engine.connect()
                break
            except DBAPIError as error:
                if not is_locked(error):
                    raise StoreError(f"{self!r} cannot be opened: {error.orig}") from error
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"{self!r} was locked by another process for {self.lock_timeout_seconds:g} s: close it "
                        f"there, or raise lock_timeout_seconds. {error.orig}"
                    ) from error
                time.sleep(LOCK_POLL_SECONDS)
        with connection, connection.begin():
            yield connection


def _has_tables(connection: Connection) -> bool:
    return inspect(connection).has_table(_videos.name)


def _create_tables(connection: Connection, dimension: int) -> None:
    """Create the tables of an empty store, or nothing where they are."""
    names = inspect(connection).get_table_names()
    if _frames.name in names:
        if _videos.name not in names:
            raise StoreError(
                f"the database has a table {_frames.name!r} of another origin: use another database"
            )
        if connection.scalar(select(func.count()).select_from(_frames)):
            return
        _frames.drop(connection)  # empty, and perhaps of another dimension
    metadata = MetaData()
    for table in (_videos, _frames):
        table.to_metadata(metadata)
    metadata.tables[_frames.name].c.embedding_data.type = Vector(dimension)
    metadata.create_all(connection)


def _stored_model(connection: Connection) -> tuple[str, int] | None:
    """Name and dimension of the model whose embeddings are stored; None in an empty store."""
    if not _has_tables(connection):
        return None
    row = connection.execute(select(_videos.c.model, _videos.c.dimension).limit(1)).one_or_none()
    return row and (row.model, row.dimension)


def _describe(model: tuple[str, int]) -> str:
    return f"{model[0]!r} (dimension {model[1]})"


def _require_video(connection: Connection, video_id: str) -> None:
    this_one = select(_videos.c.video_id).where(_videos.c.video_id == video_id)
    if not _has_tables(connection) or connection.scalar(this_one) is None:
        raise StoreError(f"video_id must be of a video in the store, got {video_id!r}: see list_videos()")


def _conditions(
    video_id: str | None, start_seconds: float | None, end_seconds: float | None
) -> list[ColumnElement[bool]]:
    seconds = _frames.c.timestamp_seconds
    conditions = []
    if video_id is not None:
        conditions.append(_frames.c.video_id == video_id)
    if start_seconds is not None:
        conditions.append(seconds >= start_seconds)
    if end_seconds is not None:
        conditions.append(seconds < end_seconds)
    return conditions


def _check_embeddings(embeddings: pd.Series[Any], model: tuple[str, int]) -> None:
    shapes = {np.shape(embedding) for embedding in embeddings}
    if shapes != {(model[1],)}:
        raise ValueError(
            f"embedding_data must fit the store's model, {_describe(model)}, got shapes {shapes}"
        )
    lengths = np.linalg.norm(np.stack(list(embeddings)), axis=1)
    if not np.allclose(lengths, 1, atol=1e-3):  # NaN fails too
        raise ValueError(
            f"embedding_data must have unit length, got lengths from {lengths.min():.3g} to "
            f"{lengths.max():.3g}: call normalize first"
        )


def _as_matches(rows: pd.DataFrame) -> pd.DataFrame:
    rows["rank"] = np.arange(1, len(rows) + 1)
    # Without rows the database tells no types.
    return rows[MATCH_COLUMNS].astype(
        {"frame_number": "int64", "timestamp_seconds": float, "similarity": float}
    )


def _read(connection: Connection, statement: Select[Any]) -> pd.DataFrame:
    result = connection.execute(statement)
    return pd.DataFrame(result.all(), columns=list(result.keys()))
