"""What differs between the databases, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import URL, Double, Engine, Table, cast, create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool, StaticPool
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

from videolib.similarity import FloatArray


class Vector(UserDefinedType[FloatArray]):
    """A column of embeddings: (d,) float32 arrays go in and come out; only CREATE and CAST need to know d."""

    cache_ok = True

    def __init__(self, dimension: int | None = None):
        self.dimension = dimension

    def bind_processor(self, dialect: Dialect) -> Callable[[FloatArray | None], Any]:
        return lambda embedding: np.asarray(embedding, dtype=np.float32).tolist()

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Sequence[float]], FloatArray]:
        return lambda value: np.asarray(value, dtype=np.float32)


@compiles(Vector, "duckdb")
def _(vector: Vector, compiler: SQLCompiler, **_options: Any) -> str:
    return f"FLOAT[{vector.dimension}]"


class dot_product(FunctionElement[float]):
    """The dot product of a `Vector` column and a bound query, computed by the database."""

    type = Double()
    inherit_cache = True


@compiles(dot_product, "duckdb")
def _(element: dot_product, compiler: SQLCompiler, **options: Any) -> str:
    embeddings, query = element.clauses
    arguments = (compiler.process(part, **options) for part in (embeddings, cast(query, query.type)))
    return f"array_inner_product({', '.join(arguments)})"


def upsert(table: Table, rows: Sequence[Mapping[str, Any]]) -> Insert:
    """Build one INSERT of all rows that replaces those of the same primary key."""
    statement = postgresql.insert(table).values(rows)  # DuckDB speaks PostgreSQL's ON CONFLICT
    values = {
        column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key
    }
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=values)


def open_engine(url: URL) -> Engine:
    """Make the engine of a database; ValueError if videolib does not know its kind."""
    if url.get_backend_name() != "duckdb":
        raise ValueError(f"url must begin with duckdb:///, got {url.render_as_string(hide_password=True)!r}")
    # An open connection locks the file for other processes; in memory, closing it would lose the data.
    in_memory = url.database in (None, "", ":memory:")
    return create_engine(url, poolclass=StaticPool if in_memory else NullPool, hide_parameters=True)


def is_locked(error: DBAPIError) -> bool:
    """Tell whether the connection failed because another process holds the file."""
    return "Could not set lock on file" in str(error.orig)
