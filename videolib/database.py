"""`FrameStore`: where videos and their frames are kept and searched."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

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
    MetaData,
    String,
    Table,
    and_,
    delete,
    func,
    inspect,
    literal,
    make_url,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.schema import CreateTable
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_after_delay

from videolib import dialects
from videolib.dialects import Picture, Vector, dot_product, read, upsert
from videolib.errors import StoreError
from videolib.frames import Sampling, Video
from videolib.index import FrameIndex
from videolib.similarity import check_k

DEFAULT_URL = "duckdb:///videolib.duckdb"
BATCH_SIZE, INDEX_BATCH_SIZE = 1000, 20_000  # frames with pictures, and without: some tens of MB
INDEX_NAME = "embedding_data"
SHARED_TIER_BYTES = 10**9
INDEX_OVERFETCH = 4  # a vector index that finds more than k rows misses fewer of the best k
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
    Column("sampling", String(16), nullable=False),
    Column("complete", Boolean, nullable=False),
)
_frames = Table(
    "frames",
    _metadata,
    Column("video_id", String(64), primary_key=True),
    Column("frame_number", Integer, primary_key=True, autoincrement=False),
    Column("timestamp_seconds", Double, nullable=False),
    Column("embedding_data", Vector(), nullable=False),
    Column("frame_data", Picture, nullable=False),
)
_KEYS = [_frames.c.video_id, _frames.c.frame_number, _frames.c.timestamp_seconds]

P = ParamSpec("P")
T = TypeVar("T")


def _retried(
    method: Callable[Concatenate[FrameStore, P], T],
) -> Callable[Concatenate[FrameStore, P], T]:
    """Run a method of a store again, from its beginning, while the database is locked or away.

    It must do its work in one transaction, and doing it twice must do no harm: a connection that drops at a
    commit does not tell whether it was carried out.
    """

    @wraps(method)
    def retrying(self: FrameStore, *args: P.args, **kwargs: P.kwargs) -> T:
        attempts = Retrying(
            retry=retry_if_exception(dialects.is_transient),
            wait=_pause_seconds,
            stop=stop_after_delay(self.retry_seconds) & stop_after_attempt(3),
            reraise=True,
        )
        try:
            return attempts(method, self, *args, **kwargs)
        except DBAPIError as error:
            if dialects.is_locked(error):
                raise StoreError(
                    f"{self!r} was locked by another process for {self.retry_seconds:g} s: close it there, or "
                    f"raise retry_seconds. {error.orig}"
                ) from error
            if dialects.is_transient(error):
                raise StoreError(
                    f"{self!r} did not answer, or was locked, for {self.retry_seconds:g} s: try again later, or "
                    f"raise retry_seconds. {error.orig}"
                ) from error
            raise

    return retrying  # type: ignore[return-value]  # mypy: self could be given by name


def _complete_url(url: str | os.PathLike[str] | None) -> str:
    """Tell the path of a DuckDB file from a URL, which may lack its scheme as SingleStore's client allows."""
    if url is None:
        text = os.environ.get("SINGLESTOREDB_URL", "")
        return f"singlestoredb://{text}" if text and "://" not in text else text or DEFAULT_URL
    text = os.fspath(url)
    if "://" in text:
        return text
    return f"singlestoredb://{text}" if re.match(r"[^/\\@]+:[^/\\@]*@", text) else f"duckdb:///{text}"


def _pause_seconds(state: RetryCallState) -> float:
    error = state.outcome and state.outcome.exception()
    assert isinstance(error, DBAPIError)  # nothing else is retried
    return dialects.pause_seconds(error, state.attempt_number)


