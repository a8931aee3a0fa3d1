"""The stand-in's SQL: each statement that it knows, carried out in DuckDB; any other is error 1064."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import sqlglot
from sqlglot import TokenType, exp
from sqlglot.dialects.singlestore import SingleStore

VARIABLES = {
    "autocommit": "ON",
    "enable_extended_types_metadata": "off",
    "is_shared_tier": "OFF",
    "lower_case_table_names": "0",
    "max_allowed_packet": "104857600",
    "sql_mode": "STRICT_ALL_TABLES",
    "tx_isolation": "READ-COMMITTED",
    "transaction_isolation": "READ-COMMITTED",
    "vector_type_project_format": "BINARY",
    "version": "5.7.32",
    "version_comment": "STAND-IN, not SingleStore",
}
SETTABLE = {"autocommit", "enable_extended_types_metadata", "sql_mode", "vector_type_project_format"}

COLUMN_TYPES = {  # DuckDB's by SingleStore's
    **dict.fromkeys(["tinyint", "bool", "boolean"], "TINYINT"),
    **{"smallint": "SMALLINT", "int": "INTEGER", "integer": "INTEGER", "bigint": "BIGINT"},
    **{"float": "FLOAT", "double": "DOUBLE"},
    **dict.fromkeys(["char", "varchar", "text", "mediumtext", "longtext"], "VARCHAR"),
    **dict.fromkeys(["binary", "varbinary", "blob", "mediumblob", "longblob"], "BLOB"),
}

UP_TO_65536 = range(1, 65537)
IVF = {"nlist": UP_TO_65536, "nprobe": UP_TO_65536}
HNSW = {"M": range(1, 2049), "efConstruction": UP_TO_65536, "ef": UP_TO_65536}
PRODUCT_QUANTIZATION = {"m": UP_TO_65536, "nbits": range(1, 17)}
VECTOR_INDEX_OPTIONS: dict[str, dict[str, range]] = {
    "AUTO": {},
    "FLAT": {},
    "IVF_FLAT": IVF,
    "IVF_PQ": IVF | PRODUCT_QUANTIZATION,
    "IVF_PQFS": IVF | {"m": UP_TO_65536},
    "HNSW_FLAT": HNSW,
    "HNSW_PQ": HNSW | PRODUCT_QUANTIZATION,
}

LITERAL = re.compile(
    r"""(?<!\w)[xX]'(?P<hex>[0-9a-fA-F]*)'
      | '(?P<single>[^'\\]*(?:(?:\\.|'')[^'\\]*)*)'
      | "(?P<double>[^"\\]*(?:(?:\\.|"")[^"\\]*)*)"
      | (?P<name>`[^`]+`)
      | (?P<space>\s+)""",
    re.VERBOSE | re.DOTALL,
)
ESCAPES = {"0": "\0", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "Z": "\x1a"}
NAME = r"(?:\w+|`[^`]+`)"
TABLE = rf"(?:{NAME}\.)?{NAME}"
PARAMETER = r":p\d+"

# What SELECT, UPDATE and DELETE may be made of.
KNOWN_PARTS = {
    *("Select", "From", "Table", "Column", "Identifier", "Star", "Alias", "Where", "Limit", "Offset"),
    *("Join", "Group", "Order", "Ordered", "Update", "Delete", "TableAlias", "Distinct", "Subquery", "Tuple"),
    *("And", "Or", "Not", "Paren", "EQ", "NEQ", "GT", "GTE", "LT", "LTE", "In", "Between", "Is", "Null"),
    *("Literal", "Placeholder", "Boolean", "Neg", "Add", "Sub", "Mul", "Distance"),
    *("Count", "Max", "Min", "Sum", "Coalesce", "Substring", "Length"),
    *("SessionParameter", "CurrentSchema", "CurrentVersion"),
}


class SqlError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Result:
    """The answer of a statement that has one: rows, with DuckDB's names for the columns' types."""

    names: list[str]
    types: list[str]
    rows: list[tuple[Any, ...]]

    @classmethod
    def of_texts(cls, names: list[str], rows: list[tuple[Any, ...]]) -> Result:
        return cls(names, ["VARCHAR"] * len(names), rows)


class Dialect(SingleStore):
    class Tokenizer(SingleStore.Tokenizer):
        KEYWORDS = {  # noqa: RUF012
            **{word: kind for word, kind in SingleStore.Tokenizer.KEYWORDS.items() if word != "<->"},
            "<*>": TokenType.LR_ARROW,  # sqlglot's infix for Distance; here it is the dot product
        }


class Engine:
    """The databases, which are DuckDB's schemas, and what DuckDB does not know of their tables."""

    def __init__(self, databases: list[str], shared_tier: bool) -> None:
        self.duckdb = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
        self.duckdb.execute("SET enable_external_access = false")
        self.duckdb.create_function("vector_bytes", vector_bytes, [duckdb.list_type("FLOAT")], "BLOB")
        self.databases = dict.fromkeys(databases)  # a dict for its order
        self.shared_tier = shared_tier
        self.indexes: dict[tuple[str, str], dict[str, tuple[str, list[str]]]] = {}  # table -> key name -> ...
        for name in databases:
            self.duckdb.execute(f'CREATE SCHEMA "{name}"')


def vector_bytes(values: list[float]) -> bytes:
    return np.asarray(values, "<f4").tobytes()


def parse_vector(value: object) -> np.ndarray:
    """Read a vector as SingleStore does: bytes are little-endian float32, text is a JSON array."""
    try:
        if isinstance(value, bytes):
            return np.frombuffer(value, "<f4")
        assert isinstance(value, str)
        return np.array(json.loads(value), "<f4")
    except (ValueError, AssertionError) as error:
        raise SqlError(1105, f"stand-in: not a vector: {value!r:.60}") from error


def take_literals(sql: str) -> tuple[str, list[Any]]:
    """Replace literals by :p1, :p2, ...; returns the rest on one line, and their values."""
    values: list[Any] = []

    def replace(match: re.Match[str]) -> str:
        kind = match.lastgroup
        assert kind
        text = match[kind]
        if kind == "space":
            return " "
        if kind == "name":
            return text
        if kind == "hex":
            values.append(bytes.fromhex(text))
        else:
            quote = "'" if kind == "single" else '"'
            unescape = re.compile(rf"\\(.)|{quote}{quote}", re.DOTALL)
            values.append(unescape.sub(lambda m: ESCAPES.get(m[1], m[1]) if m[1] else quote, text))
        return f":p{len(values)}"

    return LITERAL.sub(replace, sql).strip().rstrip(";").rstrip(), values


Method = Callable[..., "Result | int"]
_statements: list[tuple[re.Pattern[str], str, Method]] = []


def statement(pattern: str, kind: str = "session") -> Callable[[Method], Method]:
    """Register the method for statements of this form; its named groups become arguments.

    The kind is ``data`` (part of a transaction), ``definition`` (commits the transaction, as in MySQL) or
    ``session``.
    """

    def register(method: Method) -> Method:
        _statements.append((re.compile(pattern, re.IGNORECASE), kind, method))
        return method

    return register


class Session:
    """One client's connection, with a DuckDB connection of its own, so that transactions are real."""

    def __init__(self, engine: Engine, connection_id: int) -> None:
        self.engine = engine
        self.connection_id = connection_id
        self.cursor = engine.duckdb.cursor()
        self.database: str | None = None
        self.in_transaction = False
        self.tls_cipher = ""
        self.variables = VARIABLES | {"is_shared_tier": "ON" if engine.shared_tier else "OFF"}
        self.values: list[Any] = []  # the literals of the current statement

    @property
    def autocommit(self) -> bool:
        return self.variables["autocommit"] == "ON"

    def execute(self, sql: str) -> Result | int:
        """Carry out a statement: the rows of its answer, or the number of rows it affected."""
        skeleton, self.values = take_literals(sql)
        for pattern, kind, method in _statements:
            match = pattern.fullmatch(skeleton)
            if match:
                break
        else:
            raise unknown(skeleton)
        if kind == "data" and not self.autocommit:
            self.begin()
        if kind == "definition":
            self.end("COMMIT")
        groups = {
            name: text.strip().replace("`", "") if text and name != "rest" else text
            for name, text in match.groupdict().items()
        }
        with duckdb_errors(skeleton):
            return method(self, **groups)

    def close(self) -> None:
        self.cursor.close()  # rolls back

    def begin(self) -> None:
        if not self.in_transaction:
            self.cursor.execute("BEGIN")
            self.in_transaction = True

    def end(self, how: str) -> None:
        if self.in_transaction:
            self.in_transaction = False
            with duckdb_errors(how):
                self.cursor.execute(how)

    def use(self, database: str) -> None:
        if database not in self.engine.databases:
            raise SqlError(1049, f"Unknown database '{database}'")
        self.database = database
        self.cursor.execute(f'USE "{database}"')

    def value(self, parameter: str) -> Any:
        return self.values[int(parameter.lstrip(":p")) - 1]

    def locate(self, table: str) -> tuple[str, str]:
        """Split a table's name into database and table."""
        database, _, name = table.replace("`", "").rpartition(".")
        database = database or self.database or ""
        if not database:
            raise SqlError(1046, "No database selected")
        if database not in self.engine.databases:
            raise SqlError(1049, f"Unknown database '{database}'")
        return database, name

    def columns(self, table: str) -> dict[str, str]:
        """DuckDB's types of a table's columns; error 1146 if there is no such table."""
        database, name = self.locate(table)
        rows = self.cursor.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = ? AND table_name = ? "
            "ORDER BY column_index",
            [database, name],
        ).fetchall()
        if not rows:
            raise SqlError(1146, f"Table '{database}.{name}' doesn't exist")
        return dict(rows)

    def indexes(self, table: str) -> dict[str, tuple[str, list[str]]]:
        self.columns(table)
        return self.engine.indexes[self.locate(table)]

    # -- session

    @statement(rf"SET NAMES (?:\w+|{PARAMETER})(?: COLLATE \w+)?")
    def set_names(self) -> int:
        return 0

    @statement(rf"SET (?:@@)?(?:SESSION[. ])?(?P<name>\w+) ?= ?(?P<value>\w+|{PARAMETER})")
    def set_variable(self, name: str, value: str) -> int:
        name = name.lower()
        if name not in SETTABLE:
            raise SqlError(1193, f"stand-in: variable '{name}' cannot be set")
        if value.startswith(":p"):
            value = self.value(value)
        if name == "vector_type_project_format" and value.upper() != "BINARY":
            raise SqlError(1231, f"stand-in: {name} can only be BINARY, got '{value}'")
        if name == "autocommit":
            self.end("COMMIT")
            value = "ON" if value.lower() in ("1", "on", "true") else "OFF"
        self.variables[name] = value
        return 0

    @statement("BEGIN|START TRANSACTION")
    def begin_transaction(self) -> int:
        self.end("COMMIT")
        self.begin()
        return 0

    @statement("(?P<how>COMMIT|ROLLBACK)")
    def end_transaction(self, how: str) -> int:
        self.end(how)
        return 0

    @statement(rf"USE (?P<database>{NAME})")
    def use_database(self, database: str) -> int:
        self.use(database)
        return 0

    @statement("SHOW WARNINGS")
    def show_warnings(self) -> Result:
        return Result.of_texts(["Level", "Code", "Message"], [])

    @statement(rf"SHOW (?:SESSION |GLOBAL )?VARIABLES LIKE (?P<pattern>{PARAMETER})")
    def show_variables(self, pattern: str) -> Result:
        rows = [(name, text) for name, text in self.variables.items() if like(name, self.value(pattern))]
        return Result.of_texts(["Variable_name", "Value"], rows)

    @statement(rf"SHOW (?:SESSION )?STATUS LIKE (?P<pattern>{PARAMETER})")
    def show_status(self, pattern: str) -> Result:
        rows = [("Ssl_cipher", self.tls_cipher)] if like("Ssl_cipher", self.value(pattern)) else []
        return Result.of_texts(["Variable_name", "Value"], rows)

    # -- databases and tables

    @statement("SHOW DATABASES")
    def show_databases(self) -> Result:
        return Result.of_texts(["Database"], [(name,) for name in self.engine.databases])

    @statement(rf"CREATE DATABASE (?P<exists>IF NOT EXISTS )?(?P<name>{NAME})", "definition")
    def create_database(self, exists: str | None, name: str) -> int:
        self.refuse_on_shared_tier(name)
        if name in self.engine.databases:
            if exists:
                return 0
            raise SqlError(1007, f"Can't create database '{name}'; database exists")
        self.cursor.execute(f'CREATE SCHEMA "{name}"')
        self.engine.databases[name] = None
        return 1

    @statement(rf"DROP DATABASE (?P<exists>IF EXISTS )?(?P<name>{NAME})", "definition")
    def drop_database(self, exists: str | None, name: str) -> int:
        self.refuse_on_shared_tier(name)
        if name not in self.engine.databases:
            if exists:
                return 0
            raise SqlError(1008, f"Can't drop database '{name}'; database doesn't exist")
        if name == self.database:
            self.database = None
            self.cursor.execute("USE main")
        self.cursor.execute(f'DROP SCHEMA "{name}" CASCADE')
        del self.engine.databases[name]
        return 0

    def refuse_on_shared_tier(self, database: str) -> None:
        if self.engine.shared_tier:
            raise SqlError(1044, f"Access denied to database '{database}'")

    @statement(
        rf"SHOW (?P<full>FULL )?TABLES(?: (?:FROM|IN) (?P<name>{NAME}))?(?: LIKE (?P<pattern>{PARAMETER}))?"
    )
    def show_tables(self, full: str | None, name: str | None, pattern: str | None) -> Result:
        database, _ = self.locate(f"{name or self.database or ''}.")
        query = "SELECT table_name FROM duckdb_tables() WHERE schema_name = ? ORDER BY table_name"
        names = [name for (name,) in self.cursor.execute(query, [database]).fetchall()]
        names = [name for name in names if pattern is None or like(name, self.value(pattern))]
        if full:
            return Result.of_texts(
                [f"Tables_in_{database}", "Table_type"], [(name, "BASE TABLE") for name in names]
            )
        return Result.of_texts([f"Tables_in_{database}"], [(name,) for name in names])

    @statement(rf"(?:DESCRIBE|DESC) (?P<table>{TABLE})")
    def describe(self, table: str) -> Result:
        return Result.of_texts(["Field", "Type"], list(self.columns(table).items()))

    @statement(
        rf"CREATE TABLE (?P<exists>IF NOT EXISTS )?(?P<table>{TABLE}) ?\( ?(?P<rest>.+?) ?\)", "definition"
    )
    def create_table(self, exists: str | None, table: str, rest: str) -> int:
        database, name = self.locate(table)
        present = self.cursor.execute(
            "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?", [database, name]
        ).fetchall()
        if present:
            if exists:
                return 0
            raise SqlError(1050, f"Table '{name}' already exists")
        columns, indexes = parse_columns(rest)
        self.cursor.execute(f'CREATE TABLE "{database}"."{name}" ({", ".join(columns)})')
        self.engine.indexes[database, name] = indexes
        return 0

    @statement(rf"DROP TABLE (?P<exists>IF EXISTS )?(?P<table>{TABLE})", "definition")
    def drop_table(self, exists: str | None, table: str) -> int:
        try:
            self.columns(table)
        except SqlError as error:
            if exists:
                return 0
            raise SqlError(1051, f"Unknown table '{table}'") from error
        database, name = self.locate(table)
        self.cursor.execute(f'DROP TABLE "{database}"."{name}"')
        return 0

    # -- indexes

    @statement(rf"SHOW (?:INDEX|INDEXES|KEYS) (?:FROM|IN) (?P<table>{TABLE})")
    def show_index(self, table: str) -> Result:
        rows = [
            (self.locate(table)[1], "0" if key == "PRIMARY" else "1", key, str(place), column, kind)
            for key, (kind, columns) in self.indexes(table).items()
            for place, column in enumerate(columns, 1)
        ]
        names = ["Table", "Non_unique", "Key_name", "Seq_in_index", "Column_name", "Index_type"]
        return Result.of_texts(names, rows)

    @statement(
        rf"ALTER TABLE (?P<table>{TABLE}) ADD VECTOR (?:INDEX|KEY) ?(?P<name>{NAME})? ?\( ?(?P<column>{NAME}) ?\)"
        rf"(?: INDEX_OPTIONS ?=? ?(?P<options>{PARAMETER}))?",
        "definition",
    )
    def add_vector_index(self, table: str, name: str | None, column: str, options: str | None) -> int:
        kind = self.columns(table).get(column, "")
        if not kind.startswith("FLOAT["):
            raise SqlError(1105, f"stand-in: a vector index needs a VECTOR column, got '{column}'")
        check_index_options(self.value(options) if options else "{}", int(kind[6:-1]))
        indexes = self.indexes(table)
        if (name or column) in indexes:
            raise SqlError(1061, f"Duplicate key name '{name or column}'")
        indexes[name or column] = ("VECTOR", [column])
        return 0

    @statement(rf"DROP INDEX (?P<name>{NAME}) ON (?P<table>{TABLE})", "definition")
    @statement(rf"ALTER TABLE (?P<table>{TABLE}) DROP (?:INDEX|KEY) (?P<name>{NAME})", "definition")
    def drop_index(self, name: str, table: str) -> int:
        if self.indexes(table).pop(name, None) is None:
            raise SqlError(1091, f"Can't DROP '{name}'; check that column/key exists")
        return 0

    @statement(
        rf"OPTIMIZE TABLE (?P<table>{TABLE})(?: (?:FLUSH|FULL|VECTOR_INDEX (?P<index>{NAME})))?", "definition"
    )
    def optimize(self, table: str, index: str | None) -> int:
        if index and index not in self.indexes(table):
            raise SqlError(1176, f"Key '{index}' doesn't exist in table '{table}'")
        self.columns(table)
        return 0

    # -- rows

    @statement(
        rf"INSERT INTO (?P<table>{TABLE}) ?\( ?(?P<names>{NAME}(?: ?, ?{NAME})*) ?\) ?VALUES ?(?P<rest>\(.+?\))"
        r"(?: ON DUPLICATE KEY UPDATE (?P<updates>.+))?",
        "data",
    )
    def insert(self, table: str, names: str, rest: str, updates: str | None) -> int:
        types = self.columns(table)
        columns = re.split(" ?, ?", names)
        if unknown_columns := set(columns) - set(types):
            raise SqlError(1054, f"Unknown column '{unknown_columns.pop()}' in 'field list'")
        rows = [self.parse_row(row) for row in split_rows(rest)]
        if any(len(row) != len(columns) for row in rows):
            raise SqlError(1136, "Column count doesn't match value count")
        data = {
            column: [store(row[place], types[column]) for row in rows] for place, column in enumerate(columns)
        }
        quoted = ", ".join(f'"{column}"' for column in columns)
        database, name = self.locate(table)
        self.cursor.register("incoming", pd.DataFrame(data, dtype=object))
        try:
            self.cursor.execute(
                f'INSERT INTO "{database}"."{name}" ({quoted}) SELECT {quoted} FROM incoming {on_conflict(updates)}'
            )
        finally:
            self.cursor.unregister("incoming")
        return len(rows)

    def parse_row(self, row: str) -> list[Any]:
        return [self.parse_value(text.strip()) for text in row.split(",")]

    def parse_value(self, text: str) -> Any:
        if text.startswith(":p"):
            return self.value(text)
        constants = {"NULL": None, "TRUE": True, "FALSE": False}
        if text.upper() in constants:
            return constants[text.upper()]
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                pass
        raise unknown(text)

    @statement("(?P<rest>(?:UPDATE|DELETE) .+)", "data")
    def change(self, rest: str) -> int:
        (count,) = self.run(self.translate(rest)).fetchall()[0]
        return int(count)

    @statement("(?P<rest>SELECT .+)", "data")
    def select(self, rest: str) -> Result:
        cursor = self.run(self.translate(rest))
        names, types = zip(*((name, str(kind)) for name, kind, *_ in cursor.description), strict=True)
        vectors = {place for place, kind in enumerate(types) if kind.startswith("FLOAT[")}
        rows = cursor.fetchall()
        if vectors:
            rows = [
                tuple(vector_bytes(value) if place in vectors else value for place, value in enumerate(row))
                for row in rows
            ]
        return Result(list(names), list(types), rows)

    @statement("EXPLAIN (?P<rest>SELECT .+)", "data")
    def explain(self, rest: str) -> Result:
        tree = self.translate(rest)
        indexed = any(
            kind == "VECTOR"
            for table in tree.find_all(exp.Table)
            for kind, _ in self.indexes(table.sql("duckdb").replace('"', "")).values()
        )
        exact = re.search(r"USE (?:INDEX|KEY) ?\( ?\)", rest, re.IGNORECASE)
        searched = "with the vector index" if indexed and not exact else "exactly"
        return Result.of_texts(
            ["EXPLAIN"], [(f"STAND-IN, not SingleStore: a server would search {searched}",)]
        )

    def run(self, tree: exp.Expression) -> duckdb.DuckDBPyConnection:
        used = {node.this for node in tree.find_all(exp.Placeholder)}
        values = {name: self.value(name) for name in used}
        return self.cursor.execute(tree.sql("duckdb"), values)

    def translate(self, sql: str) -> exp.Expression:
        """Parse a SELECT, UPDATE or DELETE, refuse what is not known, and put DuckDB's forms in."""
        try:
            tree = sqlglot.parse_one(self.take_search_hints(sql), dialect=Dialect)
        except sqlglot.errors.SqlglotError as error:
            raise unknown(sql) from error
        for part in tree.walk():
            if type(part).__name__ not in KNOWN_PARTS:
                raise unknown(part.sql(Dialect))
        tables = [table.sql("duckdb").replace('"', "") for table in tree.find_all(exp.Table)]
        types = {name: kind for table in tables for name, kind in self.columns(table).items()}
        for column in tree.selects if isinstance(tree, exp.Select) else []:
            if not isinstance(column, exp.Alias | exp.Column | exp.Star):
                column.replace(exp.alias_(column.copy(), column.sql(Dialect), quoted=True))
        return tree.transform(self.replace_part, types)

    def take_search_hints(self, sql: str) -> str:
        """Check and remove what SingleStore allows between an ORDER BY expression and its direction."""

        def check(match: re.Match[str]) -> str:
            if match["options"]:
                try:
                    json.loads(self.value(match["options"]))
                except ValueError as error:
                    raise SqlError(1105, "stand-in: SEARCH_OPTIONS must be JSON") from error
            return ""

        before, order, after = re.split(r"( ORDER BY |$)", sql, maxsplit=1, flags=re.IGNORECASE)[:3]
        hint = (
            rf"(?<! DESC)(?<! ASC)(?: USE (?:INDEX|KEY) ?\( ?(?:{NAME})? ?\)"
            rf"(?: SEARCH_OPTIONS ?=? ?(?P<options>{PARAMETER}))?(?= DESC| ASC| LIMIT|,|$))"
        )
        return before + order + re.sub(hint, check, after, flags=re.IGNORECASE)

    def replace_part(self, node: exp.Expression, types: dict[str, str]) -> exp.Expression:
        if isinstance(node, exp.SessionParameter):
            name = node.name.lower().split(".")[-1]
            if name not in self.variables:
                raise SqlError(1193, f"Unknown system variable '{name}'")
            return exp.Literal.string(self.variables[name])
        if isinstance(node, exp.CurrentSchema):
            return exp.Literal.string(self.database) if self.database else exp.null()
        if isinstance(node, exp.CurrentVersion):
            return exp.Literal.string(self.variables["version"])
        if isinstance(node, exp.Distance):
            return exp.func("array_inner_product", self.operand(node.this), self.operand(node.expression))
        if isinstance(node, exp.Substring) and types.get(node.this.name, "").startswith("FLOAT["):
            start, length = int(node.args["start"].name), int(node.args["length"].name)
            # String functions see the bytes of a vector.
            part = f"vector_bytes({node.this.sql('duckdb')})[{start}:{start + length - 1}]"
            return sqlglot.parse_one(part, dialect="duckdb")
        return node

    def operand(self, node: exp.Expression) -> exp.Expression:
        """A query vector becomes an array of its own length, so that DuckDB refuses one that does not fit."""
        if not isinstance(node, exp.Placeholder):
            return node
        place = int(node.this.lstrip("p")) - 1
        vector = parse_vector(self.values[place])
        self.values[place] = vector.tolist()
        return exp.cast(node, exp.DataType.build(f"FLOAT[{len(vector)}]", dialect="duckdb"))


def unknown(sql: str) -> SqlError:
    return SqlError(1064, f"stand-in, not SingleStore: not known here, near '{sql[:80]}'")


def like(text: str, pattern: str) -> bool:
    expression = re.escape(pattern).replace("%", ".*").replace("_", ".")
    return re.fullmatch(expression, text, re.IGNORECASE) is not None


def split_rows(text: str) -> list[str]:
    """Split (a, b), (c, d) into its rows; nothing nests, since literals are out of the text."""
    rows = re.findall(r"\(([^()]*)\)", text)
    if re.sub(r"\([^()]*\)", "", text).strip(" ,"):
        raise unknown(text)
    return rows


def store(value: Any, duckdb_type: str) -> Any:
    """Convert an inserted value for its column."""
    if value is None:
        return None
    if duckdb_type.startswith("FLOAT["):
        vector, dimension = parse_vector(value), int(duckdb_type[6:-1])
        if vector.shape != (dimension,):
            raise SqlError(1105, f"stand-in: got a vector of shape {vector.shape} for VECTOR({dimension})")
        return vector
    if duckdb_type == "BLOB" and isinstance(value, str):
        return value.encode()
    if duckdb_type == "VARCHAR" and isinstance(value, bytes):
        return value.decode()
    return value


def on_conflict(updates: str | None) -> str:
    if updates is None:
        return ""
    assignments = []
    for update in re.split(r" ?, ?(?![^(]*\))", updates):
        match = re.fullmatch(rf"({NAME}) ?= ?VALUES ?\( ?({NAME}) ?\)", update, re.IGNORECASE)
        if not match:
            raise unknown(update)
        assignments.append(f'"{match[1]}" = excluded."{match[2]}"')
    return f"ON CONFLICT DO UPDATE SET {', '.join(assignments)}"


def parse_columns(text: str) -> tuple[list[str], dict[str, tuple[str, list[str]]]]:
    """Read the columns and keys of CREATE TABLE: DuckDB's definitions, and the indexes by name."""
    columns: list[str] = []
    indexes: dict[str, tuple[str, list[str]]] = {}
    shard_key: list[str] = []
    for item in re.split(r" ?, ?(?![^(]*\))", text):
        key = re.fullmatch(
            rf"(?P<kind>PRIMARY KEY|SHARD KEY|SORT KEY|KEY|INDEX) ?(?P<name>{NAME})? ?\( ?(?P<columns>[^()]*?) ?\)",
            item,
            re.IGNORECASE,
        )
        column = re.fullmatch(
            rf"(?P<name>{NAME}) (?P<type>\w+)(?: ?\((?P<size>[^()]*)\))?(?P<unsigned> UNSIGNED)?(?P<null>(?: NOT)? NULL)?",
            item,
            re.IGNORECASE,
        )
        if key:
            names = re.split(" ?, ?", key["columns"].replace("`", ""))
            kind = key["kind"].upper()
            if kind == "PRIMARY KEY":
                indexes["PRIMARY"] = ("COLUMNSTORE HASH", names)
                columns.append(f"PRIMARY KEY ({', '.join(names)})")
            elif kind == "SHARD KEY":
                shard_key = names
            elif kind != "SORT KEY":
                indexes[(key["name"] or names[0]).strip("`")] = ("COLUMNSTORE HASH", names)
        elif column:
            columns.append(column_definition(column))
        else:
            raise unknown(item)
    primary = indexes.get("PRIMARY", ("", []))[1]
    if primary and not set(shard_key) <= set(primary):
        raise SqlError(
            1744, f"The unique key {primary} must contain all columns of the shard key {shard_key}"
        )
    return columns, indexes


def column_definition(column: re.Match[str]) -> str:
    name, kind, size = column["name"].strip("`"), column["type"].lower(), column["size"]
    vector = re.fullmatch(r" ?(\d+) ?(?:, ?F32 ?)?", size or "", re.IGNORECASE)
    if kind == "vector" and vector:
        duckdb_type = f"FLOAT[{vector[1]}]"
    elif kind in COLUMN_TYPES:
        duckdb_type = ("U" if column["unsigned"] else "") + COLUMN_TYPES[kind]
        if kind == "float" and int(size or 0) > 24:
            duckdb_type = "DOUBLE"
    else:
        raise unknown(column[0])
    definition = f'"{name}" {duckdb_type}'
    if (column["null"] or "").upper() == " NOT NULL":
        definition += " NOT NULL"
    if kind in ("char", "varchar"):
        definition += f' CHECK (length("{name}") <= {int(size)})'
    if kind in ("text", "blob"):
        definition += f' CHECK (octet_length("{name}"::BLOB) <= 65535)'
    return definition


def check_index_options(text: str, dimension: int) -> None:
    """Check INDEX_OPTIONS against SingleStore's table of index types and their options."""
    try:
        options = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise SqlError(1105, f"stand-in: INDEX_OPTIONS must be a JSON object, got {text!r}") from error
    kind = options.pop("index_type", "AUTO")
    metric = options.pop("metric_type", "DOT_PRODUCT")
    if kind not in VECTOR_INDEX_OPTIONS or metric not in ("DOT_PRODUCT", "EUCLIDEAN_DISTANCE"):
        raise SqlError(1105, f"stand-in: unknown index_type or metric_type in {text!r}")
    for name, value in options.items():
        allowed = VECTOR_INDEX_OPTIONS[kind].get(name, ())
        if value not in allowed or (name == "m" and dimension % value):
            raise SqlError(1105, f"stand-in: {kind} on VECTOR({dimension}) does not take {name} = {value}")
    if "nprobe" in options and options["nprobe"] > options.get("nlist", 128):
        raise SqlError(1105, "stand-in: nprobe must not exceed nlist")


@contextmanager
def duckdb_errors(sql: str) -> Iterator[None]:
    """Turn DuckDB's errors into the error codes that a server would answer."""
    try:
        yield
    except duckdb.ConstraintException as error:
        text = str(error)
        code = 1048 if "NOT NULL" in text else 1406 if "CHECK" in text else 1062
        raise SqlError(code, f"stand-in: {text}") from error
    except duckdb.TransactionException as error:
        raise SqlError(1205, f"stand-in: {error}") from error
    except duckdb.ConversionException as error:
        raise SqlError(1366, f"stand-in: {error}") from error
    except duckdb.Error as error:
        column_missing = isinstance(error, duckdb.BinderException) and "Referenced column" in str(error)
        raise SqlError(1054 if column_missing else 1064, f"stand-in: {error}, near '{sql[:80]}'") from error
