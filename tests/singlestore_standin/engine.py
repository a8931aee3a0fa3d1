"""The stand-in's statements, carried out in DuckDB; any that is not here is error 1064."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import sqlglot
from sqlglot import exp

from tests.singlestore_standin.syntax import (
    COMMA,
    NAME,
    PARAMETER,
    TABLE,
    Dialect,
    SqlError,
    TableDefinition,
    check_index_options,
    convert,
    dimension_of,
    dtype_of,
    parse_column,
    parse_query,
    parse_rows,
    parse_table,
    parse_updates,
    parse_vector,
    position,
    take_literals,
    unknown,
)

VARIABLES = {
    "autocommit": "ON",
    "enable_extended_types_metadata": "off",
    "is_shared_tier": "OFF",
    "lower_case_table_names": "0",
    "max_allowed_packet": "104857600",
    "sql_mode": "STRICT_ALL_TABLES",
    "transaction_isolation": "READ-COMMITTED",
    "vector_type_project_format": "BINARY",
    "version": "5.7.32",
    "version_comment": "STAND-IN, not SingleStore",
}
SETTABLE = {"autocommit", "enable_extended_types_metadata", "sql_mode", "vector_type_project_format"}


@dataclass
class Result:
    """The rows that answer a statement, with DuckDB's names for the columns' types."""

    names: list[str]
    types: list[str]
    rows: list[tuple[Any, ...]]


def texts(names: list[str], rows: list[tuple[str, ...]]) -> Result:
    return Result(names, ["VARCHAR"] * len(names), rows)


class Engine:
    """The databases, which are DuckDB's schemas, and what DuckDB does not know of their tables."""

    def __init__(self, databases: list[str], shared_tier: bool) -> None:
        self.duckdb = duckdb.connect(":memory:")
        self.duckdb.execute("SET enable_external_access = false")
        for function, kind in ((float_bytes, "FLOAT"), (half_bytes, "DOUBLE")):
            self.duckdb.create_function(function.__name__, function, [duckdb.list_type(kind)], "BLOB")
        for name in databases:
            self.duckdb.execute(f'CREATE SCHEMA "{name}"')
        self.databases = set(databases)
        self.shared_tier = shared_tier
        self.tables: dict[tuple[str, str], TableDefinition] = {}


def float_bytes(values: list[float]) -> bytes:
    return np.asarray(values, "<f4").tobytes()


def half_bytes(values: list[float]) -> bytes:
    return np.asarray(values, "<f2").tobytes()


Method = Callable[..., Result | int]
STATEMENTS: list[tuple[re.Pattern[str], str, Method]] = []


def statement(pattern: str, kind: str = "session") -> Callable[[Method], Method]:
    """Register the method for the statements of this form; the named groups become its arguments.

    The kind is "data" (part of a transaction), "definition" (commits the transaction, as MySQL does) or
    "session".
    """

    def register(method: Method) -> Method:
        STATEMENTS.append((re.compile(pattern, re.IGNORECASE), kind, method))
        return method

    return register


