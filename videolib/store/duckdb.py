"""What is different on DuckDB, the embedded database in one file."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from duckdb_engine import ConnectionWrapper
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Select,
    Table,
    TextClause,
    cast,
    column,
    create_engine,
    event,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool, PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from videolib.addresses import Secret
from videolib.store.schema import ElementType, Vector, dot_product

HAS_VECTOR_INDEX = False
ELEMENT_TYPES: tuple[ElementType, ...] = ("F32",)
MEMORY = (None, "", ":memory:")
# What DuckDB says where another thread of this process writes the same rows, or opens, closes or compacts the file;
# while one opens it, another gets it already without the function that reads a pandas table.
OTHER_THREAD = (
    "Duplicate key",
    "Unique file handle conflict",
    "different configuration",
    "pandas_scan does not exist",
)
LOCKED = "Could not set lock on file"
# How DuckDB and the system say that nothing may be written, and that nothing of this name can be.
NOT_WRITABLE = ("read-only mode", "Permission denied", "Operation not permitted", "Read-only file system")
LOG_MEGABYTES = 32  # DuckDB reads the log anew at each opening
EMPTY_BYTES = 2_000_000  # of a file: blocks of 262,144 bytes that are begun


def open_engine(url: URL) -> Engine:
    """Make an engine whose connections are opened for each operation: an open one locks the file for others."""
    if url.host or url.username:
        raise ValueError("url must be duckdb:/// and a path for DuckDB, which has no host and no user")
    if url.database not in MEMORY:
        # another working folder later does not change it, and DuckDB takes no `md:name` for a server
        url = url.set(database=os.path.abspath(os.path.expanduser(url.database)))
    engine = create_engine(
        url.set(query={}),
        poolclass=NullPool,
        pool_reset_on_return=None,  # closing rolls back, and does not complain where the database is broken
        hide_parameters=True,
        connect_args={"url_config": {name: Secret(value) for name, value in url.query.items()}},
    )
    engine.dialect.bind_vector = lambda embedding: np.asarray(embedding, dtype=np.float32).tolist()  # type: ignore[attr-defined]
    if url.database in MEMORY:
        # Closing the only connection would lose the data, and threads that share one get each other's rows.
        arguments, options = engine.dialect.create_connect_args(url)
        kept = engine.dialect.connect(*arguments, **options)
        event.listen(engine, "do_connect", lambda *_: ConnectionWrapper(kept.duplicate()))
    else:
        event.listen(engine, "do_connect", _prepare_file)
    event.listen(engine, "connect", _store_uncompressed)
    return engine


def exists(url: URL) -> bool:
    """Tell whether there is a file."""
    return url.database in MEMORY or os.path.exists(url.database)


def learn_vectors(connection: Connection, wanted: ElementType | None) -> bool:
    """All embeddings are float32."""
    return True


def _prepare_file(_dialect: Dialect, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
    """Make the folder of a new file; open one that may only be read for reading, with its log."""
    path = options["database"]
    folder = os.path.dirname(path)
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
    elif not (os.access(path, os.W_OK) and os.access(folder, os.W_OK)):  # the log is a new file beside it
        options["read_only"] = True


def hand_out(engine: Engine, *, retry_seconds: float) -> Engine:
    """Make an engine for others, whose connections let go of the file after each statement in autocommit mode."""
    attempts = Retrying(
        retry=retry_if_exception(is_busy),
        wait=wait_fixed(pause_seconds(1)),
        stop=stop_after_delay(retry_seconds),
        reraise=True,
    )
    shared = create_engine(
        engine.url,
        creator=lambda: SharedConnection(partial(attempts, engine.raw_connection)),
        poolclass=NullPool,
        pool_reset_on_return=None,
    )
    dialect: Any = shared.dialect
    dialect.bind_vector = engine.dialect.bind_vector  # type: ignore[attr-defined]
    dialect.get_isolation_level_values = lambda _connection: ["AUTOCOMMIT"]
    dialect.set_isolation_level = lambda connection, _level: connection.begin_autocommit()
    dialect.reset_isolation_level = lambda _connection: None  # it is closed at once
    return shared


class SharedConnection:
    """A DBAPI connection that has the file open from the start, or in autocommit mode during each statement."""

    def __init__(self, connect: Callable[[], PoolProxiedConnection]):
        self._connect = connect
        self._held: Any = connect()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)

    def begin_autocommit(self) -> None:
        self._held.close()
        self._held = StatementConnection(self._connect)


class StatementConnection:
    """What is open during statements only; jupysql would use what DuckDB's own connection has more."""

    notices = ()

    def __init__(self, connect: Callable[[], PoolProxiedConnection]):
        self.connect = connect

    def cursor(self) -> StatementCursor:
        return StatementCursor(self)

    def begin(self) -> None:
        """Each statement is a transaction."""

    commit = rollback = close = begin


