"""Databases to copy between: filled by SQL, and looked into by SQL of our own."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from reach.auth import keys
from reach.db import sqlite_connection, sqlite_files
from reach.db.schema import newest
from reach.settings.database_url import DatabaseUrl
from reach.transfer import Watcher
from reach.transfer.copy import KEPT, copy
from tests.support.database.databases import elsewhere


@dataclass(frozen=True)
class Place:
    """A database, of either kind."""

    url: str

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.url.startswith("sqlite")

    @property
    def file(self) -> Path:
        """The file, of SQLite."""
        return Path(self.url.removeprefix("sqlite:///"))

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; what the last one gives."""
        if self.is_sqlite:
            with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
                connection.execute("PRAGMA foreign_keys=ON")
                return [connection.execute(one).fetchall() for one in statements][-1]

        async def fetch() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(self.url, timeout=20)
            try:
                return [[tuple(row) for row in await connection.fetch(one)] for one in statements][
                    -1
                ]
            finally:
                await connection.close()

        return elsewhere(fetch())

    def count(self, table: str) -> int:
        """How many rows a table has."""
        ((found,),) = self.run(f"SELECT count(*) FROM {table}")
        return int(found)

    @property
    def revision(self) -> str:
        """What it says that it is at."""
        ((found,),) = self.run("SELECT version_num FROM alembic_version")
        return str(found)

    def on_adding(self, table: str, n: int, statement: str) -> None:
        """Have a statement run when the row of a number is added: something happens to it."""
        group = {"people": "8000", "messages": "9000", "attempts": "a000"}[table]
        id_ = f"'01900000-0000-7000-{group}-{n:012x}'"
        if self.is_sqlite:
            self.run(
                f"CREATE TRIGGER test AFTER INSERT ON {table} WHEN NEW.id = {id_} "
                f"BEGIN {statement}; END"
            )
            return
        self.run(
            "CREATE FUNCTION test() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {statement}; RETURN NULL; END $$",
            f"CREATE TRIGGER test AFTER INSERT ON {table} FOR EACH ROW WHEN (NEW.id = {id_}) "
            "EXECUTE FUNCTION test()",
        )

    def get_stuck(self, table: str, n: int) -> None:
        """Have nothing go on when the row of a number is added."""
        endless = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)"
        statement = f"SELECT count(*) FROM ({endless} SELECT n FROM n)"
        self.on_adding(table, n, statement if self.is_sqlite else "PERFORM pg_sleep(100000)")

    def be_well(self, table: str) -> None:
        """Have nothing happen any more."""
        on = "" if self.is_sqlite else f" ON {table}"
        self.run(f"DROP TRIGGER test{on}")
        if not self.is_sqlite:
            self.run("DROP FUNCTION test()")


def copied(source: Place, target: Place, watcher: Watcher | None = None) -> Mapping[str, int]:
    """Copy in this process; how many rows each table has."""

    async def run() -> Mapping[str, int]:
        source_url, target_url = map(DatabaseUrl.parse, (source.url, target.url))
        return await copy(source_url, target_url, watcher or Watcher())

    return asyncio.run(run())


def is_untouched(target: Place) -> bool:
    """Whether a target has no row, and may be used."""
    counted = "SELECT coalesce(sum(count), 0) FROM counters"
    return (
        target.run(counted) == [(0,)]
        and not any(target.count(table.name) for table in KEPT)
        and target.revision == newest()
    )


class Noted(Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.noted: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.noted.append(text)


ADA = (
    "INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at, "
    "version) VALUES ('{}', 'ada@example.com', 'ada@example.com', 'Ada', 0, {now}, {now}, 1)"
)


NOW = 1_750_000_000_000_000


FIRST, LAST = (f"{n}0000000-0000-7000-8000-000000000000" for n in "0f")


#: Two thirds of the messages are sent, in these steps, so that there are deliveries to count.
NUMBERS = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :people) "
#: A time in the last days, no two alike.
AT = "(:now - n * 1000003)"
DATA = '{"b": [1.50, 1e20, -0.0, 12345678901234567890], "a": {"é": "\\u2028", "": null}, "c": true}'
PEOPLE = """INSERT INTO people (id, email, email_key, name, description, confirmed_at,
    links_version, language, greeted_at, created_at, updated_at, version, typed_version, consent,
    consented_at)
    SELECT printf('01900000-0000-7000-8000-%012x', n), 'P' || n || '@example.com',
    'p' || n || '@example.com', 'Zoë ' || n, CASE WHEN n % 3 THEN NULL ELSE 'ça va — 漢字' END,
    CASE WHEN n % 2 THEN :at END, n % 5, NULL, :at, :at, :at + 1, 1 + n % 3,
    CASE WHEN n % 4 THEN 1 END, CASE WHEN n % 4 THEN '{"form": "page", "wording": "a"}' END,
    CASE WHEN n % 5 = 1 THEN :at END FROM n"""
MESSAGES = """INSERT INTO messages (id, person_id, template, data, recipient, state, due_at, lease,
    recorded_lease, attempts, failures, first_failed_at, message_id, created_at, finished_at,
    last_error, trace_context)
    SELECT printf('01900000-0000-7000-9000-%012x', n), printf('01900000-0000-7000-8000-%012x', n),
    'welcome', CASE WHEN n % 4 THEN '{}' ELSE :data END, 'p' || n || '@example.com',
    CASE WHEN n % 10 THEN 'queued' ELSE 'failed' END, :at, 1, 1, 1, 0, NULL,
    '<' || n || '@example.com>', :at, NULL, NULL, NULL FROM n"""
