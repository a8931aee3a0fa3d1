"""The tables, their two column types, and the versions of both."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

from videolib.errors import StoreError
from videolib.types import FloatArray

ElementType = Literal["F32", "F16"]
DTYPES = {"F32": "<f4", "F16": "<f2"}  # NumPy's names of them, as bytes of an embedding
Upsert = Callable[[Connection, Table, pd.DataFrame], None]


class Vector(UserDefinedType[FloatArray]):
    """A column of embeddings: (d,) float32 arrays go in and come out; only CREATE and CAST need to know the rest.

    Each database's own file says how it is written there, and what its values are sent as.
    """

    cache_ok = True

    def __init__(self, dimension: int | None = None, element_type: ElementType = "F32"):
        self.dimension = dimension
        self.element_type = element_type

    def bind_processor(self, dialect: Dialect) -> Callable[[FloatArray | None], Any]:
        return dialect.bind_vector  # type: ignore[attr-defined, no-any-return]  # set where the engine is made

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], FloatArray]:
        return lambda value: np.asarray(value, dtype=np.float32)


class dot_product(FunctionElement[float]):
    """The dot product of a `Vector` column and a bound query, computed by the database."""

    type = Double()
    inherit_cache = True


# MySQL's plain BLOB ends at 64 KB.
_PICTURE = LargeBinary().with_variant(mysql.LONGBLOB(), "singlestoredb")
# Its plain DATETIME ends at the second.
_TIME = DateTime().with_variant(mysql.DATETIME(fsp=6), "singlestoredb")

METADATA = MetaData()
VERSIONS = Table(
    "videolib_schema",
    METADATA,
    Column("name", String(16), primary_key=True),
    Column("version", Integer, nullable=False),
)
# A row is a video at one sampling: its frames have its video_id, and rows of one content_id are the same video.
VIDEOS = Table(
    "videos",
    METADATA,
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
    # From here on of version 2: not every database adds a column to a table with rows that must not be null.
    Column("content_id", String(64)),
    Column("written_at", _TIME),  # UTC; when it was asked for last
)
FRAMES = Table(
    "frames",
    METADATA,
    Column("video_id", String(64), primary_key=True),
    Column("frame_number", Integer, primary_key=True, autoincrement=False),
    Column("timestamp_seconds", Double, nullable=False),
    Column("embedding_data", Vector(), nullable=False),
    Column("frame_data", _PICTURE, nullable=False),
)
# Made by the first mark, and older versions pass over it: so it needs no version of its own, and a store that may only
# be read stays readable.
MARKS = Table(
    "marks",
    METADATA,
    Column("mark_id", String(64), primary_key=True),
    Column("query", String(4096), nullable=False),
    Column("video_id", String(64), nullable=False),  # that of the content
    Column("start_seconds", Double),  # null, and so the end: of the whole video
    Column("end_seconds", Double),
    Column("is_right", Boolean, nullable=False),  # RIGHT is a word of SQL
    Column("who", String(255), nullable=False),
    Column("written_at", _TIME, nullable=False),  # UTC
)
FRAME_KEYS = [FRAMES.c.video_id, FRAMES.c.frame_number, FRAMES.c.timestamp_seconds]


def _add_samplings(connection: Connection) -> None:
    """Add the columns that tell several samplings of a video; until now its video_id was that of its content."""
    columns = _stored_types(connection, VIDEOS).keys()
    if "video_id" not in columns:
        raise StoreError(f"the database has a table {VIDEOS.name!r} of another origin: use another database")
    for column in (VIDEOS.c.content_id, VIDEOS.c.written_at):
        if column.name not in columns:
            kind = column.type.compile(connection.dialect)
            connection.execute(text(f"ALTER TABLE {VIDEOS.name} ADD COLUMN {column.name} {kind}"))
    old = VIDEOS.c.content_id.is_(None)
    connection.execute(update(VIDEOS).where(old).values(content_id=VIDEOS.c.video_id))


# What brings the tables of version n, counted from 1, to version n + 1. A migration is run again when a connection
# drops half way, and not every database takes back a CREATE or an ALTER: it must do no harm twice.
MIGRATIONS: list[Callable[[Connection], None]] = [_add_samplings]


def schema_version() -> int:
    """The version of the tables that this program writes and reads."""
    return 1 + len(MIGRATIONS)


def bring_forward(connection: Connection, upsert: Upsert) -> None:
    """Bring older tables to this program's version, step by step; StoreError where they are newer."""
    if has_table(connection, VERSIONS):
        found = connection.scalar(select(VERSIONS.c.version)) or 1
    elif has_table(connection, VIDEOS):
        found = 1  # its tables were made before versions were recorded
    else:
        return
    newest = schema_version()
    if found > newest:
        raise StoreError(
            f"the tables have version {found}, and this videolib knows them up to version {newest}: "
            "update videolib, or use another store"
        )
    if found < newest:
        for migrate in MIGRATIONS[found - 1 :]:
            migrate(connection)
        _record_version(connection, upsert)


def create_tables(connection: Connection, upsert: Upsert, vector: Vector) -> None:
    """Create the tables of an empty store, or nothing where they are."""
    if has_table(connection, FRAMES):
        if not has_table(connection, VIDEOS):
            raise StoreError(
                f"the database has a table {FRAMES.name!r} of another origin: use another database"
            )
        is_empty = connection.execute(select(FRAMES.c.video_id).limit(1)).first() is None
        if is_empty and stored_vector(connection) != (vector.dimension, vector.element_type):
            FRAMES.drop(connection)
    metadata = MetaData()
    for table in METADATA.sorted_tables:
        table.to_metadata(metadata)
    metadata.tables[FRAMES.name].c.embedding_data.type = vector
    for table in (VIDEOS, FRAMES, VERSIONS):
        # Another process may be creating them, too.
        connection.execute(CreateTable(metadata.tables[table.name], if_not_exists=True))
    _record_version(connection, upsert)


def create_marks(connection: Connection) -> None:
    """Create the table of marks, or nothing where it is."""
    if not has_marks(connection):
        connection.execute(CreateTable(MARKS, if_not_exists=True))  # another process may be creating it, too


def has_marks(connection: Connection) -> bool:
    """Tell whether marks were ever written; StoreError if the table of this name is another program's."""
    if not has_table(connection, MARKS):
        return False
    if "mark_id" not in _stored_types(connection, MARKS):
        raise StoreError(f"the database has a table {MARKS.name!r} of another origin: use another database")
    return True


def _record_version(connection: Connection, upsert: Upsert) -> None:
    VERSIONS.create(connection, checkfirst=True)
    upsert(connection, VERSIONS, pd.DataFrame([{"name": "videolib", "version": schema_version()}]))


def has_table(connection: Connection, table: Table) -> bool:
    return inspect(connection).has_table(table.name)


def _stored_types(connection: Connection, table: Table) -> dict[str, str]:
    return {name: kind for name, kind, *_ in connection.execute(text(f"DESCRIBE {table.name}"))}


def stored_vector(connection: Connection) -> tuple[int, ElementType]:
    """Read the dimension and the element type of the stored embeddings' column; 0 in a table of another origin."""
    kind = _stored_types(connection, FRAMES).get("embedding_data", "0")
    return int(re.findall(r"\d+", kind)[0]), "F16" if re.search(r"\bF16\b", kind, re.IGNORECASE) else "F32"