class FrameStore:
    """Videos and their embedded frames in a database, searched by the database.

    A store holds the embeddings of one model. It is kept in DuckDB, one file without a server, or in
    SingleStore, with the same methods and the same results. What meets a lock, a dropped connection or a
    server that restarts is tried again; writing is atomic, and writing again changes nothing.

    DuckDB's file is open during an operation only, so that several notebooks can share it. A connection to
    SingleStore that leaves this machine is encrypted and its certificate verified; these options of the URL
    change that: ``ssl_ca=FILE`` (trust this CA instead of the public ones), ``ssl_verify_cert=false`` (do not
    verify), ``ssl_disabled=true`` (do not encrypt). ``vector_data_format=json`` sends embeddings as text.

    Parameters
    ----------
    url
        A SQLAlchemy URL such as ``duckdb:///videos.duckdb`` or
        ``singlestoredb://user:password@host:3306/videos``, or the path of a DuckDB file. The default is the
        environment variable ``SINGLESTOREDB_URL``, else the file ``videolib.duckdb`` in the current folder.
    retry_seconds
        How long to go on trying while another process holds the file, or the server is away or locked.

    Attributes
    ----------
    url
        Without the password.
    engine
        The SQLAlchemy engine, for SQL of your own, in jupysql too: ``%sql engine``.

    Raises
    ------
    ValueError
        If the URL is not one of a database that videolib knows.
    StoreError
        From every method, if the database cannot be opened, is not safe to connect to, or stays away.
    """

    def __init__(self, url: str | os.PathLike[str] | None = None, *, retry_seconds: float = 30.0):
        try:
            parsed = make_url(_complete_url(url))
        except (ArgumentError, ValueError):  # its message may hold the password, and so would its cause
            raise ValueError(
                "url must be a database URL, such as duckdb:///videos.duckdb, with special characters in the "
                "password as %XX"
            ) from None
        try:
            self.engine = dialects.open_engine(parsed)
        except NoSuchModuleError as error:
            raise ValueError(
                f"url must begin with duckdb:/// or singlestoredb://, got {parsed.drivername!r}"
            ) from error
        self.url = dialects.hide_password(parsed).render_as_string()
        self.retry_seconds = retry_seconds

    def __repr__(self) -> str:
        return f"FrameStore({self.url!r})"

    @_retried
    def write_video(
        self,
        video: Video,
        *,
        model: str,
        dimension: int,
        every_seconds: float,
        sampling: Sampling = "interval",
    ) -> None:
        """Record a video before its frames; one that is there already is only given its new source and title.

        Parameters
        ----------
        video
            As `probe_video` describes it.
        model, dimension
            Name of the encoder, and the length of its embeddings.
        every_seconds, sampling
            How the frames are chosen, as `extract_frames` takes it.

        Raises
        ------
        StoreError
            If the store holds another model's embeddings, or this video's frames chosen otherwise.
        """
        with self._begin() as connection:
            stored = _stored_model(connection)
            if stored not in (None, (model, dimension)):
                raise StoreError(
                    f"model must be {_describe(stored)}, whose embeddings this store holds, got "
                    f"{_describe((model, dimension))}: use another store for another model, or call delete_video "
                    "for every video here first"
                )
            if stored is None:
                _create_tables(connection, dimension)
            this_one = _videos.c.video_id == video.video_id
            chosen = (every_seconds, sampling)
            before = connection.execute(select(_videos.c.every_seconds, _videos.c.sampling).where(this_one))
            if (known := before.one_or_none()) is not None and tuple(known) != chosen:
                names = ("every_seconds", "sampling")
                rules = zip(names, known, chosen, strict=True)
                name, old, new = next(rule for rule in rules if rule[1] != rule[2])
                raise StoreError(
                    f"{name} must be {old}, as {video.title!r} is stored already, got {new}: "
                    f"call delete_video({video.video_id!r}) first, or use another store"
                )
            if known is None:
                row = {
                    "model": model,
                    "dimension": dimension,
                    "every_seconds": every_seconds,
                    "sampling": sampling,
                    "complete": False,
                }
                upsert(connection, _videos, pd.DataFrame([asdict(video) | row]))
            else:
                connection.execute(
                    update(_videos).where(this_one).values(title=video.title, source=video.source)
                )

    @_retried
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
            model = _require_videos(connection, *frames["video_id"].unique())
            _check_embeddings(frames["embedding_data"], model)
            upsert(connection, _frames, frames)

    @_retried
    def mark_complete(self, video_id: str) -> None:
        """Record that all frames of a video are written; StoreError if it is not in the store."""
        with self._begin() as connection:
            _require_videos(connection, video_id)
            connection.execute(update(_videos).where(_videos.c.video_id == video_id).values(complete=True))

    @_retried
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
            index_k = None if exact else INDEX_OVERFETCH * k
            # An index knows no second key.
            ties = [_frames.c.video_id, _frames.c.frame_number] if exact else []
            statement = (
                select(*_KEYS, similarity.label("similarity"))
                .where(*_conditions(video_id, start_seconds, end_seconds))
                .order_by(dialects.best_first(connection.dialect, "similarity", index_k=index_k), *ties)
                .limit(k)
            )
            matches = read(connection, statement)
            if not exact:
                matches = matches.sort_values(
                    ["similarity", "video_id", "frame_number"], ascending=[False, True, True]
                )
            # Only now the pictures, which are most of the data.
            return _as_matches(matches.merge(_select_pictures(connection, matches), how="left"))

    @_retried
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
            _require_videos(connection, video_id)
            conditions = _conditions(video_id, start_seconds, end_seconds)
            return read(connection, select(_frames).where(*conditions).order_by(_frames.c.frame_number))

    def read_batches(self, video_id: str, *, after: int = 0) -> Iterator[pd.DataFrame]:
        """Read a video's frames of a frame_number above `after` in order, some at a time, as `read_frames` does.

        Raises
        ------
        StoreError
            If the video is not in the store.
        """
        while True:
            batch = self._read_batch(video_id, after, _frames.columns, BATCH_SIZE)
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
                batch = self._read_batch(name, after, [*_KEYS, _frames.c.embedding_data], size)
                if batch.empty:
                    break
                embeddings[done : done + len(batch)] = np.stack(list(batch.pop("embedding_data")))
                done += len(batch)
                after = int(batch["frame_number"].iloc[-1])
                keys.append(batch)
        return FrameIndex(pd.concat(keys, ignore_index=True), embeddings[:done], self._read_pictures)

    @_retried
    def _read_batch(
        self, video_id: str, after: int, columns: Iterable[ColumnElement[Any]], size: int
    ) -> pd.DataFrame:
        with self._begin() as connection:
            _require_videos(connection, video_id)
            statement = (
                select(*columns)
                .where(_frames.c.video_id == video_id, _frames.c.frame_number > after)
                .order_by(_frames.c.frame_number)
                .limit(size)
            )
            return read(connection, dialects.rows_first(connection.dialect, statement))

    @_retried
    def _read_pictures(self, keys: pd.DataFrame) -> pd.DataFrame:
        with self._begin() as connection:
            return _select_pictures(connection, keys)

    @_retried
    def list_videos(self) -> pd.DataFrame:
        """List the videos by title.

        Returns
        -------
        The columns of `Video`; model, dimension, every_seconds, sampling; complete, whether all frames are written;
        frame_count and last_frame_number, 0 where there is none yet.
        """
        last = func.coalesce(func.max(_frames.c.frame_number), 0).label("last_frame_number")
        statement = (
            select(_videos, func.count(_frames.c.frame_number).label("frame_count"), last)
            .outerjoin_from(_videos, _frames, _videos.c.video_id == _frames.c.video_id)
            .group_by(*_videos.columns)
        )
        with self._begin() as connection:
            if not _has_table(connection, _videos):
                return pd.DataFrame(columns=statement.exported_columns.keys())
            videos = read(connection, statement)
        # Sorted here, because databases differ in the order of capital letters.
        return videos.sort_values(["title", "video_id"], ignore_index=True)

    def delete_video(self, video_id: str) -> None:
        """Delete a video and its frames; StoreError if it is not in the store."""
        self._check_video(video_id)
        self._delete_video(video_id)

    @_retried
    def _check_video(self, video_id: str) -> None:
        with self._begin() as connection:
            _require_videos(connection, video_id)

    @_retried
    def _delete_video(self, video_id: str) -> None:
        with self._begin() as connection:
            for table in (_frames, _videos):
                connection.execute(delete(table).where(table.c.video_id == video_id))

    def create_vector_index(self, kind: str = "AUTO", options: Mapping[str, int] | None = None) -> None:
        """Build an index for approximate search, ``search(..., exact=False)``, on SingleStore.

        Write the frames first: a full table makes a better index faster. Below some millions of frames an
        exact search is fast enough.

        Parameters
        ----------
        kind
            AUTO, FLAT, IVF_FLAT, IVF_PQ, IVF_PQFS, HNSW_FLAT or HNSW_PQ.
        options
            Of the kind: IVF_*: nlist (128), nprobe (8); *_PQ and IVF_PQFS: m (32), which divides the dimension;
            *_PQ: nbits (8); HNSW_*: M (30), efConstruction (40), ef (16).

        Raises
        ------
        ValueError
            If the kind or an option is not one that SingleStore knows.
        StoreError
            If the store is empty or has an index already, or its database is not SingleStore.
        """
        _, dimension = self._check_indexable(has_index=False)
        index_options = dialects.vector_index_options(kind, options or {}, dimension)
        self._run_unless_done(
            dialects.DUPLICATE_INDEX,
            f"OPTIMIZE TABLE {_frames.name} FLUSH",
            f"OPTIMIZE TABLE {_frames.name} FULL",
            f"ALTER TABLE {_frames.name} ADD VECTOR INDEX {INDEX_NAME} (embedding_data) "
            f"INDEX_OPTIONS '{index_options}'",
        )

    def drop_vector_index(self) -> None:
        """Drop the index; StoreError if there is none."""
        self._check_indexable(has_index=True)
        self._run_unless_done(dialects.UNKNOWN_INDEX, f"DROP INDEX {INDEX_NAME} ON {_frames.name}")

    @_retried
    def _check_indexable(self, *, has_index: bool) -> tuple[str, int]:
        """Return the stored model; StoreError where it is not SingleStore that has, or lacks, an index."""
        if self.engine.dialect.name == "duckdb":
            raise StoreError(
                f"{self!r} has no vector index, which SingleStore alone keeps: search it as it is"
            )
        with self._begin() as connection:
            model = _stored_model(connection)
            if model is None:
                raise StoreError(f"{self!r} is empty: write frames first")
            rows = connection.exec_driver_sql(f"SHOW INDEX FROM {_frames.name}").mappings()
            if (INDEX_NAME in {row["Key_name"] for row in rows}) != has_index:
                remedy = "call create_vector_index first" if has_index else "call drop_vector_index first"
                raise StoreError(f"{self!r} has {'no' if has_index else 'a'} vector index: {remedy}")
            return model

    @_retried
    def _run_unless_done(self, done_code: int, *statements: str) -> None:
        """Run definitions, of which the last may be refused because a lost connection had carried it out."""
        with self._begin() as connection:
            for statement in statements:
                try:
                    connection.exec_driver_sql(statement)
                except DBAPIError as error:
                    if dialects.error_code(error) != done_code:
                        raise

    @_retried
    def check_room(self, frame_count: int, *, frame_bytes: int = 12_000) -> int:
        """Estimate the bytes that more frames will take, and check that they fit SingleStore's free shared tier.

        Parameters
        ----------
        frame_count
            How many frames are to be written.
        frame_bytes
            Bytes of one frame, picture and embedding; where frames are stored already, their mean counts.

        Raises
        ------
        StoreError
            If the database is one of the free shared tier, whose limit of 1 GB the frames would exceed.
        """
        with self._begin() as connection:
            stored = 0
            model = _stored_model(connection)
            if model is not None:
                stored = connection.scalar(select(func.count()).select_from(_frames)) or 0
                pictures = read(connection, select(_frames.c.frame_data).limit(20))["frame_data"]
                if stored:
                    frame_bytes = round(pictures.map(len).mean()) + 4 * model[1]
            more = frame_count * frame_bytes
            free = SHARED_TIER_BYTES - stored * frame_bytes
            if more > free and dialects.is_shared_tier(connection):
                raise StoreError(
                    f"{self!r} is of the free shared tier, which holds 1 GB: {frame_count:,} more frames take about "
                    f"{more / 1e6:,.0f} MB, and about {max(free, 0) / 1e6:,.0f} MB are free: sample less often, "
                    "delete videos, or use another store"
                )
            return more

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """Connect and begin; commit, or roll back on an error, and close."""
        try:
            connection = self.engine.connect()
        except DBAPIError as error:
            if dialects.is_transient(error):
                raise
            raise StoreError(f"{self!r} cannot be opened: {error.orig}") from error
        with connection, connection.begin():
            yield connection


