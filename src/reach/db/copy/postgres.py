"""A Postgres database, as a copy's source or target."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import asyncpg

from reach.db.copy.rows import Row, Shape
from reach.db.copy.side import BATCH_ROWS, IN_USE, CannotCopy, Side
from reach.db.postgres import (
    CONFLICT_CODES,
    MAY_NOT_CREATE,
    REFUSED_CODES,
    UNAVAILABLE_CLASSES,
    UNAVAILABLE_CODES,
    no_database,
    sqlstate,
    unavailable_reason,
)
from reach.db.postgres_connection import Opener, PostgresConnection, Session
from reach.db.types import EPOCH

CONNECT_SECONDS = 10
CLOSE_SECONDS = 3
LOCK_SECONDS = 10
ALONE_SECONDS, ALONE_CHECK_SECONDS = 2, 0.1
#: Any fixed number will do; not that of `reach migrate`, which a copy runs itself.
LOCK = 0x5265616369
LOCK_REFUSED = "55P03"
RUNNING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'reach'"
)
MAY_NOT_LOCK = (
    "The role may not read and lock the source's tables: connect to the source as their owner."
)
HELD = (
    "Somebody has the {role}'s tables open (see pg_stat_activity): end that, and run the same "
    "command again."
)
POOLED = (
    "A pooler (PgBouncer) is before the {role}, and a copy needs a connection of its own: "
    "give it Postgres's own address."
)
NAME = "reach db copy"
#: Making no trigger waits for whoever reads; dropping one does, and has them queue up behind it.
TIDY_LOCK = "1s"
GUARD = "reach_copy_guard"
GUARDS = f"CREATE OR REPLACE FUNCTION {GUARD}() RETURNS trigger LANGUAGE plpgsql AS "
#: A Reach that runs already looks at no mark: it is told "not now" (57P03), which is a 503.
REFUSE = f"""{GUARDS} $$ BEGIN
    IF current_setting('application_name') <> '{NAME}' THEN
        RAISE cannot_connect_now USING MESSAGE = 'this database holds half a copy of another one';
    END IF;
    RETURN NULL;
