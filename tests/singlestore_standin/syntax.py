"""The stand-in's reading of SQL: literals, values, column definitions, search hints, index options.

Everything here raises SqlError, mostly 1064, where it meets what it does not know.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlglot
from sqlglot import TokenType, exp
from sqlglot.dialects.singlestore import SingleStore

NAME = r"(?:\w+|`[^`]+`)"
TABLE = rf"(?:{NAME}\.)?{NAME}"
PARAMETER = r":p\d+"
COMMA = re.compile(r" ?, ?(?![^(]*\))")  # one that is not in parentheses

LITERAL = re.compile(
    r"""(?<!\w)[xX]'(?P<hex>[0-9a-fA-F]*)'
      | '(?P<single>[^'\\]*(?:(?:\\.|'')[^'\\]*)*)'
      | "(?P<double>[^"\\]*(?:(?:\\.|"")[^"\\]*)*)"
      | (?P<name>`[^`]+`)
      | (?P<space>(?:\s|--[ \t][^\n]*|/\*.*?\*/)+)""",
    re.VERBOSE | re.DOTALL,
)
ESCAPES = {"0": "\0", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "Z": "\x1a"}

# What SELECT, UPDATE and DELETE may be made of, as sqlglot names it.
KNOWN_PARTS = {
    *("Select", "Union", "Update", "Delete", "From", "Join", "Where", "Group", "Order", "Ordered", "Limit"),
    *("Table", "Column", "Identifier", "Star", "Alias", "Placeholder", "Literal", "Boolean", "Null", "Neg"),
    *("And", "Or", "Not", "Paren", "EQ", "NEQ", "GT", "GTE", "LT", "LTE", "In", "Is", "Distance"),
    *("Count", "Max", "Min", "Sum", "Avg", "StddevPop", "Coalesce", "Substring", "Length"),
    *("With", "CTE", "TableAlias", "Subquery", "Offset", "Window", "RowNumber"),
    *("Add", "Sub", "Mul", "Div", "Sqrt", "Least", "Greatest"),
    *("SessionParameter", "CurrentSchema", "CurrentVersion"),
}

COLUMN_TYPES = {  # DuckDB's by SingleStore's
    **dict.fromkeys(("tinyint", "bool", "boolean"), "TINYINT"),
    **dict.fromkeys(("int", "integer"), "INTEGER"),
    **dict.fromkeys(("bigint",), "BIGINT"),
    **dict.fromkeys(("double", "float"), "DOUBLE"),
    "datetime": "TIMESTAMP",
    **dict.fromkeys(("varchar", "text", "mediumtext", "longtext"), "VARCHAR"),
    **dict.fromkeys(("blob", "mediumblob", "longblob"), "BLOB"),
}
LONGEST = {"text": 2**16 - 1, "blob": 2**16 - 1, "mediumtext": 2**24 - 1, "mediumblob": 2**24 - 1}  # bytes

POSITIVE = range(1, 2**16 + 1)
IVF = {"nlist": POSITIVE, "nprobe": POSITIVE}
HNSW = {"M": range(1, 2049), "efConstruction": POSITIVE, "ef": POSITIVE}
QUANTIZED = {"m": POSITIVE, "nbits": range(1, 17)}
INDEX_OPTIONS: dict[str, dict[str, range]] = {
    "AUTO": {},
    "FLAT": {},
    "IVF_FLAT": IVF,
    "IVF_PQ": IVF | QUANTIZED,
    "IVF_PQFS": IVF | {"m": POSITIVE},
    "HNSW_FLAT": HNSW,
    "HNSW_PQ": HNSW | QUANTIZED,
}


class SqlError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"stand-in, not SingleStore: {message}")
        self.code = code


def unknown(sql: str) -> SqlError:
    return SqlError(1064, f"not known here, near '{sql[:80]}'")


def take_literals(sql: str) -> tuple[str, list[Any]]:
    """Replace the literals by :p1, :p2, ...; returns the rest, on one line, and their values."""
    values: list[Any] = []

    def replace(match: re.Match[str]) -> str:
        kind = str(match.lastgroup)
        text = match[kind]
        if kind == "space":
            return " "
        if kind == "name":
            return text
        if kind == "hex":
            values.append(bytes.fromhex(text))
        else:
            quote = "'" if kind == "single" else '"'
            escaped = rf"\\(.)|{quote}{quote}"
            values.append(
                re.sub(escaped, lambda m: ESCAPES.get(m[1], m[1]) if m[1] else quote, text, flags=re.DOTALL)
            )
        return f":p{len(values)}"

    return LITERAL.sub(replace, sql).strip().rstrip(";").rstrip(), values


def shorten(sql: str) -> str:
    """Keep the beginning of long literals only."""

    def replace(match: re.Match[str]) -> str:
        text = match[0]
        literal = match.lastgroup in ("hex", "single", "double")
        return f"{text[:32]}…{text[-1]}" if literal and len(text) > 200 else text

    return LITERAL.sub(replace, sql)


def position(parameter: str) -> int:
    """Where the value of :p1 or p1 lies in the list of values."""
    return int(parameter.lstrip(":p")) - 1


def parse_value(text: str, values: list[Any]) -> Any:
    """Read one value of INSERT: a literal, a number or a constant."""
    constants = {"NULL": None, "TRUE": True, "FALSE": False}
    if re.fullmatch(PARAMETER, text):
        return values[position(text)]
    if text.upper() in constants:
        return constants[text.upper()]
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d*(?:[eE][-+]?\d+)?", text):
        return float(text)
    raise unknown(text)


def parse_rows(text: str, values: list[Any]) -> list[list[Any]]:
    """Read (a, b), (c, d): without literals nothing nests."""
    rows = re.findall(r"\(([^()]*)\)", text)
    if re.sub(r"\([^()]*\)", "", text).strip(" ,"):
        raise unknown(text)
    return [[parse_value(value.strip(), values) for value in row.split(",")] for row in rows]


def parse_vector(value: object, dtype: str = "<f4") -> np.ndarray:
    """Read a vector as SingleStore does: bytes are little-endian floats, text is a JSON array."""
    try:
        if isinstance(value, bytes):
            return np.frombuffer(value, dtype)
        return np.array(json.loads(str(value)), dtype)
    except ValueError as error:
        raise SqlError(1105, f"no vector: {value!r:.60}") from error


def dimension_of(duckdb_type: str) -> int:
    """Length of a VECTOR column, which DuckDB has as FLOAT[length], and F16 as DOUBLE[length]; 0 for any other."""
    match = re.fullmatch(r"(?:FLOAT|DOUBLE)\[(\d+)\]", duckdb_type)
    return int(match[1]) if match else 0


def dtype_of(duckdb_type: str) -> str:
    """NumPy's name of the elements of a VECTOR column."""
    return "<f2" if duckdb_type.startswith("DOUBLE") else "<f4"


def convert(value: Any, duckdb_type: str) -> Any:
    """Convert an inserted value for its column."""
    dimension = dimension_of(duckdb_type)
    if dimension and value is not None:
        vector = parse_vector(value, dtype_of(duckdb_type))
        if vector.shape != (dimension,):
            raise SqlError(1105, f"shape {vector.shape} does not fit VECTOR({dimension})")
        return vector.astype("<f4")
    if duckdb_type == "BLOB" and isinstance(value, str):
        return value.encode()
    return value


def parse_updates(text: str | None) -> str:
    """Translate c = VALUES(c), ... of ON DUPLICATE KEY UPDATE."""
    if text is None:
        return ""
    updates = []
    for item in COMMA.split(text):
        match = re.fullmatch(rf"({NAME}) ?= ?VALUES ?\( ?({NAME}) ?\)", item, re.IGNORECASE)
        if not match:
            raise unknown(item)
        updates.append(f'"{match[1].strip("`")}" = excluded."{match[2].strip("`")}"')
    return f"ON CONFLICT DO UPDATE SET {', '.join(updates)}"


@dataclass
class TableDefinition:
    columns: list[str] = field(default_factory=list)  # as DuckDB wants them
    types: dict[str, str] = field(default_factory=dict)  # as they were declared, by column
    indexes: dict[str, tuple[str, list[str]]] = field(default_factory=dict)  # type and columns, by name


def parse_table(text: str) -> TableDefinition:
    """Read what stands in the parentheses of CREATE TABLE."""
    table = TableDefinition()
    primary_key: list[str] = []
    shard_key: list[str] = []
    for item in COMMA.split(text):
        key = re.fullmatch(
            rf"(PRIMARY KEY|SHARD KEY|SORT KEY|KEY) ?({NAME})? ?\( ?([^()]*?) ?\)", item, re.IGNORECASE
        )
        column = re.fullmatch(
            rf"({NAME}) (\w+)(?: ?\( ?([^()]*?) ?\))?( UNSIGNED)?( NOT NULL| NULL)?", item, re.IGNORECASE
        )
        if key:
            names = COMMA.split(key[3].replace("`", ""))
            kind = key[1].upper()
            if kind == "PRIMARY KEY":
                primary_key = names
                table.indexes["PRIMARY"] = ("COLUMNSTORE HASH", names)
            elif kind == "SHARD KEY":
                shard_key = names
            elif kind == "KEY":
                table.indexes[(key[2] or names[0]).strip("`")] = ("COLUMNSTORE HASH", names)
        elif column:
            _add_column(table, column)
        else:
            raise unknown(item)
    if primary_key:
        if not set(shard_key) <= set(primary_key):
            raise SqlError(1744, f"the primary key {primary_key} must contain the shard key {shard_key}")
        columns = ", ".join(f'"{name}"' for name in primary_key)
        table.columns.append(f"PRIMARY KEY ({columns})")
    return table


def parse_column(text: str) -> tuple[str, str, str]:
    """Read the column of ALTER TABLE ADD COLUMN, which may be null: its name, DuckDB's type, and the declared one."""
    table = parse_table(text)
    if not table.types or " NULL" in text.upper():
        raise unknown(text)
    ((name, declared),) = table.types.items()
    return name, table.columns[0].split(" ")[1], declared


def _add_column(table: TableDefinition, match: re.Match[str]) -> None:
    name, kind, size, unsigned, null = match.groups()
    name, kind = name.strip("`"), kind.lower()
    vector = re.fullmatch(r"(\d+)(?: ?, ?(F32|F16))?", size or "", re.IGNORECASE)
    check = ""
    if kind == "vector" and vector:
        element_type = (vector[2] or "F32").upper()
        declared = f"vector({vector[1]}, {element_type})"
        duckdb_type = f"{'FLOAT' if element_type == 'F32' else 'DOUBLE'}[{vector[1]}]"
    elif kind in COLUMN_TYPES:
        declared = f"{kind}({size})" if size else kind
        duckdb_type = ("U" if unsigned else "") + COLUMN_TYPES[kind]
        if kind == "varchar":
            check = f' CHECK (length("{name}") <= {int(size)})'
        elif kind in LONGEST:
            check = f' CHECK (octet_length("{name}"::BLOB) <= {LONGEST[kind]})'
    else:
        raise unknown(match[0])
    table.types[name] = declared
    table.columns.append(f'"{name}" {duckdb_type}{null or ""}{check}')


def check_index_options(text: str, dimension: int) -> None:
    """Check INDEX_OPTIONS against SingleStore's table of index types."""
    try:
        options = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise SqlError(1105, f"INDEX_OPTIONS must be a JSON object, got {text!r}") from error
    kind = options.pop("index_type", "AUTO")
    metric = options.pop("metric_type", "DOT_PRODUCT")
    if kind not in INDEX_OPTIONS or metric not in ("DOT_PRODUCT", "EUCLIDEAN_DISTANCE"):
        raise SqlError(1105, f"no such index_type or metric_type: {text}")
    known = INDEX_OPTIONS[kind]
    for name, value in options.items():
        if value not in known.get(name, ()):
            raise SqlError(1105, f"{kind} does not take {name} = {value!r}")
    if "m" in known and dimension % options.get("m", 32):
        raise SqlError(1105, f"{kind}: m, {options.get('m', 32)}, must divide the dimension, {dimension}")
    if options.get("nprobe", 8) > options.get("nlist", 128):
        raise SqlError(1105, f"{kind}: nprobe must not exceed nlist")


class Dialect(SingleStore):
    class Tokenizer(SingleStore.Tokenizer):
        KEYWORDS = {  # noqa: RUF012
            **{word: kind for word, kind in SingleStore.Tokenizer.KEYWORDS.items() if word != "<->"},
            "<*>": TokenType.LR_ARROW,  # elsewhere the distance operator <->; here Distance is <*>
        }


def parse_query(sql: str, values: list[Any]) -> tuple[exp.Expr, list[str]]:
    """Parse a SELECT, UPDATE or DELETE of known parts; returns it and the indexes it names."""
    indexes: list[str] = []

    def take_hint(match: re.Match[str]) -> str:
        if match["index"]:
            indexes.append(match["index"].strip("`"))
        if match["options"]:
            try:
                dict(json.loads(values[position(match["options"])]))
            except (ValueError, TypeError) as error:
                raise SqlError(1105, "SEARCH_OPTIONS must be a JSON object") from error
        return ""

    hint = re.compile(
        rf"(?<! DESC)(?<! ASC)(?: USE (?:INDEX|KEY) ?\( ?(?P<index>{NAME})? ?\))?"
        rf"(?: SEARCH_OPTIONS ?=? ?(?P<options>{PARAMETER}))?(?= DESC| ASC| LIMIT|,|$)",
        re.IGNORECASE,
    )
    before, *order = re.split("( ORDER BY )", sql, maxsplit=1, flags=re.IGNORECASE)
    sql = before + hint.sub(take_hint, "".join(order))
    try:
        tree = sqlglot.parse_one(sql, dialect=Dialect)
    except sqlglot.errors.SqlglotError as error:
        raise unknown(sql) from error
    for part in tree.walk():
        foreign = isinstance(part, exp.Placeholder) and not re.fullmatch(r"p\d+", part.name)
        if type(part).__name__ not in KNOWN_PARTS or foreign:
            raise unknown(part.sql(Dialect))
    return tree, indexes