def _has_table(connection: Connection, table: Table) -> bool:
    return inspect(connection).has_table(table.name)


def _create_tables(connection: Connection, dimension: int) -> None:
    """Create the tables of an empty store, or nothing where they are."""
    if _has_table(connection, _frames):
        if not _has_table(connection, _videos):
            raise StoreError(
                f"the database has a table {_frames.name!r} of another origin: use another database"
            )
        types = {name: kind for name, kind, *_ in connection.execute(text(f"DESCRIBE {_frames.name}"))}
        other_dimension = re.findall(r"\d+", types["embedding_data"])[:1] != [str(dimension)]
        if other_dimension and not connection.scalar(select(func.count()).select_from(_frames)):
            _frames.drop(connection)
    metadata = MetaData()
    for table in (_videos, _frames):
        table.to_metadata(metadata)
    metadata.tables[_frames.name].c.embedding_data.type = Vector(dimension)
    for name in (_videos.name, _frames.name):
        # Another process may be creating them, too.
        connection.execute(CreateTable(metadata.tables[name], if_not_exists=True))


def _stored_model(connection: Connection) -> tuple[str, int] | None:
    """Name and dimension of the model whose embeddings are stored; None in an empty store."""
    if not _has_table(connection, _videos):
        return None
    row = connection.execute(select(_videos.c.model, _videos.c.dimension).limit(1)).one_or_none()
    return row and (row.model, row.dimension)


