"""What is different on SingleStore (https://docs.singlestore.com), but for its vector index."""

from __future__ import annotations

import ipaddress
import json
import random
import socket
import ssl
from collections.abc import Mapping
from typing import Any

import certifi
import numpy as np
import numpy.typing as npt
import pandas as pd
from singlestoredb.exceptions import OperationalError
from singlestoredb.mysql.connection import Connection as Client  # type: ignore[attr-defined]
from singlestoredb.mysql.constants import CLIENT
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Executable,
    PrimaryKeyConstraint,
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
from sqlalchemy.sql.compiler import DDLCompiler, SQLCompiler

from videolib.addresses import Secret, hide_password
from videolib.errors import StoreError
from videolib.store.load_data import load_statement
from videolib.store.schema import DTYPES, FRAMES, ElementType, Vector, dot_product, has_table, stored_vector
from videolib.store.videos import stored_model

HAS_VECTOR_INDEX = True
ELEMENT_TYPES: tuple[ElementType, ...] = ("F32", "F16")
# Whatever the URL and the environment say: with autocommit no transaction is atomic, and other results have other
# types. The last two would give a server files of this machine, and the password to another host.
FIXED_OPTIONS: dict[str, Any] = {
    "autocommit": False,
    "results_type": "tuples",
    "buffered": True,
    "driver": "mysql",
    "local_infile": False,
    "track_env": False,
}
NOT_IN_A_URL = {"local_infile", "driver"}
CLEAR_PASSWORD = {b"mysql_clear_password", b"dialog", b"mysql_old_password"}
SHARED_TIER_BYTES = 10**9
_SERVER_RESTARTS = {1053, 1218}
_CONNECTION_LOST = {2002, 2003, 2006, 2013, 2055}
ACCESS_DENIED, WRONG_TABLES = {1044, 1045, 1142, 1143}, {1054, 1146}  # MySQL's codes
# Too many connections, lock timeout, deadlock: what may be over at the next try.
TRANSIENT_CODES = {1040, 1205, 1213} | _SERVER_RESTARTS | _CONNECTION_LOST


def open_engine(url: URL) -> Engine:
    """Make an engine without autocommit, whose connections are safe or refused."""
    refused = sorted(NOT_IN_A_URL & {name.lower() for name in url.query})
    if refused or url.drivername.endswith(("+http", "+https")):
        raise ValueError(
            f"url must leave out {', '.join(refused) or '+http'}: videolib speaks the MySQL protocol, which can be "
            "guarded, and gives a server no file of this machine"
        )
    if url.host == "singlestore.com":
        raise ValueError(
            "url must name a database, and Data Studio's has none yet: select one at the top of the notebook"
        )
    if not url.database:
        raise ValueError("url must name a database, such as singlestoredb://user:password@host:3306/videos")
    engine = create_engine(
        hide_password(url),
        hide_parameters=True,
        pool_recycle=600,  # gateways forget connections that were idle for long
        connect_args=FIXED_OPTIONS
        if url.password is None
        else FIXED_OPTIONS | {"password": Secret(url.password)},
    )
    dialect: Any = engine.dialect
    dialect.element_type = "F32"
    as_json = url.query.get("vector_data_format") == "json"
    dialect.bind_vector = lambda embedding: encode_vector(embedding, dialect.element_type, as_json=as_json)
    event.listen(engine, "do_connect", _connect_safely)
    return engine


class Line(Client):  # type: ignore[misc]
    """The client's connection, which gives a server no file; it may be neither encrypted nor verified."""

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        try:
            return super()._read_query_result(unbuffered)
        except RuntimeError as error:  # the answer to any statement may be the wish for a file
            self._force_close()
            raise OperationalError(
                2000, "the server asks for a file of this machine (LOCAL INFILE), which it does not get"
            ) from error


class LocalLine(Line):
    """A connection on which no password goes out in clear while it is not encrypted."""

    def _process_auth(self, plugin_name: bytes, packet: Any) -> Any:
        if plugin_name in CLEAR_PASSWORD and not self._secure:
            raise StoreError(
                f"{self.host!r} asks for the password in clear on a line without TLS: add ?ssl_disabled=true to the "
                "URL only if you trust every machine between"
            )
        return super()._process_auth(plugin_name, packet)


class EncryptedLine(LocalLine):
    """A connection on which nothing of the login goes out before it is encrypted, whatever the server says."""

    def _request_authentication(self) -> None:
        if not (self.ssl and self.server_capabilities & CLIENT.SSL):
            raise _lacks_tls(self.host)
        super()._request_authentication()


