"""How a store connects: to which database, for how long, and what is tried again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pandas as pd
from sqlalchemy import URL, Connection, Engine, Executable, Select, Table, TextClause, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_after_delay

from videolib.addresses import Secret, hide_password, is_address, printable, store_file
from videolib.errors import StoreError, VideolibError, interrupted
from videolib.extras import missing_extra
from videolib.store.pictures import find_root
from videolib.store.schema import ElementType, bring_forward

OPTIONS = r"[^=&]+=[^&]+(&[^=&]+=[^&]+)*"

C = TypeVar("C", bound="Connected")
P = ParamSpec("P")
T = TypeVar("T")


class Database(Protocol):
    """What differs between the databases: the modules `duckdb` and `singlestore` have these, and say what they do."""

    HAS_VECTOR_INDEX: bool
    ELEMENT_TYPES: tuple[ElementType, ...]

    def open_engine(self, url: URL) -> Engine: ...
    def hand_out(self, engine: Engine, *, retry_seconds: float) -> Engine: ...
    def exists(self, url: URL) -> bool: ...
    def learn_vectors(self, connection: Connection, wanted: ElementType | None) -> bool: ...
    def read(self, connection: Connection, statement: Executable) -> pd.DataFrame: ...
    def upsert(self, connection: Connection, into: Table, rows: pd.DataFrame) -> None: ...
    def load_frames(
        self,
        connection: Connection,
        folder: str,
        element_types: set[ElementType],
        *,
        link: str | None,
        config: Mapping[str, object],
        credentials: Mapping[str, Secret],
    ) -> bool: ...
    def best_first(self, name: str, *, index_k: int | None) -> TextClause: ...
    def rows_first(self, statement: Select[tuple[object, ...]]) -> Select[tuple[object, ...]]: ...
    def size_limit(self, connection: Connection) -> int | None: ...
    def is_locked(self, error: DBAPIError) -> bool: ...
    def is_transient(self, error: DBAPIError) -> bool: ...
    def remedy(self, error: Exception) -> str: ...
    def compact(self, url: URL) -> None: ...
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


class RowError(StoreError, IntegrityError):
    """A row that the tables cannot hold; SQLAlchemy's error too, as it is with SQL of one's own."""

    def __init__(self, message: str, error: IntegrityError):
        IntegrityError.__init__(self, None, None, error.orig or error)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Connected:
    """A database and how it is reached: what reading, writing and the vector index stand on."""

    url = "…"  # for the repr in a traceback, where the address is refused

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        *,
        retry_seconds: float = 30.0,
        element_type: ElementType | None = None,
        pictures: str | os.PathLike[str] | None = None,
    ):
        if pictures is not None:
            pictures = Secret(os.fspath(pictures))
        is_path = isinstance(url, os.PathLike)
        url = None if url is None else Secret(os.fspath(url))
        self._parsed = parsed = _parse_url(url, is_path=is_path)
        self._database = _find_database(parsed)
        known = self._database.ELEMENT_TYPES
        if element_type is not None and element_type not in known:
            raise ValueError(
                f"element_type must be {' or '.join(known)} in this kind of database, got {element_type!r}"
            )
        self._element_type = element_type
        self.pictures = None if pictures is None else find_root(Secret(pictures), name="pictures")
        self._engine = self._database.open_engine(parsed)
        self.url = self._engine.url.render_as_string()  # each kind leaves its secrets out
        self.retry_seconds = retry_seconds
        self._is_current = False

    def __repr__(self) -> str:
        return f"FrameStore({self.url!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Go to another process as an address, with its password; StoreError for a store in memory."""
        place = self._engine.url.database  # the whole path of a file
        if self._parsed.drivername.startswith("duckdb") and place in (None, "", ":memory:"):
            raise StoreError(f"{self!r} lives in this process alone: use a file or a server")
        names = ("url", "retry_seconds", "_element_type", "pictures")
        return {name: getattr(self, name) for name in names} | {"_parsed": self._parsed.set(database=place)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._database = _find_database(self._parsed)
        self._engine = self._database.open_engine(self._parsed)
        self._is_current = False

    @cached_property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, for SQL of your own."""
        return self._database.hand_out(self._engine, retry_seconds=self.retry_seconds)

    def _exists(self) -> bool:
        return self._database.exists(self._engine.url)

    @contextmanager
    def _begin(self, *, creates: bool = False) -> Iterator[Connection]:
        """Connect and begin; commit, or roll back on an error, and close. StoreError if there is no database."""
        if not (creates or self._exists()):
            raise StoreError(
                f"there is no store at {self._engine.url.database}: check the path, or ingest a video first"
            )
        with self._explained("be opened"):
            opened = self._engine.connect()
        with self._explained("do this"), opened as connection, connection.begin():
            is_current = self._is_current
            if not is_current:
                with self._explained("bring older tables forward"):
                    bring_forward(connection, self._database.upsert)
                is_current = self._database.learn_vectors(connection, self._element_type)
            yield connection
        self._is_current = is_current

    @contextmanager
    def _explained(self, task: str) -> Iterator[None]:
        """Make a StoreError of any error but a bad argument, an interrupt, and what `retried` tries again."""
        try:
            yield
        except VideolibError:
            raise
        except Exception as error:
            cause = getattr(error, "orig", None) or error
            # DuckDB makes a RuntimeError of it, and, while it looks at a table, an error that only names it.
            if isinstance(error.__cause__, KeyboardInterrupt) or str(cause).startswith("KeyboardInterrupt"):
                raise interrupted(f"{self!r}: broken off, and what is stored is whole") from None
            is_argument = isinstance(error, ValueError) and not isinstance(error, UnicodeError)
            if is_argument or (isinstance(error, DBAPIError) and self._database.is_transient(error)):
                raise
            # DuckDB adds candidates, the line, and sometimes its own stack.
            reason = str(cause).partition("\n")[0] or type(cause).__name__
            message = f"{self!r} cannot {task}: {reason.rstrip('.')}; {self._database.remedy(cause)}"
            if isinstance(error, IntegrityError):
                raise RowError(message, error) from error
            raise StoreError(message) from error


def _parse_url(text: Secret | None, *, is_path: bool) -> URL:
    """Tell the path of a DuckDB file from a URL, which may lack its scheme as SingleStore's client allows."""
    if text is None:
        if not (address := os.environ.get("SINGLESTOREDB_URL")):
            return URL.create("duckdb", database=os.fspath(store_file("videolib")))
        text = Secret(address)
        is_server = not is_address(text)
    else:
        # A password may hold a slash. A file of such a name can be given as a Path.
        is_file = is_path or os.path.splitdrive(text)[0] or not re.match(r"[^/\\@]+:[^@]*@", text)
        is_server = not is_file and not is_address(text)
        if is_file and not is_address(text):
            if printable(text) != text:
                name = text.encode("ascii", "backslashreplace").decode()
                raise StoreError(f"a store's file must have a name in UTF-8, got {name}: rename it")
            return URL.create("duckdb", database=text)  # whatever is in its name
    try:
        parsed = make_url(Secret(f"singlestoredb://{text}") if is_server else text)
    except (ArgumentError, ValueError):  # its message may hold the password, and so would its cause
        parsed = None
    if parsed is not None and "@" in (parsed.host or ""):
        parsed = None  # a part of the password
    if parsed is None:
        raise ValueError(
            "url must be a database URL, such as duckdb:///videos.duckdb, with special characters in the "
            "password as %XX"
        )
    path, mark, options = text.partition("?")
    if parsed.drivername.startswith("duckdb") and mark and not re.fullmatch(OPTIONS, options):
        raise ValueError(  # SQLAlchemy passes over the rest, and another file would be opened
            f"url must have name=value after its ?, got something else after {path!r}: write a ? of the path as "
            "%3F, or give the path alone"
        )
    password = parsed.query.get(
        "password", parsed.password
    )  # the client takes it there, and a repr would show it
    return parsed if password is None else hide_password(parsed).set(password=Secret(password))


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