def _describe(model: tuple[str, int]) -> str:
    return f"{model[0]!r} (dimension {model[1]})"


def _require_videos(connection: Connection, *video_ids: str) -> tuple[str, int]:
    """Return the stored model; StoreError if one of the videos is not in the store."""
    these = select(_videos.c.video_id, _videos.c.model, _videos.c.dimension).where(
        _videos.c.video_id.in_(video_ids)
    )
    rows = connection.execute(these).all() if _has_table(connection, _videos) else []
    if missing := set(video_ids) - {row.video_id for row in rows}:
        raise StoreError(f"video_id must be of a video in the store, got {min(missing)!r}: see list_videos()")
    return rows[0].model, rows[0].dimension


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


def _select_pictures(connection: Connection, keys: pd.DataFrame) -> pd.DataFrame:
    """Read video_id, frame_number and frame_data of the frames with these video_id and frame_number."""
    if keys.empty:
        return keys[["video_id", "frame_number"]].assign(frame_data=None)
    wanted = [
        and_(_frames.c.video_id == video_id, _frames.c.frame_number.in_(numbers.tolist()))
        for video_id, numbers in keys.groupby("video_id")["frame_number"]
    ]
    pictures = select(_frames.c.video_id, _frames.c.frame_number, _frames.c.frame_data).where(or_(*wanted))
    return read(connection, dialects.rows_first(connection.dialect, pictures))