def _connect_safely(_dialect: Dialect, _record: Any, _arguments: Any, options: dict[str, Any]) -> Client:
    """Connect with a verified certificate, unless the server is local or the URL says otherwise."""
    is_local = _is_local(options["host"])
    verify = options.get("ssl_verify_cert", not is_local)
    line = Line if options.get("ssl_disabled") else EncryptedLine if verify or not is_local else LocalLine
    if verify:
        options = (
            {"ssl_ca": certifi.where(), "ssl_verify_identity": True} | options | {"ssl_verify_cert": True}
        )
    try:
        connection = line(**options)
    except OperationalError as error:
        if not isinstance(getattr(error, "original_exception", None), ssl.SSLCertVerificationError):
            raise
        raise StoreError(
            f"the certificate of {options['host']!r} must be valid, and it is not ({error}): add ?ssl_ca=FILE with "
            "its CA to the URL, or ?ssl_verify_cert=false if you trust every machine between"
        ) from error
    if (
        line is EncryptedLine and not connection._secure
    ):  # a client of another version may log in by other ways
        connection.close()
        raise _lacks_tls(options["host"])
    return connection


def _lacks_tls(host: str) -> StoreError:
    return StoreError(
        f"{host!r} must offer TLS, and it does not: add ?ssl_disabled=true to the URL only if you trust every "
        "machine between"
    )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def learn_vectors(connection: Connection, wanted: ElementType | None) -> bool:
    """Send embeddings as the table of frames has them from now on, and tell whether there is one.

    Raises
    ------
    StoreError
        If it has videos, and another element type than is wanted.
    """
    dialect: Any = connection.dialect
    dialect.element_type = wanted or "F32"
    if not has_table(connection, FRAMES):
        return False
    _, stored = stored_vector(connection)
    if wanted not in (None, stored):
        if stored_model(connection) is None:
            return False  # the first video that is written makes the table anew
        raise StoreError(
            f"element_type must be {stored}, which this database has, got {wanted!r}: use another one"
        )
    dialect.element_type = stored
    return True


def encode_vector(
    embedding: npt.ArrayLike, element_type: ElementType = "F32", *, as_json: bool = False
) -> bytes | str:
    """Encode an embedding for SingleStore: little-endian floats of 4 or 2 bytes, or the text of a JSON array."""
    values = np.ascontiguousarray(embedding, dtype=DTYPES[element_type])
    return json.dumps(values.tolist()) if as_json else values.tobytes()


@compiles(Vector, "singlestoredb")
def _(vector: Vector, compiler: SQLCompiler, **_options: Any) -> str:
    return (
        f"VECTOR({vector.dimension})" if vector.element_type == "F32" else f"VECTOR({vector.dimension}, F16)"
    )


@compiles(PrimaryKeyConstraint, "singlestoredb")
def _(key: PrimaryKeyConstraint, compiler: DDLCompiler, **options: Any) -> str:
    """Spread the frames of a video over all partitions, and keep them together and in order of time in each.

    https://docs.singlestore.com, Shard Keys: the columns of it are hashed, should be as unique as possible, and must
    be in the primary key. Understanding Sort Key Selection: a segment tells the least and the greatest of its values.
    """
    written = compiler.visit_primary_key_constraint(key, **options)
    if key.table.name != FRAMES.name:
        return written
    return f"{written}, SHARD KEY (video_id, frame_number), SORT KEY (video_id, timestamp_seconds)"


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


def load_frames(
    connection: Connection,
    folder: str,
    element_types: set[ElementType],
    *,
    link: str | None,
    config: Mapping[str, Any],
    credentials: Mapping[str, Secret],
) -> bool:
    """Have the server load the files of frames; StoreError, without the credentials, if it cannot."""
    dimension, element_type = stored_vector(connection)
    if element_types != {element_type}:
        raise StoreError(
            f"the files must have embeddings of {element_type}, as this database, got {', '.join(element_types)}: "
            f"call export_parquet with element_type={element_type!r}"
        )
    statement, values = load_statement(dimension, element_type, folder, link, config, credentials)
    try:
        connection.execute(statement, values)
    except DBAPIError as error:
        if is_transient(error):
            raise
        told = str(error.orig)
        if "CREDENTIALS" in told or any(secret in told for secret in credentials.values()):
            told = "the server's message has the credentials in it"
        # The error and its traceback would show the statement, too.
        raise StoreError(f"SingleStore cannot load {folder}: {told}") from None
    return True


def hand_out(engine: Engine, *, retry_seconds: float) -> Engine:
    """Give the engine itself, whose connections lock nobody out."""
    return engine


def exists(url: URL) -> bool:
    """A server says itself when there is no such database."""
    return True


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


def remedy(error: Exception) -> str:
    """What to do about an error of the server, or about what it gave."""
    code = getattr(error, "errno", None)
    if code in ACCESS_DENIED:
        return "check user, password, and what that user may do"
    if code in WRONG_TABLES:
        return "if its tables are another program's or were changed by hand, use another database"
    return "check what was given; if it happens again, ask who runs the server, or use another database"


def compact(url: URL) -> None:
    """Do nothing: the server merges its segments by itself."""


def pause_seconds(attempt: int) -> float:
    """How long to wait before the next attempt: a server needs time, and others wait for it, too."""
    return random.uniform(0.5, 1) * min(5.0, 0.1 * 2.0**attempt)
