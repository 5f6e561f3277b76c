"""Postfix and Exim as they come, and set up wrong: nobody's message fails for it."""

import os
import re
import shutil
import smtplib
import tempfile
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from reach.db.database import Database
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import addresses, all_sent, messages_in, sign_up
from tests.support.processes.ports import free_port
from tests.support.processes.reach import running_worker
from tests.support.root import ROOT
from tests.support.servers.postfix import Postfix, postfix
from tests.support.servers.server import Program

#: Whatever it takes it appends to one file, but for what it queues.
EXIM = (ROOT / "deploy" / "tests" / "exim.conf").read_text(encoding="utf-8")


class NoExim(Exception):
    """No Exim can be had here; ``args[0]`` says why."""


class Exim(Program):
    """Exim as it comes, but for where it lies. Raises NoExim."""

    def __init__(self) -> None:
        """Write its configuration."""
        found = shutil.which("exim4")
        if os.geteuid() != 0 or found is None:
            raise NoExim("Exim needs root, and Debian's package exim4-daemon-light")
        super().__init__()
        self._program = found
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="exim-"))
        self.folder.chmod(0o755)
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, "nobody", "nogroup")
        self._configuration = self.folder / "exim.conf"
        self._configuration.write_text(EXIM.format(folder=self.folder, port=self.port))

    @property
    def url(self) -> str:
        """What REACH_SMTP_URL is for it."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def delivered(self) -> int:
        """How many messages it has delivered."""
        file = self.folder / "spool" / "delivered"
        return file.read_text().count("\nMessage-ID: ") if file.exists() else 0

    @property
    def log(self) -> str:
        """What it has written to its log so far."""
        return (self.folder / "log" / "mainlog").read_text()

    def command(self) -> list[str]:
        """Say how it is started."""
        return [self._program, "-C", str(self._configuration), "-bdf", "-q1h"]

    def is_ready(self) -> bool:
        """Whether it greets."""
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=1):
                return True
        except OSError:
            return False

    def close(self) -> None:
        """End it, and remove its folder."""
        super().close()
        shutil.rmtree(self.folder)


#: These are about mail servers, and slow: ``test_about_us`` is on both databases.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
SENDER = "reach@example.org"


def to(server: Postfix | Exim, settings: Settings) -> Settings:
    """Settings that send by this server, and try again soon."""
    return settings.model_copy(
        update={
            "smtp_url": SecretStr(server.url),
            "mail_from": SENDER,
            "breaker_first_seconds": 0.1,
            "breaker_cap_seconds": 0.5,
            "retry_first_seconds": 0.1,
        }
    )


def taken(server: Postfix) -> list[str]:
    """To whom Postfix has sent something, in order."""
    return re.findall(r"discard\[.*to=<([^>]*)>.*status=sent", server.log)


WRONG = {
    "sender": (
        {"smtpd_sender_restrictions": f"check_sender_access inline:{{{SENDER}=REJECT}}"},
        {"smtpd_sender_restrictions": ""},
        "Sender address rejected",
    ),
    "relay, 454": ({"mynetworks": "192.0.2.1"}, {"mynetworks": "127.0.0.1"}, "Relay access denied"),
    "relay, 554": (
        {"mynetworks": "192.0.2.1",
         "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination"},
        {"mynetworks": "127.0.0.1"},
        "Relay access denied",
    ),
    "unlisted": (
        {"mydestination": "example.org", "local_recipient_maps": "inline:{nobody=x}",
         "smtpd_reject_unlisted_sender": "yes"},
        {"smtpd_reject_unlisted_sender": "no", "local_recipient_maps": ""},
        "Sender address rejected",
    ),
    "client": (
        {"smtpd_client_restrictions": "check_client_access inline:{127.0.0.1=REJECT}"},
        {"smtpd_client_restrictions": ""},
        "Client host rejected",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("wrong", "count"), [("relay, 454", 1), *((wrong, 5) for wrong in WRONG)])
async def test_a_postfix_that_refuses_us_fails_nobody(
    settings: Settings, database: Database, wrong: str, count: int
) -> None:
    """It says so at RCPT. All messages wait, an operator is shown why, and mended all go."""
    refusing, mended, words = WRONG[wrong]
    with postfix(**refusing) as server:
        mailing = to(server, settings)
        await sign_up(database, mailing, *addresses(count))
        async with running_worker(mailing):
            await eventually(lambda: server.log.count("NOQUEUE: reject: RCPT") >= 3)
            await eventually(partial(an_operator_is_shown, database, words))
            found = await messages_in(database)
            assert {message.state for message in found} == {"queued"}
            server.set(**mended)
            await all_sent(database, 20)
        await eventually(lambda: sorted(taken(server)) == sorted(addresses(count)))


async def test_a_postfix_that_limits_our_rate_gets_everything(
    settings: Settings, database: Database
) -> None:
    """Five messages in two seconds: ``450 4.7.1 Error: too much mail`` costs nobody a try."""
    limits = {
        "smtpd_client_message_rate_limit": "5",
        "smtpd_client_event_limit_exceptions": "",
        "anvil_rate_time_unit": "2s",
    }
    with postfix(**limits) as server:
        mailing = to(server, settings)
        await sign_up(database, mailing, *addresses(15))
        async with running_worker(mailing):
            found = await all_sent(database, 30)
        assert {message.attempts for message in found} == {1}
        assert "Message delivery request rate limit exceeded" in server.log
        await eventually(lambda: sorted(taken(server)) == sorted(addresses(15)))


async def test_exim_delivers_everything_at_once(settings: Settings, database: Database) -> None:
    """It queues what comes after the tenth message of a session, for half an hour and more."""
    try:
        server = Exim()
    except NoExim as why:
        pytest.skip(str(why))
    try:
        server.start()
        mailing = to(server, settings).model_copy(update={"worker_slots": 2})
        await sign_up(database, mailing, *addresses(45))
        async with running_worker(mailing):
            await all_sent(database, 20)
        await eventually(lambda: server.delivered == 45, 20)
        assert "no immediate delivery" not in server.log
    finally:
        server.close()


async def an_operator_is_shown(database: Database, words: str) -> bool:
    """Whether a message shows these words of the server's."""
    return any(words in (message.last_error or "") for message in await messages_in(database))
