"""What differs between the databases, and nothing else."""

from __future__ import annotations

import ipaddress
import json
import random
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import certifi
import numpy as np
import numpy.typing as npt
import pandas as pd
from singlestoredb.exceptions import OperationalError
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Executable,
    LargeBinary,
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
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool, StaticPool
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

from videolib.errors import StoreError
from videolib.similarity import FloatArray

# SingleStore's and MySQL's codes of what may be over at the next try.
TRANSIENT_CODES = {
    *(1040, 1205, 1213),  # too many connections, lock timeout, deadlock
    *(
        1053,
        1218,
        2002,
        2003,
        2006,
        2013,
        2055,
    ),  # the server restarts, fails over, cannot be reached, is lost
}
LOG_MEGABYTES = 32  # DuckDB reads the log anew at each opening
DUPLICATE_INDEX, UNKNOWN_INDEX = 1061, 1091

_CELLS = {"nlist": (1, 65536), "nprobe": (1, 65536)}
_GRAPH = {"M": (1, 2048), "efConstruction": (1, 2**31 - 1), "ef": (1, 2**31 - 1)}
_CODES = {"m": (1, 65536), "nbits": (1, 16)}
# Lowest and highest value of each option; `docs.singlestore.com`, Vector Indexing.
VECTOR_INDEX_TYPES: dict[str, dict[str, tuple[int, int]]] = {
    "AUTO": {},
    "FLAT": {},
    "IVF_FLAT": _CELLS,
    "IVF_PQ": _CELLS | _CODES,
    "IVF_PQFS": _CELLS | {"m": _CODES["m"]},
    "HNSW_FLAT": _GRAPH,
    "HNSW_PQ": _GRAPH | _CODES,
}


def encode_vector(embedding: npt.ArrayLike, *, as_json: bool = False) -> bytes | str:
    """Encode an embedding for SingleStore: little-endian float32 bytes, or the text of a JSON array."""
    values = np.ascontiguousarray(embedding, dtype="<f4")
    return json.dumps(values.tolist()) if as_json else values.tobytes()


class Vector(UserDefinedType[FloatArray]):
    """A column of embeddings: (d,) float32 arrays go in and come out; only CREATE and CAST need to know d."""

    cache_ok = True

    def __init__(self, dimension: int | None = None):
        self.dimension = dimension

    def bind_processor(self, dialect: Dialect) -> Callable[[FloatArray | None], Any]:
        if dialect.name == "duckdb":
            return lambda embedding: np.asarray(embedding, dtype=np.float32).tolist()
        as_json: bool = getattr(dialect, "vectors_as_json", False)
        return lambda embedding: None if embedding is None else encode_vector(embedding, as_json=as_json)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], FloatArray]:
        return lambda value: np.asarray(value, dtype=np.float32)


@compiles(Vector, "duckdb")
def _(vector: Vector, compiler: SQLCompiler, **_options: Any) -> str:
    return f"FLOAT[{vector.dimension}]"


@compiles(Vector, "singlestoredb")
def _(vector: Vector, compiler: SQLCompiler, **_options: Any) -> str:
    return f"VECTOR({vector.dimension})"


# MySQL's plain BLOB ends at 64 KB.
Picture = LargeBinary().with_variant(mysql.LONGBLOB(), "singlestoredb")


class dot_product(FunctionElement[float]):
    """The dot product of a `Vector` column and a bound query, computed by the database."""

    type = Double()
    inherit_cache = True


@compiles(dot_product, "duckdb")
def _(element: dot_product, compiler: SQLCompiler, **options: Any) -> str:
    embeddings, query = element.clauses
    arguments = (compiler.process(part, **options) for part in (embeddings, cast(query, query.type)))
    return f"array_inner_product({', '.join(arguments)})"


@compiles(dot_product, "singlestoredb")
def _(element: dot_product, compiler: SQLCompiler, **options: Any) -> str:
    return " <*> ".join(compiler.process(part, **options) for part in element.clauses)


def best_first(dialect: Dialect, name: str, *, index_k: int | None) -> TextClause:
    """Order by the dot product of this name: exactly, or with the vector index, which is to find index_k rows."""
    if dialect.name == "duckdb":
        return text(f"{name} DESC")
    hint = "USE INDEX ()" if index_k is None else f"SEARCH_OPTIONS '{json.dumps({'k': index_k})}'"
    return text(f"{name} {hint} DESC")


