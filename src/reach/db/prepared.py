"""Statements that are run so often that SQLAlchemy only compiles them.

It takes some 70 µs to run a statement, whatever that does. On SQLite, where a statement is a call
of a few microseconds, the driver is called itself. Values are written and read by their types, as
SQLAlchemy has them. On Postgres it runs them, and where somebody watches statements: traces, the
log at its level ``debug``, tests.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.engine import Dialect

from reach.db.transaction import Transaction

_STATEMENTS = logging.getLogger("sqlalchemy.engine")
_Process = Callable[[Any], Any] | None


class Prepared:
    """A statement whose text never changes: values come as parameters only."""

    def __init__(self, make: Callable[[str], Executable]) -> None:
        """Take what makes it, by the name of a dialect. It is made when it is first run."""
        self._make = make
        self._statements: dict[str, Executable] = {}
        self._compiled: _Compiled | None = None

    def rows(self, tx: Transaction, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Run it; list all rows that it gives. Raises what ``tx.execute`` and the driver raise."""
        name = tx.dialect.name
        statement = self._statements.get(name)
        if statement is None:
            statement = self._statements[name] = self._make(name)
        is_watched = tx.dispatch.before_cursor_execute or _STATEMENTS.isEnabledFor(logging.INFO)
        if name != "sqlite" or is_watched:
            result = tx.execute(statement, dict(values))  # it takes no notice of those it lacks
            return result.all() if result.returns_rows else ()
        if self._compiled is None:
            self._compiled = _Compiled(statement, tx.dialect)
        return self._compiled.rows(tx.connection.driver_connection, values)


class _Compiled:
    """A statement's text for SQLite, and how its parameters and its rows are to be converted."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        binds = compiled.binds
        self._text = str(compiled)
        self._parameters: list[tuple[str, Any, _Process]] = [
            (name, binds[name].value, _processor(binds[name].type, "bind_processor", dialect))
            for name in compiled.positiontup or ()
        ]
        columns = getattr(statement, "exported_columns", ())
        found = [_processor(column.type, "result_processor", dialect, None) for column in columns]
        self._columns = found if any(found) else None

    def rows(self, driver: Any, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        parameters = []
        for name, fixed, process in self._parameters:
            value = values.get(name, fixed)
            parameters.append(process(value) if process else value)
        found: Sequence[Sequence[Any]] = driver.execute(self._text, parameters).fetchall()
        if self._columns is None or not found:
            return found
        return [
            [
                process(value) if process else value
                for process, value in zip(self._columns, row, strict=True)
            ]
            for row in found
        ]


def _processor(kind: Any, name: str, dialect: Dialect, *arguments: Any) -> _Process:
    process: _Process = getattr(kind.dialect_impl(dialect), name)(dialect, *arguments)
    return process
