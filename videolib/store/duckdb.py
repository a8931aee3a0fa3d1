"""What is different on DuckDB, the embedded database in one file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
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
from sqlalchemy.pool import NullPool, StaticPool
from sqlalchemy.sql.compiler import SQLCompiler

from videolib.store.schema import Vector, dot_product

HAS_VECTOR_INDEX = False
LOG_MEGABYTES = 32  # DuckDB reads the log anew at each opening


def open_engine(url: URL) -> Engine:
    """Make an engine whose connections are opened for each operation: an open one locks the file for others."""
    in_memory = url.database in (None, "", ":memory:")  # closing that would lose the data
    engine = create_engine(url, poolclass=StaticPool if in_memory else NullPool, hide_parameters=True)
    engine.dialect.bind_vector = lambda embedding: np.asarray(embedding, dtype=np.float32).tolist()  # type: ignore[attr-defined]
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
    """Tell whether the same may succeed a little later."""
    return error.connection_invalidated or is_locked(error)


def pause_seconds(attempt: int) -> float:
    """How long to wait before the next attempt: a lock is short."""
    return 0.02
