"""How a store connects: to which database, for how long, and what is tried again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import pandas as pd
from sqlalchemy import URL, Connection, Engine, Executable, Select, Table, TextClause, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_after_delay

from videolib.addresses import hide_password, is_address
from videolib.errors import StoreError
from videolib.extras import missing_extra
from videolib.store.schema import bring_forward

DEFAULT_URL = "duckdb:///videolib.duckdb"

C = TypeVar("C", bound="Connected")
P = ParamSpec("P")
T = TypeVar("T")


class Database(Protocol):
    """What differs between the databases: the modules `duckdb` and `singlestore` have these, and say what they do."""

    HAS_VECTOR_INDEX: bool

    def open_engine(self, url: URL) -> Engine: ...
    def read(self, connection: Connection, statement: Executable) -> pd.DataFrame: ...
    def upsert(self, connection: Connection, into: Table, rows: pd.DataFrame) -> None: ...
    def best_first(self, name: str, *, index_k: int | None) -> TextClause: ...
    def rows_first(self, statement: Select[tuple[object, ...]]) -> Select[tuple[object, ...]]: ...
    def size_limit(self, connection: Connection) -> int | None: ...
    def is_locked(self, error: DBAPIError) -> bool: ...
    def is_transient(self, error: DBAPIError) -> bool: ...
    def pause_seconds(self, attempt: int) -> float: ...


def retried(method: Callable[Concatenate[C, P], T]) -> Callable[Concatenate[C, P], T]:
    """Run a method of a store again, from its beginning, while the database is locked or away.

    It must do its work in one transaction, and doing it twice must do no harm: a connection that drops at a
    commit does not tell whether it was carried out.
    """

    @wraps(method)
    def retrying(self: C, *args: P.args, **kwargs: P.kwargs) -> T:
        database = self._database

        def is_transient(error: BaseException) -> bool:
            return isinstance(error, DBAPIError) and database.is_transient(error)

        def pause_seconds(state: RetryCallState) -> float:
            return database.pause_seconds(state.attempt_number)

        attempts = Retrying(
            retry=retry_if_exception(is_transient),
            wait=pause_seconds,
            stop=stop_after_delay(self.retry_seconds) & stop_after_attempt(3),
            reraise=True,
        )
        try:
            return attempts(method, self, *args, **kwargs)
        except DBAPIError as error:
            if not database.is_transient(error):
                raise
            if database.is_locked(error):
                problem = f"was locked by another process for {self.retry_seconds:g} s: close it there"
            else:
                problem = f"did not answer, or was locked, for {self.retry_seconds:g} s: try again later"
            raise StoreError(f"{self!r} {problem}, or raise retry_seconds. {error.orig}") from error

    return retrying  # type: ignore[return-value]  # mypy: self could be given by name


class Connected:
    """A database and how it is reached: what reading, writing and the vector index stand on."""

    def __init__(self, url: str | os.PathLike[str] | None = None, *, retry_seconds: float = 30.0):
        try:
            parsed = make_url(_complete_url(url))
        except (ArgumentError, ValueError):  # its message may hold the password, and so would its cause
            raise ValueError(
                "url must be a database URL, such as duckdb:///videos.duckdb, with special characters in the "
                "password as %XX"
            ) from None
        self._database = _find_database(parsed)
        self.engine = self._database.open_engine(parsed)
        self.url = hide_password(parsed).render_as_string()
        self.retry_seconds = retry_seconds
        self._is_current = False

    def __repr__(self) -> str:
        return f"FrameStore({self.url!r})"

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """Connect and begin; commit, or roll back on an error, and close."""
        try:
            connection = self.engine.connect()
        except DBAPIError as error:
            if self._database.is_transient(error):
                raise
            raise StoreError(f"{self!r} cannot be opened: {error.orig}") from error
        with connection, connection.begin():
            if not self._is_current:
                bring_forward(connection, self._database.upsert)
            yield connection
        self._is_current = True


def _complete_url(url: str | os.PathLike[str] | None) -> str:
    """Tell the path of a DuckDB file from a URL, which may lack its scheme as SingleStore's client allows."""
    if url is None:
        text = os.environ.get("SINGLESTOREDB_URL", "")
        return f"singlestoredb://{text}" if text and not is_address(text) else text or DEFAULT_URL
    text = os.fspath(url)
    if is_address(text):
        return text
    return f"singlestoredb://{text}" if re.match(r"[^/\\@]+:[^/\\@]*@", text) else f"duckdb:///{text}"


def _find_database(url: URL) -> Database:
    """Import what knows this kind of database: nobody who uses one needs the client of the other."""
    kind = url.drivername.partition("+")[0]
    if kind == "duckdb":
        import videolib.store.duckdb as duckdb

        return duckdb
    if kind == "singlestoredb":
        try:
            import videolib.store.singlestore as singlestore
        except ModuleNotFoundError as error:
            raise StoreError(missing_extra("SingleStore needs its client", "singlestore")) from error
        return singlestore
    raise ValueError(f"url must begin with duckdb:/// or singlestoredb://, got {kind!r}")
