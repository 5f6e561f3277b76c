"""What the maker is told of sign-ups, and the time that has to pass before it."""

from typing import Any

from sqlalchemy import select, update

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.messages.model import NOTICE, Message, messages
from reach.people import notices
from reach.people.notices import tell
from reach.settings import Settings
from tests.support.database.stored import messages_in
from tests.support.servers.mail import MailServer

MAKER, OTHER = "maker@example.org", "other@example.org"


async def later(database: Database, seconds: float = 61) -> None:
    """Have all that was told be so much longer ago."""

    def move(tx: Transaction) -> None:
        columns = notices.notices.c
        for row in tx.execute(select(columns.address, columns.told_at, now())).all():
            age = (row[2] - row.told_at).total_seconds()
            moved = update(notices.notices).where(columns.address == row.address)
            tx.execute(moved.values(told_at=now(-age - seconds)))
        ended = messages.c.finished_at.is_not(None) & (messages.c.template == NOTICE)
        tx.execute(update(messages).where(ended).values(finished_at=now(-seconds)))

    await database.write(move)


async def finish(database: Database, state: str = "sent") -> None:
    """Have all messages brought to their end."""
    ended = update(messages).where(messages.c.state == "queued")
    await database.write(lambda tx: tx.execute(ended.values(state=state, finished_at=now())))


async def told_in(database: Database) -> list[Message]:
    """Every notice, the oldest first."""
    return [one for one in await messages_in(database) if one.template == NOTICE]


async def hear(database: Database, settings: Settings) -> list[tuple[int, str | None]]:
    """Have the maker told of what there is, once it is time: of how many, and of whom."""
    before = len(await told_in(database))
    await finish(database)
    await later(database)
    await database.write(tell, settings)
    return [
        (one.data["count"], one.data["person"] and one.data["person"]["email"])
        for one in (await told_in(database))[before:]
    ]


def notices_at(mail_server: MailServer, address: str = MAKER) -> list[Any]:
    """What an address has heard."""
    return [mail for mail in mail_server.messages if mail.recipient == address]
