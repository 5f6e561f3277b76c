"""Column types, ids, the database's clock and sets of rows, alike on SQLite and Postgres."""

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Float,
    FromClause,
    MetaData,
    Select,
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
    true,
    type_coerce,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine

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

#: Random bytes are drawn for so many ids at a time: a system call lets go of the interpreter's
#: lock, and a busy thread gets it back only after a while.
DRAWN_IDS = 512
RANDOM_BYTES = 8

TICKS = 4096
#: The clocks that ids are made by may differ so much from the database's, and from each other.
CLOCKS_SECONDS = 600
#: A clock that runs ahead is moved by less; 10 s, in ticks of a 4096th of a millisecond.
SET_BACK_TICKS = 10_000 * TICKS

_lock = threading.Lock()
_last = 0
_random = memoryview(b"")


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


class ascii_lower(FunctionElement[str]):  # noqa: N801 - it stands for a SQL function
    """A text with its ASCII letters in lower case, and no others: an address as its key."""

    type = Text()
    inherit_cache = True


@compiles(ascii_lower, "postgresql")
def _ascii_lower_postgres(element: ascii_lower, compiler: SQLCompiler, **kw: Any) -> str:
    # Otherwise the database's language decides what else is lower case.
    return f'lower({compiler.process(element.clauses, **kw)} COLLATE "C")'


@compiles(ascii_lower, "sqlite")
def _ascii_lower_sqlite(element: ascii_lower, compiler: SQLCompiler, **kw: Any) -> str:
    return f"lower({compiler.process(element.clauses, **kw)})"


def beside(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Have a condition asked of the rows that the others find, and never looked up by an index.

    What is queued, or of a template, may be nothing when Postgres looks, and all there is later.
    """
    return condition.is_(true())


class among(FunctionElement[bool]):  # noqa: N801 - it stands for an operator
    """Whether a column's value is one of those that a subquery, run once, finds: by index.

    Postgres may join the rows of an IN in any way that it takes to be cheap, and keeps to it: to go
    through all of a table that was small when it was last analysed.
    """

    #: Not Boolean: for want of such a type SQLite would be asked whether it is 1, and use no index.
    type: TypeEngine[bool] = NullType()  # type: ignore[assignment]
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], found: Select[Any]) -> None:
        """Take a column that has an index, and a SELECT of one column that does not refer to it."""
        super().__init__(column, found.scalar_subquery())


@compiles(among, "postgresql")
def _among_postgres(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    one, found = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{one} = ANY (ARRAY{found})"


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    one, found = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{one} IN {found}"


def rows(dialect: str, *columns: Column[Any]) -> FromClause:
    """Build a set of rows to insert or join from, given to the statement as ``encode(…)``.

    It is one parameter, ``rows``, however many the rows: so the statement is compiled once
    and sent once (a multi-row VALUES is compiled again for every length).
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


def encode(dialect: str, values: Sequence[Mapping[str, object]]) -> str:
    """Write rows as the JSON that ``rows`` reads."""

    def plain(value: object) -> object:
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError("times are aware here")
            return (value - EPOCH) // MICROSECOND if dialect == "sqlite" else value.isoformat()
        if isinstance(value, UUID):
            return str(value)
        raise TypeError(f"no JSON for {type(value).__name__}")

    try:
        return orjson.dumps(values, plain, orjson.OPT_PASSTHROUGH_DATETIME).decode()
    except orjson.JSONEncodeError:  # a number of more than 64 bits, say
        return json.dumps(values, default=plain, ensure_ascii=False)


def new_id() -> UUID:
    """Make a UUIDv7 (RFC 9562 §5.7), later than every other one made by this process."""
    return UUID(int=_new_number())


def new_hex_id() -> str:
    """Make one, and write it in 32 hexadecimal digits."""
    return f"{_new_number():032x}"


def _new_number() -> int:
    """Make the 128 bits of a UUIDv7.

    But where the clock was set back by more than 10 s: what it said before was wrong, and ids of
    then would be found by no search for what was made now.

    The 12 bits after the milliseconds hold the fraction of the millisecond (§6.2, method 3);
    the 62 random bits keep ids from being guessed.
    """
    global _last, _random  # noqa: PLW0603 - the process's clock, which must not stand still
    with _lock:
        ticks = time.time_ns() * TICKS // 1_000_000
        is_set_back = ticks < _last - SET_BACK_TICKS
        _last = ticks = ticks if is_set_back else max(ticks, _last + 1)
        drawn, _random = _random[:RANDOM_BYTES], _random[RANDOM_BYTES:]
        if not drawn:
            drawn, _random = _draw()
    milliseconds, fraction = divmod(ticks, TICKS)
    rest = int.from_bytes(drawn, "big") >> 2
    return milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | rest


def earliest_id(seconds: float) -> UUID:
    """Make the bound below which no id lies that was made at ``seconds`` since 1970 or later."""
    return UUID(int=max(int(seconds * 1000), 0) << 80)


def _draw() -> tuple[memoryview, memoryview]:
    drawn = memoryview(os.urandom(DRAWN_IDS * RANDOM_BYTES))
    return drawn[:RANDOM_BYTES], drawn[RANDOM_BYTES:]


def _forget() -> None:
    """Let a forked child draw its own: it would make the same ids as its parent."""
    global _random  # noqa: PLW0603 - see new_id
    _random = memoryview(b"")


os.register_at_fork(after_in_child=_forget)