def rows_first(dialect: Dialect, statement: Select[Any]) -> Select[Any]:
    """Let DuckDB find the rows of a statement before it reads their columns.

    Only comparisons with one value keep it from reading all pictures; IN, ORDER BY and LIMIT do not. Five of
    100,000 pictures took 20 ms so, and 800 ms otherwise.
    """
    if dialect.name != "duckdb":
        return statement
    rowid: ColumnElement[int] = literal_column("rowid")
    return statement.where(rowid.in_(statement.with_only_columns(rowid).correlate(None)))


def vector_index_options(kind: str, options: Mapping[str, int], dimension: int) -> str:
    """Check the options of a vector index on SingleStore and write its INDEX_OPTIONS; ValueError if one is wrong."""
    if kind not in VECTOR_INDEX_TYPES:
        raise ValueError(f"kind must be one of {', '.join(VECTOR_INDEX_TYPES)}, got {kind!r}")
    limits = VECTOR_INDEX_TYPES[kind]
    for name, value in options.items():
        if name not in limits:
            known = f"only {', '.join(limits)}" if limits else "none"
            raise ValueError(f"options must be those of {kind}, which takes {known}; got {name!r}")
        lowest, highest = limits[name]
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError(
                f"options[{name!r}] must be a whole number from {lowest} to {highest}, got {value!r}"
            )
    if "nprobe" in options and options["nprobe"] > options.get("nlist", 128):
        raise ValueError(
            f"options['nprobe'] must not exceed nlist, {options.get('nlist', 128)}, got {options['nprobe']}"
        )
    if "m" in limits and dimension % options.get("m", 32):
        raise ValueError(
            f"options['m'] must divide the dimension, {dimension}, got {options.get('m', '32, the default')}"
        )
    return json.dumps({"index_type": kind, "metric_type": "DOT_PRODUCT", **options})


def upsert(connection: Connection, into: Table, rows: pd.DataFrame) -> None:
    """Insert rows, or replace the other columns where the primary key is there already."""
    names = [each.name for each in into.columns]
    changed = [each.name for each in into.columns if not each.primary_key]
    if connection.dialect.name == "duckdb":
        new = table("new_rows", *map(column, names))
        statement = postgresql.insert(into).from_select(names, select(new))  # DuckDB speaks its ON CONFLICT
        raw = connection.connection.driver_connection
        raw.register("new_rows", rows)  # type: ignore[union-attr]
        # Merging the log into the file writes up to 122,880 rows anew: not at the end of each small batch. What
        # closes the file after any other operation does it, such as `mark_complete` after the last batch.
        connection.exec_driver_sql("PRAGMA disable_checkpoint_on_shutdown")
        connection.exec_driver_sql(f"SET checkpoint_threshold = '{LOG_MEGABYTES}MB'")
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=list(into.primary_key.columns),
                set_={name: statement.excluded[name] for name in changed},
            )
        )
        raw.unregister("new_rows")  # type: ignore[union-attr]
    else:
        insert = mysql.insert(into)
        # The client joins the rows to statements of 1 MB at most, all in this transaction.
        connection.execute(
            insert.on_duplicate_key_update({name: insert.inserted[name] for name in changed}),
            [dict(zip(names, row, strict=True)) for row in rows[names].itertuples(index=False)],
        )


def read(connection: Connection, statement: Executable) -> pd.DataFrame:
    """Read rows; whole numbers are int64, embeddings (d,) float32 arrays, pictures bytes."""
    result = connection.execute(statement)
    if connection.dialect.name != "duckdb":
        return pd.DataFrame(result.all(), columns=list(result.keys()))
    rows: pd.DataFrame = result.cursor.df()  # five times as fast as rows of Python floats
    rows = rows.astype(dict.fromkeys(rows.select_dtypes("int32"), "int64"))
    if "frame_data" in rows:
        rows["frame_data"] = pd.Series([bytes(data) for data in rows["frame_data"]], dtype=object)
    return rows


