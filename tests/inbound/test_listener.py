"""What a mail server is answered that hands us reports, and what is on disk by then."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

import pytest
from prometheus_client import REGISTRY

from reach.db.database import Database
from reach.inbound.connection import MOST_BYTES, MOST_RECIPIENTS
from reach.inbound.listener import MOST_CONNECTIONS, listening
from reach.settings import Settings
from reach.settings.inbound import Bind
from tests.support.clock import eventually
from tests.support.database.stored import addresses
from tests.support.inbound import dsn, send, states, suppressed, taking_reports
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port

COMPLAINTS = "complaints@mail.example.org"
TAKEN, NOT_OURS = "250 2.0.0 Taken", "550 5.1.1 No reports are taken here for this address"
GO_AHEAD = "354 End with a line that holds a dot alone"
STOPPING = "421 4.3.2 Stopping, try again"
END = b"\r\n.\r\n"
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with a place where reports come in."""
    places = {"return_path": "bounces@mail.example.org", "complaints_address": COMPLAINTS}
    return settings.model_copy(update={**places, "inbound_bind": f"lmtp://127.0.0.1:{free_port()}"})


class Client:
    """A mail server that speaks to us, one line at a time, or many at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, settings: Settings) -> Self:
        """Connect."""
        bind = settings.bind
        assert bind is not None
        if bind.path:
            return cls(*await asyncio.open_unix_connection(bind.path))
        return cls(*await asyncio.open_connection(bind.host, bind.port))

    @classmethod
    @asynccontextmanager
    async def of(cls, settings: Settings) -> AsyncIterator[Self]:
        """Connect, and be greeted."""
        client = await cls.connect(settings)
        try:
            assert (await client.hear())[0].startswith("220 ")
            yield client
        finally:
            client.close()

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def say(self, *lines: str | bytes, answers: int = 1) -> list[str]:
        """Say all of it at once; gives the last line of each answer."""
        data = [one if isinstance(one, bytes) else f"{one}\r\n".encode() for one in lines]
        self._writer.write(b"".join(data))
        return await self.hear(answers)

    async def hear(self, answers: int = 1) -> list[str]:
        """Wait for so many answers; gives the last line of each; empty: it hung up."""
        heard: list[str] = []
        async with asyncio.timeout(20):
            while len(heard) < answers:
                line = (await self._reader.readline()).decode()
                if line[3:4] != "-":
                    heard.append(line.rstrip())
        return heard

    async def deliver(self, mail: bytes, *recipients: str) -> list[str]:
        """Deliver a mail, as with PIPELINING: what is said of each recipient at last."""
        to = [f"RCPT TO:<{one}>" for one in recipients]
        heard = await self.say("MAIL FROM:<>", *to, "DATA", answers=len(to) + 2)
        assert heard == ["250 OK", *["250 2.1.5 OK"] * len(to), GO_AHEAD]
        return await self.say(mail.rstrip() + END, answers=len(to))


def counted(name: str, **labels: str) -> float:
    """What a counter has come to."""
    return REGISTRY.get_sample_value(f"reach_inbound_{name}_total", labels) or 0


async def test_each_recipient_has_an_answer_of_their_own(
    settings: Settings, database: Database, tmp_path: object
) -> None:
    """And a report of their own message; what is forged, or told again, changes nothing."""
    settings = settings.model_copy(update={"inbound_bind": f"lmtp+unix://{tmp_path}/socket"})
    ada, bob, eve = await send(settings, database, "ada@example.com", "bob@example.com", "e@x.org")
    local, _, domain = eve.partition("@")
    forged = f"{local[:-2]}{'a' if local[-2] != 'a' else 'b'}{local[-1]}@{domain}"
    async with taking_reports(settings, database), Client.of(settings) as client:
        assert await client.say("LHLO mail.example.org") == ["250 HELP"]
        strangers = ["postmaster@mail.example.org", "bounces@example.org", "bouncesx@x.org"]
        heard = await client.say(
            "MAIL FROM:<> SIZE=2000 BODY=8BITMIME SMTPUTF8",
            *(f"RCPT TO:<{one}>" for one in (*strangers, ada.upper(), bob, forged)),
            "DATA",
            answers=8,
        )
        assert heard == ["250 OK", *[NOT_OURS] * 3, *["250 2.1.5 OK"] * 3, GO_AHEAD]
        mail = dsn(ada)
        assert await client.say(mail.rstrip() + END, answers=3) == [TAKEN] * 3
        assert await states(database) == ["bounced", "bounced", "sent"]
        assert await suppressed(database) == ["ada@example.com", "bob@example.com"]
        before = counted("mails", sort="other")
        assert await client.deliver(mail, ada, forged) == [TAKEN] * 2
        assert await client.deliver(b"Subject: hello\r\n\r\nIs it you?", COMPLAINTS) == [TAKEN]
        assert counted("mails", sort="other") == before + 1
        assert await states(database) == ["bounced", "bounced", "sent"]
        assert await client.say("QUIT") == ["221 Bye"]


@only_sqlite
async def test_smtp_answers_once_and_all_is_bounded(settings: Settings, database: Database) -> None:
    """Too many connections, recipients and bytes are refused, and what is begun goes on."""
    bind = settings.inbound_bind.replace("lmtp", "smtp")
    settings = settings.model_copy(update={"inbound_bind": bind})
    ada, bob = await send(settings, database, "ada@example.com", "bob@example.com")
    async with taking_reports(settings, database) as stop, Client.of(settings) as client:
        assert await client.say("EHLO mail.example.org") == ["250 HELP"]
        many = [f"RCPT TO:<{ada}>"] * (MOST_RECIPIENTS + 1)
        heard = await client.say("MAIL FROM:<>", *many, "RSET", answers=len(many) + 2)
        assert heard[-2:] == ["452 4.5.3 Too many recipients", "250 OK"]
        line = b"x" * 40_000 + b"\r\n"
        too_long = line * (MOST_BYTES // len(line) + 1)
        await client.say("MAIL FROM:<>", f"RCPT TO:<{ada}>", "DATA", answers=3)
        assert await client.say(too_long + END) == ["552 5.3.4 Longer than 10 MiB"]

        others = await asyncio.gather(*(Client.connect(settings) for _ in range(60)))
        greeted = [(await other.hear())[0][:4] for other in others]
        assert greeted.count("220 ") == MOST_CONNECTIONS - 1
        assert set(greeted) == {"220 ", "421 "}
        heard = await client.say(
            "MAIL FROM:<>", *(f"RCPT TO:<{one}>" for one in (ada, bob)), "DATA", answers=4
        )
        stop.ask()
        for other, greeting in zip(others, greeted, strict=True):
            assert await other.hear() == ([STOPPING] if greeting == "220 " else [""])
            other.close()
        assert await client.say(dsn(ada).rstrip() + END, answers=2) == [
            TAKEN,
            STOPPING,
        ]
    assert await states(database) == ["bounced", "bounced"]


@only_sqlite
async def test_what_is_answered_is_on_disk(settings: Settings, database: Database) -> None:
    """Killed amid many, it has what it answered; told all of it again, it has each once."""
    people = addresses(40)
    sent = await send(settings, database, *people)
    answered: list[str] = []

    async def tell(paths: Sequence[str]) -> None:
        async with Client.of(settings) as client:
            await client.say("LHLO mail.example.org")
            for path in paths:
                if await client.deliver(dsn(path), path) != [TAKEN]:
                    return
                answered.append(path)

    async def tell_all() -> None:
        await asyncio.gather(*(tell(sent[n::4]) for n in range(4)), return_exceptions=True)

    with ReachProcess("inbound", settings=settings) as process:
        await eventually(lambda: "inbound started" in process.output, 20)
        telling = asyncio.create_task(tell_all())
        await eventually(lambda: len(answered) > 5, every=0.001)
        process.kill()
        await telling
        assert (await states(database)).count("bounced") >= len(answered)
        assert len(answered) < len(sent)
        process.start()
        await eventually(lambda: process.output.count("inbound started") == 2, 20)
        await tell_all()
        assert await states(database) == ["bounced"] * len(sent)
        assert await suppressed(database) == sorted(people)
        assert process.stop() == 0


def test_a_socket_is_taken_from_no_process_that_listens(tmp_path: Path) -> None:
    """One of a process that ended is replaced, and is not removed by that one afterwards."""
    bind = Bind("lmtp", path=str(tmp_path / "lmtp"))
    with ExitStack() as first, ExitStack() as second:
        listener = first.enter_context(listening(bind))
        with pytest.raises(OSError, match="in use"):
            second.enter_context(listening(bind))
        listener.close()  # as when it stops, and finishes what is coming in
        second.enter_context(listening(bind))
        first.close()
        assert Path(bind.path).is_socket()
    assert not Path(bind.path).exists()
