"""Somebody who moves their record to another address."""

from typing import Any

import httpx
from sqlalchemy import select, update

from reach.db.transaction import Transaction
from reach.messages.model import Message, messages
from reach.people.address_changes import address_changes as changes
from reach.people.model import Person
from tests.support.database.stored import messages_in
from tests.support.people import by_link, new_address_token, signed_up, token_of
from tests.support.processes.reach import Reach

ADA, NEW = "ada@example.com", "ada@example.org"


class Mover:
    """Somebody who has their link, and asks for other addresses."""

    def __init__(self, reach: Reach, person: Person, version: int = 0) -> None:
        """Take whose record it is."""
        self.reach, self.person = reach, person
        self.by_link = by_link(token_of(reach.settings, person.id, version=version))

    async def ask(self, email: str = NEW, **headers: str) -> httpx.Response:
        """Ask for the record to move."""
        both = {**self.by_link, **headers}
        return await self.reach.http.post("/v1/me/email", json={"email": email}, headers=both)

    async def token(self) -> str:
        """Mint the token that the newest email to the new address has."""
        return await new_address_token(self.reach, self.person.id)

    async def say_yes(self, token: str) -> httpx.Response:
        """Press the button of the page of the link to the new address."""
        url = "/v1/me/email/confirmation"
        return await self.reach.http.post(url, headers=by_link(token))

    async def stop(self, token: str | None = None) -> httpx.Response:
        """Stop it, by one's own link or another one."""
        by = self.by_link if token is None else by_link(token)
        return await self.reach.http.delete("/v1/me/email", headers=by)

    async def me(self) -> dict[str, Any]:
        """Look at one's record."""
        answer = await self.reach.http.get("/v1/me", headers=self.by_link)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def owed(self, state: str | None = None) -> list[Message]:
        """What emails there are of the person, the oldest first."""
        theirs = [
            m for m in await messages_in(self.reach.database) if m.person_id == self.person.id
        ]
        return [m for m in theirs if state in (None, m.state)]


async def mover(reach: Reach, email: str = ADA, *, is_sent: bool = True) -> Mover:
    """Sign somebody up; their welcome was sent, unless that is not wanted."""
    found = Mover(reach, await signed_up(reach, email))
    if is_sent:
        await reach.database.write(lambda tx: tx.execute(update(messages).values(state="sent")))
    return found


def stored(tx: Transaction) -> list[Any]:
    """Every change of address that is under way."""
    return list(tx.execute(select(changes)).all())