END $$"""
LET = f"{GUARDS} $$ BEGIN RETURN NULL; END $$"
GUARDED = (
    "SELECT relname::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
    "WHERE tgname = $1 AND relnamespace = current_schema()::regnamespace"
)
#: Server settings of a site must not cut a copy short.
SESSION = {
    "statement_timeout": "0",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "0",
}


class PostgresSide(Side):
    """One connection, with asyncpg itself: COPY is what it has and SQLAlchemy has not."""

    _open: PostgresConnection | None = None

    @property
    def identity(self) -> str:
        """Its address, without credentials."""
        return str(self.url)

    @property
    def _connection(self) -> PostgresConnection:
        if self._open is None:
            raise AssertionError("not open")
        return self._open

    async def open(self) -> None:
        """Connect; one copy at a time into a target, and no Reach beside it."""
        opener = Opener(self.url, Session(NAME, SESSION), seconds=CONNECT_SECONDS)
        with self.may_fail():
            self._open = await opener.open()
        if self._open.is_shared:
            raise CannotCopy(POOLED.format(role=self.role))
        if self.role == "target":
            await self._take_turn()
        await self._require_alone()

    async def _take_turn(self) -> None:
        """Wait a little: of one that was killed, the server may not know yet."""
        try:
            await self._connection.execute(f"SELECT pg_advisory_lock({LOCK})")
        except asyncpg.PostgresError as error:
            if sqlstate(error) == LOCK_REFUSED:
                raise CannotCopy("Another copy into the target is under way.") from error
            with self.may_fail():
                raise

    async def _require_alone(self) -> None:
        """Look again for a while, for the same reason."""
        gives_up_at = time.monotonic() + ALONE_SECONDS
        while await self.fetch(RUNNING) != [(0,)]:
            if time.monotonic() > gives_up_at:
                raise CannotCopy(f"The {self.role} is in use. {IN_USE}")
            await asyncio.sleep(ALONE_CHECK_SECONDS)

    @property
    def exists(self) -> bool:
        """Nobody makes one here."""
        return True

    async def close(self) -> None:
        """Disconnect; a server that does not answer is left."""
        connection, self._open = self._open, None
        if connection is not None:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=CLOSE_SECONDS)

    async def hold(self, tables: Sequence[str]) -> None:
        """Lock before the first look, so that what is seen is what stays."""
        names = ", ".join(f'"{name}"' for name in tables)
        try:
            await self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await self._connection.execute(f"LOCK TABLE {names} IN SHARE MODE")
        except asyncpg.PostgresError as error:
            if sqlstate(error) == LOCK_REFUSED:
                raise CannotCopy(f"The {self.role} is in use. {IN_USE}") from error
            with self.may_fail():
                raise

    async def tables(self) -> set[str]:
        """Name every table where ours would be made."""
        named = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()"
        return {str(name) for (name,) in await self.fetch(named)}

    async def fetch(self, statement: str, *arguments: object) -> list[Row]:
        """Run a statement that gives a few rows."""
        with self.may_fail():
            return [tuple(row) for row in await self._connection.fetch(statement, *arguments)]

    async def execute(self, statement: str, *arguments: object) -> None:
        """Run one that gives none."""
        with self.may_fail():
            await self._connection.execute(statement, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit what is done in it; a failure undoes it."""
        with self.may_fail():
            async with self._connection.transaction():
                yield

    async def rows(
        self, shape: Shape, *, after: Row | None = None, upto: Row | None = None
    ) -> AsyncIterator[list[Row]]:
        """Read a table through a cursor."""
        statement, arguments = self.select(shape, after, upto)
        with self.may_fail():
            cursor = await self._connection.cursor(statement, *arguments)
        while batch := await self._next(cursor):
            yield batch

    async def _next(self, cursor: "asyncpg.cursor.Cursor[Any]") -> list[Row]:
        with self.may_fail():
            return [tuple(row) for row in await cursor.fetch(BATCH_ROWS)]

    async def add(self, shape: Shape, rows: Sequence[Row]) -> None:
        """Insert rows by COPY."""
        times = [n for n, kind in enumerate(shape.kinds) if kind == "time"]
        with self.may_fail(shape.name):
            await self._connection.copy_records_to_table(
                shape.name, columns=shape.columns, records=[_as_stored(row, times) for row in rows]
            )

    async def empty(self, tables: Sequence[str]) -> None:
        """Delete all rows at once."""
        names = ", ".join(f'"{name}"' for name in tables)
        await self.execute(f"TRUNCATE {names}")

    async def guard(self, tables: Sequence[str]) -> None:
        """Have triggers refuse the others' statements; whoever writes now is waited for.

        Those that an earlier copy could not drop are used again.
        """
        names = ", ".join(f'"{name}"' for name in tables)
        await self.execute(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
        await self.execute(REFUSE)
        guarded = {name for (name,) in await self.fetch(GUARDED, GUARD)}
        for table in (table for table in tables if table not in guarded):
            await self.execute(
                f"CREATE TRIGGER {GUARD} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE "
                f'ON "{table}" FOR EACH STATEMENT EXECUTE FUNCTION {GUARD}()'
            )

    async def unguard(self) -> None:
        """Have them do nothing: dropping them would wait for whoever has read a table."""
        await self.execute(LET)

    async def tidy(self) -> None:
        """Drop them, unless somebody holds a table."""
        async with self.transaction():
            await self.execute(f"SET LOCAL lock_timeout = '{TIDY_LOCK}'")
            await self.execute(f"DROP FUNCTION IF EXISTS {GUARD}() CASCADE")

    async def record(self, tables: Sequence[str]) -> None:
        """Let the planner know: by itself the server may come to it in minutes."""
        names = ", ".join(f'"{name}"' for name in tables)
        await self.execute(f"ANALYZE {names}")

    def read_as(self, column: str, kind: str) -> str:
        """As SQLite stores it."""
        if kind == "time":
            return f'(extract(epoch FROM t."{column}") * 1000000)::bigint'
        return f't."{column}"::text' if kind in ("key", "document") else f't."{column}"'

    def nowhere(self, error: Exception) -> str | None:
        """Say that its name is wrong, or the user, or the password."""
        return no_database(error)

    def reason(self, error: Exception) -> str | None:
        """Say in what way the server is away."""
        is_lost = isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)
        if is_lost or isinstance(error, OSError):
            return unavailable_reason(error) or "The connection to it was lost."
        state = sqlstate(error)
        if state[:2] in UNAVAILABLE_CLASSES or state in UNAVAILABLE_CODES + CONFLICT_CODES:
            return unavailable_reason(error) or "It does not take this now."
        return None

    def refusal(self, error: Exception) -> str | None:
        """Say what the role may not do, or who is in the way."""
        if sqlstate(error) == LOCK_REFUSED:
            return HELD.format(role=self.role)
        if sqlstate(error) not in REFUSED_CODES:
            return None
        return MAY_NOT_CREATE if self.role == "target" else MAY_NOT_LOCK

    def is_about_values(self, error: Exception) -> bool:
        """Whether what was to be stored is at fault: class 22 is of data, 23 of constraints.

        What asyncpg itself cannot write down is a ValueError.
        """
        return isinstance(error, ValueError) or sqlstate(error)[:2] in ("22", "23")


def _as_stored(row: Row, times: Sequence[int]) -> Sequence[object]:
    """Write times as times; a key may stay text."""
    values: list[object] = list(row)
    for n in times:
        at = values[n]
        if isinstance(at, int):
            values[n] = EPOCH + timedelta(microseconds=at)
    return values


async def is_same(one: PostgresSide, other: PostgresSide) -> bool:
    """Whether both are one database, by whatever names: what one locks, the other cannot."""
    number = secrets.randbits(62)
    await one.fetch("SELECT pg_advisory_lock($1)::text", number)
    try:
        return await other.fetch("SELECT pg_try_advisory_lock($1)", number) == [(False,)]
    finally:
        await asyncio.gather(
            *(side.fetch("SELECT pg_advisory_unlock($1)", number) for side in (one, other))
        )