def open_engine(url: URL) -> Engine:
    """Make the engine of a database; ValueError if videolib does not know its kind."""
    kind = url.get_backend_name()
    if kind == "singlestoredb":
        return _open_singlestore(url)
    if kind != "duckdb":
        raise ValueError(f"url must begin with duckdb:/// or singlestoredb://, got {kind!r}")
    # An open connection locks the file for other processes; in memory, closing it would lose the data.
    in_memory = url.database in (None, "", ":memory:")
    engine = create_engine(url, poolclass=StaticPool if in_memory else NullPool, hide_parameters=True)
    event.listen(engine, "connect", _store_uncompressed)
    return engine


def _store_uncompressed(connection: Any, _record: Any) -> None:
    """Unit vectors and JPEG files do not get smaller, but a search takes twice as long, and writing longer."""
    connection.cursor().execute("SET force_compression = 'uncompressed'")


def hide_password(url: URL) -> URL:
    """Leave the password out of a URL, for engines too: a repr, a message or %sql would show it."""
    query = {name: value for name, value in url.query.items() if name != "password"}
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)


def _open_singlestore(url: URL) -> Engine:
    if url.host == "singlestore.com":
        raise ValueError(
            "url must name a database, and Data Studio's has none yet: select one at the top of the notebook"
        )
    if not url.database:
        raise ValueError("url must name a database, such as singlestoredb://user:password@host:3306/videos")
    # Whatever the URL says: with autocommit no transaction is atomic, other results have other types.
    options = {"autocommit": False, "results_type": "tuples", "buffered": True}
    password = url.query.get("password", url.password)
    engine = create_engine(
        hide_password(url),
        hide_parameters=True,
        pool_recycle=600,  # gateways forget connections that were idle for long
        connect_args=options if password is None else options | {"password": password},
    )
    engine.dialect.vectors_as_json = url.query.get("vector_data_format") == "json"  # type: ignore[attr-defined]
    event.listen(engine, "do_connect", _connect_safely)
    return engine


def _connect_safely(dialect: Dialect, _record: Any, arguments: Any, options: dict[str, Any]) -> Any:
    """Connect with a verified certificate, unless the server is local or the URL says otherwise."""
    verify = options.get("ssl_verify_cert", not _is_local(options["host"]))
    encrypt = not options.get("ssl_disabled") and (verify or not _is_local(options["host"]))
    if verify:
        options = (
            {"ssl_ca": certifi.where(), "ssl_verify_identity": True} | options | {"ssl_verify_cert": True}
        )
    try:
        connection = dialect.connect(*arguments, **options)
    except OperationalError as error:
        if not isinstance(getattr(error, "original_exception", None), ssl.SSLCertVerificationError):
            raise
        raise StoreError(
            f"the certificate of {options['host']!r} must be valid, and it is not ({error}): add ?ssl_ca=FILE with "
            "its CA to the URL, or ?ssl_verify_cert=false if you trust every machine between"
        ) from error
    # The client takes what the server offers, even where a certificate is to be verified.
    if encrypt and not getattr(connection, "_secure", False):
        connection.close()
        raise StoreError(
            f"{options['host']!r} must offer TLS, and it does not: add ?ssl_disabled=true to the URL only if you "
            "trust every machine between"
        )
    return connection


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_shared_tier(connection: Connection) -> bool:
    """Tell whether the database is one of SingleStore's free shared tier."""
    if connection.dialect.name == "duckdb":
        return False
    row = connection.execute(text("SHOW VARIABLES LIKE 'is_shared_tier'")).one_or_none()
    return row is not None and row[1] == "ON"


def is_locked(error: DBAPIError) -> bool:
    """Tell whether the connection failed because another process holds DuckDB's file."""
    return "Could not set lock on file" in str(error.orig)


def is_transient(error: BaseException) -> bool:
    """Tell whether the same may succeed a little later: a lock, a dropped connection, a server that restarts."""
    if not isinstance(error, DBAPIError):
        return False
    cause = getattr(error.orig, "original_exception", None)
    if isinstance(cause, socket.gaierror):  # there is no host of this name
        return False
    return error.connection_invalidated or is_locked(error) or error_code(error) in TRANSIENT_CODES


def error_code(error: DBAPIError) -> int | None:
    """The server's code of an error; None where there is none."""
    return getattr(error.orig, "errno", None)


def pause_seconds(error: DBAPIError, attempt: int) -> float:
    """How long to wait before the next attempt: DuckDB's lock is short, a server needs time."""
    return 0.02 if is_locked(error) else random.uniform(0.5, 1) * min(5, 0.1 * 2**attempt)
