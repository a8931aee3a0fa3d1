"""What is different on DuckDB, the embedded database in one file."""

from __future__ import annotations

import os
import shutil
import time
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
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.compiler import SQLCompiler

from videolib.addresses import Secret
from videolib.store.schema import Vector, dot_product

HAS_VECTOR_INDEX = False
MEMORY = (None, "", ":memory:")
# What DuckDB says where another thread of this process writes the same rows, or opens, closes or compacts the file.
OTHER_THREAD = ("Duplicate key", "Unique file handle conflict", "different configuration")
LOG_MEGABYTES = 32  # DuckDB reads the log anew at each opening


def open_engine(url: URL) -> Engine:
    """Make an engine whose connections are opened for each operation: an open one locks the file for others."""
    if url.host or url.username:
        raise ValueError("url must be duckdb:/// and a path for DuckDB, which has no host and no user")
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
    event.listen(engine, "connect", _store_uncompressed)
    return engine


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
    raw = connection.connection.driver_connection
    raw.register("new_rows", rows)  # type: ignore[union-attr]
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
    raw.unregister("new_rows")  # type: ignore[union-attr]


def size_limit(connection: Connection) -> int | None:
    """The most bytes that the database may hold; None for any."""
    return None


def is_locked(error: DBAPIError) -> bool:
    """Tell whether the connection failed because another process holds the file."""
    return "Could not set lock on file" in str(error.orig)


def is_transient(error: DBAPIError) -> bool:
    """Tell whether the same may succeed a little later: a lock, or another thread that writes the same rows."""
    is_conflict = isinstance(error.orig, duckdb.TransactionException)
    is_conflict |= any(text in str(error.orig) for text in OTHER_THREAD)
    return error.connection_invalidated or is_locked(error) or is_conflict


def remedy(error: Exception) -> str:
    """What to do about an error of DuckDB, or about what it gave."""
    if "No space left" in str(error) or "disk is full" in str(error).lower():
        return "make room on the disk; what was stored before is whole"
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
