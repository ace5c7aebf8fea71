"""Statements whose way to SQLite is known: compiled once, then handed to the driver as they are.

SQLAlchemy makes three times the calls for a statement that it has compiled before, and much of what
waits for a first token waits for such calls.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Executable
from sqlalchemy.engine import Dialect, IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import TypeEngine

Convert = Callable[[Any], Any]


class Prepared:
    """A compiled statement with what turns its parameters and its rows into one another's kind."""

    def __init__(self, statement: Executable, compiled: SQLCompiler, dialect: Dialect) -> None:
        self._dialect = dialect
        self._sql = compiled.string
        self._names = tuple(compiled.positiontup or ())
        self._constant = {
            name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required
        }
        self._converted = tuple(
            (name, convert)
            for name, bind in compiled.binds.items()
            if (convert := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
        )
        self._columns: _Columns | None = None
        columns = getattr(statement, "exported_columns", ())
        self._types: list[TypeEngine[Any]] = [column.type for column in columns]

    def run(
        self, connection: sqlite3.Connection, parameters: Mapping[str, Any]
    ) -> "Rows | Written":
        """What the statement gives; raises DBAPIError as SQLAlchemy does."""
        values = {**self._constant, **parameters} if self._constant else parameters
        if self._converted:
            values = dict(values)
            for name, convert in self._converted:
                values[name] = convert(values[name])
        try:
            cursor = connection.execute(self._sql, [values[name] for name in self._names])
            if cursor.description is None:
                return Written(cursor.rowcount)
            rows = cursor.fetchall()
        except sqlite3.Error as error:
            raise as_sqlalchemy(error, self._dialect, self._sql) from error
        if self._columns is None:
            self._columns = _Columns(cursor.description, self._types, self._dialect)
        result = self._columns.result(rows)
        result.rowcount = cursor.rowcount
        return result


class _Columns:
    """The columns of a statement's rows."""

    def __init__(self, description: Any, types: list[TypeEngine[Any]], dialect: Dialect) -> None:
        assert len(description) == len(types)
        self._converted = tuple(
            (place, convert)
            for place, type_ in enumerate(types)
            if (convert := type_.dialect_impl(dialect).result_processor(dialect, None)) is not None
        )
        self._metadata = SimpleResultMetaData([column[0] for column in description])

    def result(self, rows: list[Any]) -> "Rows":
        """These rows, as SQLAlchemy gives them."""
        if self._converted:
            rows = [self._convert(row) for row in rows]
        return Rows(self._metadata, iter(rows))

    def _convert(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(row)
        for place, convert in self._converted:
            values[place] = convert(values[place])
        return tuple(values)


class Rows(IteratorResult[Any]):
    """The rows of a statement, and how many it wrote."""

    rowcount = -1
    returns_rows = True


@dataclass(frozen=True)
class Written:
    """How many rows a statement wrote that gives none."""

    rowcount: int
    returns_rows = False


class Statements:
    """The statements of one database, by themselves and the names of their parameters.

    The threads of its connections share them: two that compile the same one at once lose nothing.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, dict[tuple[str, ...], Prepared | None]] = (
            WeakKeyDictionary()
        )

    def prepared(
        self, statement: Executable, parameters: Mapping[str, Any], dialect: Dialect
    ) -> Prepared | None:
        """The statement, compiled when it comes for the second time; None is for SQLAlchemy.

        Those that are made for one use, and those whose words depend on their values. The
        `dialect` is that of any of the connections, which have the same options.
        """
        known = self._known.get(statement)
        if known is None:
            self._known[statement] = {}
            return None
        names = tuple(parameters)
        try:
            return known[names]
        except KeyError:
            prepared = known[names] = _prepare(statement, names, dialect)
            return prepared


def _prepare(statement: Executable, names: tuple[str, ...], dialect: Dialect) -> Prepared | None:
    if not isinstance(statement, ClauseElement) or not hasattr(statement, "exported_columns"):
        return None
    compiled = statement.compile(dialect=dialect, column_keys=sorted(names))
    if not isinstance(compiled, SQLCompiler) or (
        compiled.post_compile_params
        or compiled.literal_execute_params
        or compiled.insert_prefetch
        or compiled.update_prefetch
    ):
        return None
    return Prepared(statement, compiled, dialect)


def as_sqlalchemy(error: sqlite3.Error, dialect: Dialect, sql: str = "") -> BaseException:
    """The error that SQLAlchemy makes of this one, without what was asked for in it."""
    return DBAPIError.instance(
        sql, None, error, sqlite3.Error, hide_parameters=True, dialect=dialect
    )
