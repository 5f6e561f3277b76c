"""How much disk one person takes: `python -m benchmarks.sizes`.

So many people sign up, by the code that an API process runs, in commits of many; then each
welcome is leased and its outcome recorded, as a worker does it. What the tables and their indexes
have grown by is divided by the number of people. On Postgres also what was written ahead (WAL),
which is what replicas and backups are sent; its server here writes no full-page images, which
come on top after each checkpoint.
"""

import asyncio
import random
import secrets
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import select, text

from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.migrate import migrate
from reach.db.transaction import Transaction
from reach.messages.outbox import Promise, promise
from reach.messages.outcome import Sent
from reach.messages.queue import AttemptOutcome, Held, lease_due
from reach.messages.recording import record_outcomes
from reach.people.address import parse_address
from reach.people.model import people
from reach.people.schemas import SignUp, Submission
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.servers.postgres import Postgres

PEOPLE, AT_ONCE = 50_000, 200
LEASE_SECONDS = 3600.0
NAMES = ("Ada Lovelace", "Jürgen Groß", "Mary", "Jean-Baptiste Lamarck", "李小龙", "Chidi")
#: About as long as those of a large provider.
REPLY = "OK  1764000000 ffacd0b85a97d-42b7f34c0d1si12345678f8f.123 - gsmtp"
TABLES = ("people", "messages", "attempts")
SQLITE_BYTES = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
POSTGRES_BYTES = "SELECT sum(pg_total_relation_size(c)) FROM unnest(ARRAY[{}]::regclass[]) AS c"
WAL_BYTES = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


def main() -> None:
    """Measure on both databases, and print a line a figure."""
    with tempfile.TemporaryDirectory() as folder, Postgres.private() as postgres:
        for name, url in (("SQLite", f"sqlite:///{folder}/s.sqlite3"), ("Postgres", postgres.url)):
            settings = Settings(
                data_dir=Path(folder),
                database_url=SecretStr(url),
                secret_key=SecretStr(secrets.token_hex(32)),
                database_seconds=60,
            )
            migrate(settings.database)
            asyncio.run(measure(name, settings))


async def measure(name: str, settings: Settings) -> None:
    """Measure on one database."""
    database = open_database(settings)
    try:
        empty = await size(database)
        ahead = await written_ahead(database)
        for first in range(0, PEOPLE, AT_ONCE):
            await database.write(sign_up_all, list(map(Submission, requests(first))), settings)
        show(name, "a person and the queued welcome", await size(database) - empty)
        await deliver(database, settings)
        sent = await size(database)
        show(name, "… the welcome sent, and the attempt", sent - empty)
        if ahead is not None:
            now = await written_ahead(database)
            show(name, "… written ahead (WAL), for all of it", (now or 0) - ahead)
        for first in range(0, PEOPLE, AT_ONCE):
            await database.write(promise_more, first, settings)
        await deliver(database, settings)
        show(name, "one more message and its attempt", await size(database) - sent)
    finally:
        await database.close()


async def deliver(database: Database, settings: Settings) -> None:
    """Do with every message what a worker does, the mail itself left out."""
    recorded = 0
    while held := await database.write(lease_due, limit=AT_ONCE, lease_seconds=LEASE_SECONDS):
        at = datetime.now(UTC)
        given = [
            AttemptOutcome(
                Held(one.id, one.lease), "worker-1:1", at, at, Sent(REPLY, 250, "2.0.0"), 0
            )
            for one in held
        ]
        recorded += len(await database.write(record_outcomes, given, settings))
    assert recorded == PEOPLE, recorded


def promise_more(tx: Transaction, first: int, settings: Settings) -> None:
    """Promise a link to some of them."""
    some = select(people.c.id, people.c.email).order_by(people.c.id).limit(AT_ONCE).offset(first)
    found = tx.execute(some).all()
    promise(tx, [Promise(one.id, one.email, "manage-link", {}) for one in found], settings)


def show(name: str, what: str, count: int) -> None:
    """Print a figure: bytes for one person."""
    print(f"{name:8} {what:38} {count / PEOPLE:6.0f} bytes")


def requests(first: int, count: int = AT_ONCE) -> list[SignUp]:
    """Make up people whose names and addresses are as long as most."""
    return [
        SignUp.model_construct(
            email=parse_address(f"some.person.{number}@mail.example.com", smtputf8=True),
            name=random.choice(NAMES),
            description=None,
        )
        for number in range(first, first + count)
    ]


async def size(database: Database) -> int:
    """How many bytes the tables take with their indexes (SQLite: the file)."""
    named = ", ".join(f"'{table}'" for table in TABLES)
    found = await database.read(ask, SQLITE_BYTES, POSTGRES_BYTES.format(named))
    return int(found or 0)


async def written_ahead(database: Database) -> int | None:
    """How many bytes of WAL there have ever been; None on SQLite, which uses its file again."""
    found = await database.read(ask, "SELECT NULL", WAL_BYTES)
    return None if found is None else int(found)


def ask(tx: Transaction, sqlite: str, postgres: str) -> float | None:
    """Ask each in its own words."""
    statement = sqlite if tx.dialect.name == "sqlite" else postgres
    found: float | None = tx.execute(text(statement)).scalar_one()
    return found


if __name__ == "__main__":
    main()