class StatementCursor:
    """A DBAPI cursor that opens the file for each statement, and keeps the rows."""

    rowcount = -1

    def __init__(self, connection: StatementConnection):
        self.connection = connection
        self.description: Any = None
        self._rows: list[Any] = []

    def execute(self, statement: str, parameters: Any = None, context: Any = None) -> None:
        self._run("execute", statement, parameters)

    def executemany(self, statement: str, parameters: Any = None, context: Any = None) -> None:
        self._run("executemany", statement, parameters)

    def _run(self, method: str, *arguments: Any) -> None:
        with closing(self.connection.connect()) as opened:
            cursor = opened.cursor()
            getattr(cursor, method)(*arguments)
            self.description = cursor.description
            self._rows = list(cursor.fetchall())[::-1]

    def fetchone(self) -> Any:
        return self._rows.pop() if self._rows else None

    def fetchmany(self, size: int = 1) -> list[Any]:
        return [self._rows.pop() for _ in range(min(size, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        return self.fetchmany(len(self._rows))

    def close(self) -> None:
        pass


def _store_uncompressed(connection: Any, _record: Any) -> None:
    """Unit vectors and JPEG files do not get smaller, but a search takes twice as long, and writing longer."""
    connection.cursor().execute("SET force_compression = 'uncompressed'")


@compiles(Vector, "duckdb")
def _(vector: Vector, compiler: SQLCompiler, **_options: Any) -> str:
    return f"FLOAT[{vector.dimension}]"


@compiles(dot_product, "duckdb")
def _(element: dot_product, compiler: SQLCompiler, **options: Any) -> str:
    embeddings, query = element.clauses
    arguments = (compiler.process(part, **options) for part in (embeddings, cast(query, query.type)))
    return f"array_inner_product({', '.join(arguments)})"


def best_first(name: str, *, index_k: int | None) -> TextClause:
    """Order by the dot product of this name; there is no index."""
    return text(f"{name} DESC")


def rows_first(statement: Select[Any]) -> Select[Any]:
    """Let DuckDB find the rows of a statement before it reads their columns.

    Only comparisons with one value keep it from reading all pictures; IN, ORDER BY and LIMIT do not. Five of
    100,000 pictures took 20 ms so, and 800 ms otherwise.
    """
    rowid: ColumnElement[int] = literal_column("rowid")
    return statement.where(rowid.in_(statement.with_only_columns(rowid).correlate(None)))


def read(connection: Connection, statement: Executable) -> pd.DataFrame:
    """Read rows; whole numbers are int64, embeddings (d,) float32 arrays, pictures bytes."""
    rows: pd.DataFrame = connection.execute(
        statement
    ).cursor.df()  # five times as fast as rows of Python floats
    rows = rows.astype(dict.fromkeys(rows.select_dtypes("int32"), "int64"))
    if "frame_data" in rows:
        rows["frame_data"] = pd.Series([bytes(data) for data in rows["frame_data"]], dtype=object)
    return rows


def upsert(connection: Connection, into: Table, rows: pd.DataFrame) -> None:
    """Insert rows, or replace the other columns where the primary key is there already."""
    names = [each.name for each in into.columns]
    statement = postgresql.insert(into).from_select(names, select(table("new_rows", *map(column, names))))
    connection.exec_driver_sql(
        "register", ("new_rows", rows)
    )  # the driver's method, by the engine's name for it
    # Merging the log into the file writes up to 122,880 rows anew: not at the end of each small batch. What
    # closes the file after any other operation does it, such as `mark_complete` after the last batch.
    connection.exec_driver_sql("PRAGMA disable_checkpoint_on_shutdown")
    connection.exec_driver_sql(f"SET checkpoint_threshold = '{LOG_MEGABYTES}MB'")
    connection.execute(
        statement.on_conflict_do_update(  # DuckDB speaks PostgreSQL's ON CONFLICT
            index_elements=list(into.primary_key.columns),
            set_={each.name: statement.excluded[each.name] for each in into.columns if not each.primary_key},
        )
    )
    connection.connection.driver_connection.unregister("new_rows")  # type: ignore[union-attr]


def load_frames(connection: Connection, folder: str, element_types: set[ElementType], **options: Any) -> bool:
    """Leave the files to `load_parquet`: no function of DuckDB makes an embedding of bytes."""
    return False


def file_bytes(stored_bytes: int) -> int:
    """Estimate the bytes of a new file: each time that the log is full, all is written anew, and what was is free.

    Measured on 143 to 10,800 frames, within 3 per cent. So it is up to 122,880 frames, which DuckDB keeps as one
    group; the next video takes what is free, and `compact` gives it back.
    """
    log_bytes = LOG_MEGABYTES * 10**6
    return stored_bytes + stored_bytes // log_bytes * log_bytes + EMPTY_BYTES


def size_limit(connection: Connection) -> int | None:
    """The most bytes that the database may hold; None for any."""
    return None


def is_locked(error: DBAPIError) -> bool:
    """Tell whether the connection failed because another process holds the file."""
    return LOCKED in str(error.orig)


def is_busy(error: BaseException | None) -> bool:
    """Tell whether another process or another thread has the file, or what is to be written."""
    return any(text in str(error) for text in (LOCKED, *OTHER_THREAD))


def is_transient(error: DBAPIError) -> bool:
    """Tell whether the same may succeed a little later: a lock, or another thread that writes the same rows."""
    is_conflict = isinstance(error.orig, duckdb.TransactionException)
    return error.connection_invalidated or is_conflict or is_busy(error.orig)


def remedy(error: Exception) -> str:
    """What to do about an error of DuckDB, or about what it gave."""
    if "No space left" in str(error) or "disk is full" in str(error).lower():
        return "make room on the disk; what was stored before is whole"
    if any(text in str(error) for text in NOT_WRITABLE):
        return (
            "the file or its folder may only be read here: allow to write to both, or copy the file elsewhere"
        )
    if isinstance(error, duckdb.IOException | duckdb.FatalException | duckdb.SerializationException):
        return (
            "the file is damaged, or not to be read here: restore it from a copy, or ingest the videos anew"
        )
    if isinstance(error, duckdb.Error):
        return "check what was given; if its tables are another program's or were changed by hand, use another file"
    return "it holds what videolib does not write: use another file, or restore this one from a copy"


def compact(url: URL) -> None:
    """Write the file anew without what was deleted or replaced; DuckDB itself never makes it smaller.

    While the copy is made nobody else has the file: other processes meet its lock, and threads of this one a
    connection whose settings are not theirs.
    """
    if url.database in MEMORY:
        return
    path = Path(url.database or "").resolve()
    copy = path.with_name(f"{path.name}.compact")
    copy.unlink(missing_ok=True)
    engine = create_engine(
        url, poolclass=NullPool, connect_args={"config": {"custom_user_agent": "videolib/compact"}}
    )
    event.listen(engine, "do_connect", _prepare_file)
    event.listen(engine, "connect", _store_uncompressed)
    with engine.connect() as opened:
        connection: Any = opened.connection.driver_connection
        connection.execute("CHECKPOINT")  # the log would be taken for the new file's
        (name,) = connection.execute("SELECT current_database()").fetchone()
        quoted_path, quoted_name = str(copy).replace("'", "''"), name.replace('"', '""')
        connection.execute(f"ATTACH '{quoted_path}' AS compacted")  # DuckDB takes no parameters here
        connection.execute(f'COPY FROM DATABASE "{quoted_name}" TO compacted')
        connection.execute("DETACH compacted")
        shutil.copymode(path, copy)
        os.replace(copy, path)
        time.sleep(0.1)  # who has opened the old file, but not yet tried its lock, finds it locked


def pause_seconds(attempt: int) -> float:
    """How long to wait before the next attempt: a lock is short."""
    return 0.02