class Session:
    """One client's connection, with one of its own to DuckDB, so that transactions are real."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.cursor = engine.duckdb.cursor()
        self.database: str | None = None
        self.in_transaction = False
        self.variables = VARIABLES | {"is_shared_tier": "ON" if engine.shared_tier else "OFF"}
        self.values: list[Any] = []  # the literals of the current statement

    @property
    def autocommit(self) -> bool:
        return self.variables["autocommit"] == "ON"

    def execute(self, sql: str) -> Result | int:
        """Carry out a statement; returns its rows, or how many it affected."""
        skeleton, self.values = take_literals(sql)
        matches = ((pattern.fullmatch(skeleton), kind, method) for pattern, kind, method in STATEMENTS)
        match, kind, method = next((found for found in matches if found[0]), (None, None, None))
        if match is None:
            raise unknown(skeleton)
        with duckdb_errors(skeleton):
            if kind == "data" and not self.autocommit and not self.in_transaction:
                self.cursor.execute("BEGIN")
                self.in_transaction = True
            elif kind == "definition":
                self.end("COMMIT")
            return method(self, **match.groupdict())

    def close(self) -> None:
        self.cursor.close()  # rolls back

    def end(self, how: str) -> None:
        if self.in_transaction:
            self.in_transaction = False
            self.cursor.execute(how)

    def use(self, database: str) -> None:
        if database not in self.engine.databases:
            raise SqlError(1049, f"unknown database '{database}'")
        self.cursor.execute(f'USE "{database}"')
        self.database = database

    def value(self, parameter: str) -> str:
        return str(self.values[position(parameter)])

    def locate(self, table: str) -> tuple[str, str]:
        """Split a table's name into database and table."""
        database, _, name = table.replace("`", "").rpartition(".")
        database = database or self.database or ""
        if not database:
            raise SqlError(1046, "no database selected")
        if database not in self.engine.databases:
            raise SqlError(1049, f"unknown database '{database}'")
        return database, name

    def columns(self, table: str) -> dict[str, str]:
        """DuckDB's types of a table's columns; error 1146 if there is no such table."""
        database, name = self.locate(table)
        self.cursor.execute(
            "SELECT column_name, data_type FROM duckdb_columns() "
            "WHERE schema_name = ? AND table_name = ? ORDER BY column_index",
            [database, name],
        )
        columns = dict(self.cursor.fetchall())
        if not columns:
            raise SqlError(1146, f"table '{database}.{name}' doesn't exist")
        return columns

    def exists(self, table: str) -> bool:
        try:
            return bool(self.columns(table))
        except SqlError as error:
            if error.code == 1146:
                return False
            raise

    def definition(self, table: str) -> TableDefinition:
        self.columns(table)
        return self.engine.tables[self.locate(table)]

    # -- session

    @statement(rf"SET NAMES (?:\w+|{PARAMETER})")
    def set_names(self) -> int:
        return 0

    @statement(rf"SET (?:@@SESSION\.)?(?P<name>\w+) ?= ?(?P<value>\w+|{PARAMETER})")
    def set_variable(self, name: str, value: str) -> int:
        name = name.lower()
        if name not in SETTABLE:
            raise SqlError(1193, f"variable '{name}' cannot be set")
        value = self.value(value) if value.startswith(":") else value
        if name == "vector_type_project_format" and value.upper() != "BINARY":
            raise SqlError(1231, f"{name} can only be BINARY, got '{value}'")
        if name == "autocommit":
            self.end("COMMIT")
            value = "ON" if value.lower() in ("1", "on", "true") else "OFF"
        self.variables[name] = value
        return 0

    @statement("(?P<how>COMMIT|ROLLBACK)")
    def end_transaction(self, how: str) -> int:
        self.end(how)
        return 0

    @statement(rf"SHOW VARIABLES LIKE (?P<pattern>{PARAMETER})")
    def show_variables(self, pattern: str) -> Result:
        rows = [item for item in self.variables.items() if like(item[0], self.value(pattern))]
        return texts(["Variable_name", "Value"], rows)

    # -- databases and tables

    @statement("SHOW DATABASES")
    def show_databases(self) -> Result:
        return texts(["Database"], [(name,) for name in sorted(self.engine.databases)])

    @statement(rf"USE (?P<name>{NAME})")
    def use_database(self, name: str) -> int:
        self.use(name.strip("`"))
        return 0

    @statement(rf"CREATE DATABASE (?P<lenient>IF NOT EXISTS )?(?P<name>{NAME})", "definition")
    def create_database(self, lenient: str | None, name: str) -> int:
        name = self.check_tier(name)
        if name in self.engine.databases:
            if lenient:
                return 0
            raise SqlError(1007, f"database '{name}' exists")
        self.cursor.execute(f'CREATE SCHEMA "{name}"')
        self.engine.databases.add(name)
        return 1

    @statement(rf"DROP DATABASE (?P<lenient>IF EXISTS )?(?P<name>{NAME})", "definition")
    def drop_database(self, lenient: str | None, name: str) -> int:
        name = self.check_tier(name)
        if name not in self.engine.databases:
            if lenient:
                return 0
            raise SqlError(1008, f"database '{name}' doesn't exist")
        if name == self.database:
            self.database = None
            self.cursor.execute("USE main")
        self.cursor.execute(f'DROP SCHEMA "{name}" CASCADE')
        self.engine.databases.remove(name)
        return 0

    def check_tier(self, name: str) -> str:
        if self.engine.shared_tier:
            raise SqlError(1044, f"access denied to database '{name}'")
        return name.strip("`")

    @statement(
        rf"SHOW (?P<full>FULL )?TABLES(?: (?:FROM|IN) (?P<name>{NAME}))?(?: LIKE (?P<pattern>{PARAMETER}))?"
    )
    def show_tables(self, full: str | None, name: str | None, pattern: str | None) -> Result:
        database, _ = self.locate(f"{name or ''}.")
        query = "SELECT table_name FROM duckdb_tables() WHERE schema_name = ? ORDER BY 1"
        rows = self.cursor.execute(query, [database]).fetchall()
        if pattern:
            rows = [row for row in rows if like(row[0], self.value(pattern))]
        if full:
            return texts([f"Tables_in_{database}", "Table_type"], [(*row, "BASE TABLE") for row in rows])
        return texts([f"Tables_in_{database}"], rows)

    @statement(rf"DESCRIBE (?P<table>{TABLE})")
    def describe(self, table: str) -> Result:
        return texts(["Field", "Type"], list(self.definition(table).types.items()))

    @statement(
        rf"CREATE TABLE (?P<lenient>IF NOT EXISTS )?(?P<table>{TABLE}) ?\( ?(?P<definition>.+?) ?\)",
        "definition",
    )
    def create_table(self, lenient: str | None, table: str, definition: str) -> int:
        if self.exists(table):
            if lenient:
                return 0
            raise SqlError(1050, f"table '{table}' already exists")
        database, name = self.locate(table)
        new = parse_table(definition)
        self.cursor.execute(f'CREATE TABLE "{database}"."{name}" ({", ".join(new.columns)})')
        self.engine.tables[database, name] = new
        return 0

    @statement(rf"DROP TABLE (?P<lenient>IF EXISTS )?(?P<table>{TABLE})", "definition")
    def drop_table(self, lenient: str | None, table: str) -> int:
        if not self.exists(table):
            if lenient:
                return 0
            raise SqlError(1051, f"unknown table '{table}'")
        database, name = self.locate(table)
        self.cursor.execute(f'DROP TABLE "{database}"."{name}"')
        return 0

    @statement(rf"ALTER TABLE (?P<table>{TABLE}) ADD (?:COLUMN )?(?P<column>(?!VECTOR ).+)", "definition")
    def add_column(self, table: str, column: str) -> int:
        name, duckdb_type, declared = parse_column(column)
        if name in self.columns(table):
            raise SqlError(1060, f"duplicate column name '{name}'")
        database, table_name = self.locate(table)
        self.cursor.execute(f'ALTER TABLE "{database}"."{table_name}" ADD COLUMN "{name}" {duckdb_type}')
        self.definition(table).types[name] = declared
        return 0

    # -- indexes

    @statement(rf"SHOW INDEX FROM (?P<table>{TABLE})")
    def show_index(self, table: str) -> Result:
        names = ["Table", "Non_unique", "Key_name", "Seq_in_index", "Column_name", "Index_type"]
        rows = [
            (self.locate(table)[1], str(int(key != "PRIMARY")), key, str(place), column, kind)
            for key, (kind, columns) in self.definition(table).indexes.items()
            for place, column in enumerate(columns, 1)
        ]
        return texts(names, rows)

    @statement(
        rf"ALTER TABLE (?P<table>{TABLE}) ADD VECTOR (?:INDEX|KEY) ?(?P<name>{NAME})? ?"
        rf"\( ?(?P<column>{NAME}) ?\)(?: INDEX_OPTIONS ?=? ?(?P<options>{PARAMETER}))?",
        "definition",
    )
    def add_vector_index(self, table: str, name: str | None, column: str, options: str | None) -> int:
        column = column.strip("`")
        name = name.strip("`") if name else column
        dimension = dimension_of(self.columns(table).get(column, ""))
        if not dimension:
            raise SqlError(1105, f"a vector index needs a VECTOR column, got '{column}'")
        check_index_options(self.value(options) if options else "{}", dimension)
        indexes = self.definition(table).indexes
        if name in indexes:
            raise SqlError(1061, f"duplicate key name '{name}'")
        indexes[name] = ("VECTOR", [column])
        return 0

    @statement(rf"DROP INDEX (?P<name>{NAME}) ON (?P<table>{TABLE})", "definition")
    def drop_index(self, name: str, table: str) -> int:
        if self.definition(table).indexes.pop(name.strip("`"), None) is None:
            raise SqlError(1091, f"can't drop '{name}'; check that column/key exists")
        return 0

    @statement(rf"OPTIMIZE TABLE (?P<table>{TABLE}) (?:FLUSH|FULL)", "definition")
    def optimize(self, table: str) -> int:
        self.columns(table)
        return 0

    # -- rows

    @statement(
        rf"INSERT INTO (?P<table>{TABLE}) ?\( ?(?P<names>[^()]+?) ?\) ?VALUES ?(?P<rows>\(.+?\))"
        r"(?: ON DUPLICATE KEY UPDATE (?P<updates>.+))?",
        "data",
    )
    def insert(self, table: str, names: str, rows: str, updates: str | None) -> int:
        types = self.columns(table)
        columns = COMMA.split(names.replace("`", ""))
        if missing := set(columns) - set(types):
            raise SqlError(1054, f"unknown column '{missing.pop()}' in 'field list'")
        values = parse_rows(rows, self.values)
        if any(len(row) != len(columns) for row in values):
            raise SqlError(1136, "column count doesn't match value count")
        return self.put(table, columns, values, updates)

    @statement(
        rf"LOAD DATA (?:S3 (?P<path>{PARAMETER}) CONFIG (?P<config>{PARAMETER}) CREDENTIALS (?P<keys>{PARAMETER})"
        rf"|LINK \w+ (?P<linked>{PARAMETER})) REPLACE INTO TABLE (?P<table>{TABLE}) FORMAT PARQUET "
        rf"\((?P<mapping>[^()]+)\) SET (?P<set>{NAME}) = @(?P<variable>\w+) :> BLOB :> VECTOR\((?P<kind>[^()]+)\)",
        "data",
    )
    def load_parquet(
        self,
        path: str | None,
        config: str | None,
        keys: str | None,
        linked: str | None,
        table: str,
        mapping: str,
        set: str,
        variable: str,
        kind: str,
    ) -> int:
        """Load files from STANDIN_BUCKETS, a folder whose folders are the buckets; the keys are not looked at."""
        for options in (config, keys):
            dict(json.loads(self.value(options) if options else "{}"))
        pairs = [tuple(re.split(" ?<- ?", pair)) for pair in COMMA.split(mapping)]
        pairs = [(set if name == f"@{variable}" else name, source) for name, source in pairs]
        if (
            self.definition(table).types[set].replace(" ", "").lower()
            != f"vector({kind})".replace(" ", "").lower()
        ):
            raise SqlError(1105, f"the column is {self.definition(table).types[set]}, got VECTOR({kind})")
        where = self.value(str(path or linked)).removeprefix("s3://")
        found = sorted(Path(os.environ.get("STANDIN_BUCKETS", "/nowhere")).glob(where))
        if not found:
            raise SqlError(1105, f"no such files: {where}")
        names = ", ".join(source for _, source in pairs)
        with duckdb.connect() as reader:
            try:
                rows = reader.execute(
                    f"SELECT {names} FROM read_parquet(?)", [list(map(str, found))]
                ).fetchall()
            except duckdb.Error as error:
                raise SqlError(1105, f"no Parquet: {error}") from error
        columns = [name for name, _ in pairs]
        return self.put(table, columns, rows, ", ".join(f"{name} = VALUES({name})" for name in columns))

    def put(
        self, table: str, columns: list[str], values: Sequence[Sequence[Any]], updates: str | None
    ) -> int:
        types = self.columns(table)
        incoming = {
            column: [convert(value, types[column]) for value in cells]
            for column, cells in zip(columns, zip(*values, strict=True), strict=True)
        }
        new = pd.DataFrame(incoming, dtype=object)
        if updates and "PRIMARY" in self.definition(table).indexes:
            # A server takes the rows in turn; DuckDB would keep the first of a key.
            new = new.drop_duplicates(self.definition(table).indexes["PRIMARY"][1], keep="last")
        self.cursor.register("incoming", new)
        database, name = self.locate(table)
        quoted = ", ".join(f'"{column}"' for column in columns)
        self.cursor.execute(
            f'INSERT INTO "{database}"."{name}" ({quoted}) SELECT {quoted} FROM incoming '
            + parse_updates(updates)
        )
        return len(values)

    @statement("(?P<query>(?:UPDATE|DELETE) .+)", "data")
    def change(self, query: str) -> int:
        return int(self.run(query).fetchall()[0][0])

    @statement("(?P<query>(?:SELECT|WITH) .+)", "data")
    def select(self, query: str) -> Result:
        cursor = self.run(query)
        names = [column[0] for column in cursor.description]
        types = [str(column[1]) for column in cursor.description]
        rows = [
            tuple(
                np.asarray(value, dtype_of(kind)).tobytes()
                if dimension_of(kind) and value is not None
                else value
                for kind, value in zip(types, row, strict=True)
            )
            for row in cursor.fetchall()
        ]
        return Result(names, types, rows)

    @statement("EXPLAIN (?P<query>SELECT .+)", "data")
    def explain(self, query: str) -> Result:
        self.run(query)
        return texts(["EXPLAIN"], [("STAND-IN, not SingleStore: every search is exact, no plan to show",)])

    def run(self, query: str) -> duckdb.DuckDBPyConnection:
        """Translate a SELECT, UPDATE or DELETE for DuckDB and start it."""
        tree, indexes = parse_query(query, self.values)
        types: dict[str, str] = {}
        own = {each.alias for each in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            if table.name in own:
                continue
            name = f"{table.db}.{table.name}"
            types |= self.columns(name)
            if missing := set(indexes) - set(self.definition(name).indexes):
                raise SqlError(1176, f"key '{missing.pop()}' doesn't exist in table '{table.name}'")
        for column in tree.selects if isinstance(tree, exp.Select) else []:
            if not isinstance(column, exp.Alias | exp.Column | exp.Star):
                column.replace(exp.alias_(column.copy(), column.sql(Dialect), quoted=True))
        tree = tree.transform(self.translate, types)
        used = {node.name for node in tree.find_all(exp.Placeholder)}
        values = {name: self.values[position(name)] for name in used}
        return self.cursor.execute(tree.sql("duckdb"), values)

    def translate(self, node: exp.Expr, types: dict[str, str]) -> exp.Expr:
        if isinstance(node, exp.SessionParameter):
            if node.name.lower() not in self.variables:
                raise SqlError(1193, f"unknown system variable '{node.name}'")
            return exp.Literal.string(self.variables[node.name.lower()])
        if isinstance(node, exp.CurrentVersion):
            return exp.Literal.string(self.variables["version"])
        if isinstance(node, exp.CurrentSchema):
            return exp.Literal.string(self.database) if self.database else exp.null()
        if isinstance(node, exp.Distance):  # <*>
            kinds = [types.get(side.name, "") for side in (node.left, node.right)]
            kind = next(filter(dimension_of, kinds), "FLOAT")
            sides = (self.vector(side, kind) for side in (node.left, node.right))
            return exp.func("array_inner_product", *sides)
        if isinstance(node, exp.Substring) and dimension_of(types.get(node.this.name, "")):
            start, length = int(node.args["start"].name), int(node.args["length"].name)
            # String functions see the bytes of a vector.
            function = "half_bytes" if dtype_of(types[node.this.name]) == "<f2" else "float_bytes"
            part = f"{function}({node.this.sql('duckdb')})[{start}:{start + length - 1}]"
            return sqlglot.parse_one(part, dialect="duckdb")
        return node

    def vector(self, operand: exp.Expr, kind: str) -> exp.Expr:
        """Give a literal the column's elements and its own length, so that DuckDB refuses one that does not fit."""
        if not isinstance(operand, exp.Placeholder):
            return operand
        vector = parse_vector(self.values[position(operand.name)], dtype_of(kind))
        self.values[position(operand.name)] = vector.tolist()
        duckdb_type = f"{kind.partition('[')[0]}[{len(vector)}]"
        return exp.cast(operand, exp.DataType.build(duckdb_type, dialect="duckdb"))


def like(text: str, pattern: str) -> bool:
    expression = re.escape(pattern).replace("%", ".*").replace("_", ".")
    return re.fullmatch(expression, text, re.IGNORECASE) is not None


@contextmanager
def duckdb_errors(sql: str) -> Iterator[None]:
    """Answer DuckDB's errors with a server's codes."""
    try:
        yield
    except duckdb.Error as error:
        text = str(error)
        if isinstance(error, duckdb.ConstraintException):
            code = 1048 if "NOT NULL" in text else 1406 if "CHECK" in text else 1062
            if code == 1062 and "ON DUPLICATE KEY UPDATE" in sql.upper():
                code = 1205  # the other row came after this snapshot; a server waits for its lock
        elif isinstance(error, duckdb.TransactionException):
            code = 1205
        elif isinstance(error, duckdb.ConversionException):
            code = 1366
        elif isinstance(error, duckdb.BinderException) and "Referenced column" in text:
            code = 1054
        else:
            code = 1064
        raise SqlError(code, f"{text}, near '{sql[:80]}'") from error
