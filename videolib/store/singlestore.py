"""What is different on SingleStore (https://docs.singlestore.com), but for its vector index."""

from __future__ import annotations

import ipaddress
import json
import random
import socket
import ssl
from typing import Any

import certifi
import numpy as np
import numpy.typing as npt
import pandas as pd
from singlestoredb.exceptions import OperationalError
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Executable,
    Select,
    Table,
    TextClause,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from videolib.addresses import hide_password
from videolib.errors import StoreError
from videolib.store.schema import Vector, dot_product

HAS_VECTOR_INDEX = True
SHARED_TIER_BYTES = 10**9
_SERVER_RESTARTS = {1053, 1218}
_CONNECTION_LOST = {2002, 2003, 2006, 2013, 2055}
# Too many connections, lock timeout, deadlock: what may be over at the next try, in MySQL's codes.
TRANSIENT_CODES = {1040, 1205, 1213} | _SERVER_RESTARTS | _CONNECTION_LOST


def open_engine(url: URL) -> Engine:
    """Make an engine without autocommit, whose connections are safe or refused."""
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
    as_json = url.query.get("vector_data_format") == "json"
    engine.dialect.bind_vector = lambda embedding: encode_vector(embedding, as_json=as_json)  # type: ignore[attr-defined]
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


def encode_vector(embedding: npt.ArrayLike, *, as_json: bool = False) -> bytes | str:
    """Encode an embedding for SingleStore: little-endian float32 bytes, or the text of a JSON array."""
    values = np.ascontiguousarray(embedding, dtype="<f4")
    return json.dumps(values.tolist()) if as_json else values.tobytes()


@compiles(Vector, "singlestoredb")
def _(vector: Vector, compiler: SQLCompiler, **_options: Any) -> str:
    return f"VECTOR({vector.dimension})"


@compiles(dot_product, "singlestoredb")
def _(element: dot_product, compiler: SQLCompiler, **options: Any) -> str:
    return " <*> ".join(compiler.process(part, **options) for part in element.clauses)


def best_first(name: str, *, index_k: int | None) -> TextClause:
    """Order by the dot product of this name: exactly, or with the vector index, which is to find index_k rows."""
    hint = "USE INDEX ()" if index_k is None else f"SEARCH_OPTIONS '{json.dumps({'k': index_k})}'"
    return text(f"{name} {hint} DESC")


def rows_first(statement: Select[Any]) -> Select[Any]:
    """Leave a statement as it is: the server reads what it needs."""
    return statement


def read(connection: Connection, statement: Executable) -> pd.DataFrame:
    """Read rows; whole numbers are int64, embeddings (d,) float32 arrays, pictures bytes."""
    result = connection.execute(statement)
    return pd.DataFrame(result.all(), columns=list(result.keys()))


def upsert(connection: Connection, into: Table, rows: pd.DataFrame) -> None:
    """Insert rows, or replace the other columns where the primary key is there already."""
    names = [each.name for each in into.columns]
    insert = mysql.insert(into)
    changed = {each.name: insert.inserted[each.name] for each in into.columns if not each.primary_key}
    # The client joins the rows to statements of 1 MB at most, all in this transaction.
    connection.execute(
        insert.on_duplicate_key_update(changed),
        [dict(zip(names, row, strict=True)) for row in rows[names].itertuples(index=False)],
    )


def size_limit(connection: Connection) -> int | None:
    """The most bytes that the database may hold: 1 GB on the free shared tier; None for any."""
    row = connection.execute(text("SHOW VARIABLES LIKE 'is_shared_tier'")).one_or_none()
    return SHARED_TIER_BYTES if row is not None and row[1] == "ON" else None


def is_locked(error: DBAPIError) -> bool:
    """No process locks another one out."""
    return False


def is_transient(error: DBAPIError) -> bool:
    """Tell whether the same may succeed a little later: a lock, a dropped connection, a server that restarts."""
    cause = getattr(error.orig, "original_exception", None)
    if isinstance(cause, socket.gaierror):  # there is no host of this name
        return False
    return error.connection_invalidated or error_code(error) in TRANSIENT_CODES


def error_code(error: DBAPIError) -> int | None:
    """The server's code of an error; None where there is none."""
    return getattr(error.orig, "errno", None)


def pause_seconds(attempt: int) -> float:
    """How long to wait before the next attempt: a server needs time, and others wait for it, too."""
    return random.uniform(0.5, 1) * min(5.0, 0.1 * 2.0**attempt)
