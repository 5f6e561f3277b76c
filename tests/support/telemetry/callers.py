"""Callers of every kind, who go on calling whatever breaks: each metric has something to count."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx

from reach.settings import Settings
from tests.support.bodies.raw import connection, request
from tests.support.mail import DROP, MailServer, Reply
from tests.support.mail_session import Session
from tests.support.promises.running import client

SIGN_UPS = "/v1/signups"
#: Where each kind of caller calls from; those not named here come from anywhere.
ONE_PLACE = {"impatient": "203.0.113.1", "thief": "203.0.113.2"}
EACH_ROUND = 3
MORE_THAN_MAY_WAIT = 20


class Callers:
    """Rounds of calls: in each, ``EACH_ROUND`` callers of every kind, all at the same time."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings) -> None:
        self._http = http
        self._settings = settings
        self._callers = 0

    @classmethod
    @asynccontextmanager
    async def at(cls, settings: Settings) -> AsyncIterator["Callers"]:
        """Get ready to call the API of ``settings``."""
        async with client(settings) as http:
            yield cls(http, settings)

    async def go_on(self, between: Callable[[], Awaitable[object]]) -> None:
        """Call for ever, with ``between`` between rounds."""
        while True:
            kinds = [self.people, self.known, self.spammer, self.mistaken]
            kinds += [self.impatient, self.thief, self.gone, self.scanner, self.greedy]
            await asyncio.gather(*(kind() for kind in kinds * EACH_ROUND))
            await between()

    async def people(self) -> None:
        """Sign up, at servers that take mail, refuse it, put it off, or fall silent after it."""
        for server in ("good", "refusing", "later", "unknown"):
            await self._sign_up(server)

    async def known(self) -> None:
        """Sign up again and again."""
        await self._sign_up("known", address="known@good.example")

    async def spammer(self) -> None:
        """Fill in what people do not see."""
        await self._sign_up("spammer", motto="https://buy.example")

    async def mistaken(self) -> None:
        """Mistype."""
        await self._sign_up("mistaken", address="no address")

    async def impatient(self) -> None:
        """Come too often."""
        await self._sign_up("impatient")

    async def thief(self) -> None:
        """Try a key."""
        headers = {**self._from("thief"), "Authorization": "Bearer rk_of_nobody"}
        await self._http.get("/v1/people", headers=headers)

    async def gone(self) -> None:
        """Hang up in the middle of a sign-up."""
        forwarded = self._from("gone")["X-Forwarded-For"]
        headers = ("Content-Type: application/json", "Content-Length: 99", "Expect: 100-continue")
        async with connection(self._settings.port) as (reader, writer):
            writer.write(request(SIGN_UPS, f"X-Forwarded-For: {forwarded}", *headers))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(json.dumps({"email": "gone@good.example"}).encode())

    async def scanner(self) -> None:
        """Say what is no HTTP; while no process serves, to nobody."""
        with suppress(OSError, asyncio.IncompleteReadError):
            async with connection(self._settings.port) as (reader, writer):
                writer.write(b"no HTTP\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")

    async def greedy(self) -> None:
        """Ask for more at once than one connection may; while no process serves, nobody."""
        with suppress(OSError, asyncio.IncompleteReadError):
            async with connection(self._settings.port) as (reader, writer):
                writer.write(request("/livez", method="GET") * MORE_THAN_MAY_WAIT)
                await reader.read()

    async def _sign_up(self, kind: str, address: str = "", **more: str) -> None:
        headers = self._from(kind)
        email = address or f"{self._callers}@{kind}.example"
        await self._http.post(
            SIGN_UPS, json={"email": email, "name": "Ada", **more}, headers=headers
        )

    def _from(self, kind: str) -> dict[str, str]:
        self._callers += 1
        anywhere = f"10.{self._callers >> 16}.{self._callers >> 8 & 255}.{self._callers & 255}"
        return {"X-Forwarded-For": ONE_PLACE.get(kind, anywhere)}


def refuse(server: MailServer) -> None:
    """Have our mail server say what each caller's own would have it say."""

    def to_recipient(_: Session, argument: str) -> Reply:
        if "@refusing." in argument:
            return "550 5.1.1 No such mailbox"
        return "450 4.2.1 Come again" if "@later." in argument else None

    def when_accepted(_: Session, __: str) -> Reply:
        recipient = server.messages[-1].recipient
        return (
            DROP if "@unknown." in recipient and server.recipients.count(recipient) == 1 else None
        )

    server.script |= {"rcpt": to_recipient, "accepted": when_accepted}
