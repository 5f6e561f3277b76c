"""What the database holds: put there in bulk, and looked at as it is."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, event, func, insert, select

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import metadata, now
from reach.messages.model import Attempt, Message, attempts, messages
from reach.people import record
from reach.people.address import parse_address
from reach.people.model import people
from reach.people.schemas import SignUp, Submission
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.clock import eventually


async def sign_up(
    database: Database, settings: Settings, *addresses: str, name: str = "Ada"
) -> None:
    """Sign up everybody at these addresses in one transaction, as a busy API process would."""
    requests = [
        SignUp.model_construct(
            email=parse_address(address, smtputf8=True), name=name, description=None
        )
        for address in addresses
    ]
    await database.write(sign_up_all, [Submission(one) for one in requests], settings)


async def confirm_everybody(database: Database) -> None:
    """Note of everybody that their address is theirs."""

    def confirm_all(tx: Transaction) -> None:
        for person_id in tx.execute(select(people.c.id)).scalars().all():
            record.confirm(tx, person_id)

    await database.write(confirm_all)


async def add_old_people(database: Database, *people_: Mapping[str, Any]) -> Sequence[UUID]:
    """Add people who signed up yesterday, a millisecond apart: the ids, in order.

    Each has at least an email; what is left out is as for Ada, who has not confirmed.
    """
    began = int((time.time() - 86_400) * 1000)
    ids = [UUID(int=(began + n) << 80 | 7 << 76 | 2 << 62 | n) for n in range(len(people_))]
    common = {"name": "Ada", "language": None, "confirmed_at": None}
    fixed = {"links_version": 0, "version": 1, "updated_at": now()}
    fixed |= {} if "created_at" in people_[0] else {"created_at": now()}
    given = [
        {**common, "id": id_, "email_key": one["email"].lower(), **one}
        for id_, one in zip(ids, people_, strict=True)
    ]

    def add(tx: Transaction) -> None:
        tx.execute(insert(people).values(fixed), given)

    await database.write(add)
    return [one["id"] for one in given]


def addresses(count: int, name: str = "ada") -> list[str]:
    """Make up so many addresses."""
    return [f"{name}{number}@example.com" for number in range(count)]


async def messages_in(database: Database) -> Sequence[Message]:
    """List every message, the oldest first."""

    def all_messages(tx: Transaction) -> Sequence[Message]:
        found = tx.execute(select(messages).order_by(messages.c.id))
        return [Message(**row) for row in found.mappings()]

    return await database.read(all_messages)


async def attempts_in(database: Database) -> Sequence[Attempt]:
    """List every attempt at any message, the oldest first."""

    def all_attempts(tx: Transaction) -> Sequence[Attempt]:
        found = tx.execute(select(attempts).order_by(attempts.c.id))
        return [Attempt(**row) for row in found.mappings()]

    return await database.read(all_attempts)


async def people_in(database: Database) -> Sequence[str]:
    """List every person's address, as typed."""

    def all_people(tx: Transaction) -> Sequence[str]:
        return tx.execute(select(people.c.email).order_by(people.c.id)).scalars().all()

    return await database.read(all_people)


async def released_in(database: Database) -> int:
    """Count the messages that a worker has held and given back, to be sent by anybody at once."""

    def count(tx: Transaction) -> int:
        given_back = (messages.c.lease > 0) & (messages.c.lease == messages.c.recorded_lease)
        due = (messages.c.state == "queued") & (messages.c.due_at <= now())
        return tx.execute(select(func.count()).where(given_back, due)).scalar_one()

    return await database.read(count)


async def all_sent(database: Database, seconds: float = 30) -> Sequence[Message]:
    """Wait until every message is sent, and return them."""

    async def unsent() -> Iterable[Message]:
        return [message for message in await messages_in(database) if message.state != "sent"]

    async def none_unsent() -> bool:
        return not await unsent()

    await eventually(none_unsent, seconds, every=0.05)
    return await messages_in(database)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Note every statement that is executed meanwhile."""
    found: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def everything(tx: Transaction) -> dict[str, list[Any]]:
    """Every row of every table but operators' keys and audit trail, and counters, of everybody."""
    return {
        table.name: [tuple(row) for row in tx.execute(table.select())]
        for table in metadata.sorted_tables
        if table.name not in ("api_keys", "audit", "counters")
    }


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file in a folder."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