SENT = """UPDATE messages SET state = 'sent', finished_at = created_at + 123456
    WHERE state = 'queued' AND unicode(substr(id, -1)) % 3"""
ATTEMPTS = """INSERT INTO attempts (id, message_id, worker, started_at, finished_at, outcome,
    smtp_code, enhanced_code, text)
    SELECT printf('01900000-0000-7000-a000-%012x', n), printf('01900000-0000-7000-9000-%012x', n),
    'w', :at, :at + 1, 'sent', CASE WHEN n % 2 THEN 250 END, NULL, 'OK: « reçu »' FROM n"""
KEYS = """INSERT INTO idempotency_keys (caller, route, key, fingerprint, person_id, status, headers,
    body, created_at)
    SELECT 'c', '/v1/people', char(64 + n) || n, 'f', printf('01900000-0000-7000-8000-%012x', n),
    201, '{"ETag": "\\"1\\""}', '{"a": 1}', :now FROM n WHERE n < 300"""
LINKS = """INSERT INTO link_requests (id, email_key, created_at, trace_context)
    SELECT printf('01900000-0000-7000-b000-%012x', n), 'p' || n || '@example.com', :at,
    CASE WHEN n % 2 THEN '00-' || n END FROM n WHERE n < 50"""
#: To a maker, and about nobody alone.
NOTICES = """UPDATE messages SET person_id = NULL, template = 'notice'
    WHERE unicode(substr(id, -1)) % 5 = 1"""
TOLD = """INSERT INTO notices (address, told, told_at, unnamed_since, message_id)
    SELECT n || '@example.org', '{"492144": ' || n || '}', :at, :at - 1,
    CASE WHEN n % 2 THEN printf('01900000-0000-7000-9000-%012x', n) END FROM n WHERE n < 4"""
MOVES = """INSERT INTO address_changes (person_id, email, email_key, number, created_at, ends_at)
    SELECT printf('01900000-0000-7000-8000-%012x', n), 'N' || n || '@example.com',
    'n' || n || '@example.com', n, :at, :at + n FROM n WHERE n < 50"""
BUDGETS = """INSERT INTO recipient_budgets (recipient, sent, last_at)
    SELECT 'r' || n, '[1.5, 1762470000.25]', :at FROM n WHERE n < 50"""
AUDIT = """INSERT INTO audit (id, at, actor_kind, actor, via, action, subject, count, details)
    SELECT printf('01900000-0000-7000-c000-%012x', n), :at, 'oidc', 'Zoë ' || n, 'console',
    'person.change', CASE WHEN n % 2 THEN printf('01900000-0000-7000-8000-%012x', n) END, n,
    '{"fields": ["name"]}' FROM n WHERE n < 50"""
WORDINGS = """INSERT INTO consent_wordings (id, text, created_at)
    SELECT char(96 + n), 'Sign up: « oui »', :at FROM n WHERE n < 4"""
PROOFS = "INSERT INTO proofs (nonce, used_at) SELECT 'n' || n, :now FROM n WHERE n < 100"


FILLED = (
    *(PEOPLE, MESSAGES, ATTEMPTS, KEYS, LINKS, MOVES, BUDGETS, PROOFS, TOLD),
    *(AUDIT, WORDINGS),
)


def fill(file: Path, people: int) -> str:
    """Fill a migrated file with so many people, as many messages and attempts.

    Returns an operator's key that it knows.
    """
    given = {"people": people, "now": time.time_ns() // 1000, "data": DATA}
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        for rows in FILLED:
            into, _, select = rows.partition("SELECT")
            connection.execute(f"{into}{NUMBERS}SELECT{select}".replace(":at", AT), given)
        connection.execute(SENT)
        connection.execute(NOTICES)
        connection.execute("COMMIT")
    key = keys.generate()
    with sqlite_connection.create(
        sqlite_files.Place(file), busy_seconds=5, writes=True
    ).begin() as tx:
        keys.add(tx, key, "test", keys.SCOPES)
    return key


def different(one: Path, other: Path) -> str | None:
    """Name the first row in which two files differ, read side by side; None if none does."""
    with closing(sqlite3.connect(one)) as here, closing(sqlite3.connect(other)) as there:
        for table in KEPT:
            order = ", ".join(column.name for column in table.primary_key)
            read = f"SELECT * FROM {table.name} ORDER BY {order}"
            for a, b in _side_by_side(here.execute(read), there.execute(read)):
                if a != b and _parsed(a) != _parsed(b):
                    return f"{table.name}: {a} {b}"
        hourly = "SELECT name, hour, sum(count) FROM counters GROUP BY 1, 2 HAVING sum(count) <> 0"
        a, b = (set(file.execute(hourly)) for file in (here, there))
        return f"counters: {a ^ b}" if a != b else None


def _side_by_side(one: Iterator[Any], other: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    nothing = object()
    while True:
        a, b = next(one, nothing), next(other, nothing)
        if a is b is nothing:
            return
        yield a, b


def _parsed(row: tuple[Any, ...]) -> list[Any]:
    """Documents mean the same, however they are written."""
    return [json.loads(v) if isinstance(v, str) and v[:1] in ("{", "[") else v for v in row]


def counts(file: Path) -> dict[str, int]:
    """How many rows each table has."""
    with closing(sqlite3.connect(file)) as connection:
        return {
            table.name: connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]
            for table in KEPT
        }
