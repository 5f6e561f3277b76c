"""Column types, the database's clock and sets of rows, alike on SQLite and Postgres."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Float,
    FromClause,
    MetaData,
    String,
    Text,
    TypeDecorator,
    Uuid,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

#: Every table of Reach. Names of constraints are fixed, so that migrations can name them.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call]  # it has no types
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC time: ``timestamptz`` on Postgres, microseconds since 1970 on SQLite.

    SQLite has no time type; integers compare, index and add exactly.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the type by database."""
        return dialect.type_descriptor(
            BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True)
        )

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To the database. Raises ValueError for a naive time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times are aware here")
        return (value - EPOCH) // MICROSECOND if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database, always in UTC."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return EPOCH + int(value) * MICROSECOND
        return value.astimezone(UTC)  # type: ignore[no-any-return]


class Key(TypeDecorator[UUID]):
    """A UUID: ``uuid`` on Postgres, its 36 characters on SQLite, so that a shell can read it."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the type by database."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Uuid())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        """To the database."""
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        """From the database."""
        return UUID(value) if value is not None and dialect.name == "sqlite" else value


#: A JSON document.
Document = JSON().with_variant(JSONB(), "postgresql")
#: Text that sorts by code point on both databases, so that prefixes are index ranges.
OrderedText = Text().with_variant(Text(collation="C"), "postgresql")


class now(FunctionElement[datetime]):  # noqa: N801 - it stands for a SQL function
    """The database's own clock, plus ``seconds``: the one clock that all workers share.

    It is the statement's start: the transaction's may lie before a long wait for a lock, and
    a clock that moves within a statement cannot bound an index scan.
    """

    type = Instant()
    inherit_cache = True

    def __init__(self, seconds: float | ColumnElement[float] = 0.0) -> None:
        """Take an offset in seconds, negative for the past."""
        super().__init__(
            literal(float(seconds), Float) if isinstance(seconds, (float, int)) else seconds
        )


@compiles(now, "postgresql")
def _now_postgres(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(statement_timestamp() + make_interval(secs => {seconds}))"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    # julianday, not unixepoch('subsec'): Debian 12's SQLite is 3.40. Exact to a millisecond.
    seconds = compiler.process(element.clauses, **kw)
    return f"CAST(((julianday('now') - 2440587.5) * 86400.0 + {seconds}) * 1000000 AS INTEGER)"


def rows(dialect: str, *columns: Column[Any]) -> FromClause:
    """Build a set of rows to insert or join from, given to the statement as ``encode(…)``.

    It is one parameter, ``rows``, however many the rows: so the statement is compiled once
    and sent once (a multi-row VALUES is compiled anew for every length).
    """
    given = bindparam("rows", type_=String)
    if dialect == "postgresql":
        named = [column(c.name, c.type.dialect_impl(_POSTGRES)) for c in columns]
        record = func.jsonb_to_recordset(cast(given, JSONB)).table_valued(*named)
        return record.render_derived(name="given", with_types=True)
    each = func.json_each(given).table_valued("value", name="each")
    return select(
        *(
            type_coerce(func.json_extract(each.c.value, f"$.{c.name}"), c.type).label(c.name)
            for c in columns
        )
    ).subquery("given")


def encode(dialect: str, values: Iterable[Mapping[str, object]]) -> str:
    """Write rows as the JSON that ``rows`` reads."""

    def plain(value: object) -> object:
        if isinstance(value, UUID):
            return str(value)
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError("times are aware here")
            return (value - EPOCH) // MICROSECOND if dialect == "sqlite" else value.isoformat()
        raise TypeError(f"no JSON for {type(value).__name__}")

    return json.dumps(list(values), default=plain, ensure_ascii=False)
