"""Reports that are read out of a mailbox: a real Dovecot's."""

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from pydantic import SecretStr

from reach.db.database import Database
from reach.inbound.imap import ImapMailbox, MailboxUnavailable
from reach.settings import Settings
from reach.settings.inbound import ImapUrl
from tests.support.clock import eventually
from tests.support.database.locks import ROWS_OF_MESSAGES, held
from tests.support.inbound import dsn, send, states, taking_reports
from tests.support.processes.ports import free_port
from tests.support.root import ROOT
from tests.support.servers.server import Program

PASSWORD = "grüße \"'\\ %40@"
CANARY = "never-to-be-told"
DOVECOT = (ROOT / "deploy" / "tests" / "dovecot.conf").read_text(encoding="utf-8")


class Dovecot(Program):
    """An IMAP server with one mailbox."""

    def __init__(self) -> None:
        """Write its configuration and its certificate."""
        super().__init__()
        self.port, self.starttls_port = free_port(), free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.folder.chmod(0o755)
        self.authority = self.folder / "authority.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        certified = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        certified.write_to_path(self.folder / "certificate.pem")
        self._new, self._cur = self.folder / "home" / "new", self.folder / "home" / "cur"
        for made in (self._new, self._cur, self.folder / "home" / "tmp"):
            made.mkdir(parents=True)
        for given in (self.folder / "home").rglob("**"):
            shutil.chown(given, "nobody", "nogroup")
        written = DOVECOT.replace("<folder>", str(self.folder)).replace("<port>", str(self.port))
        written = written.replace("<starttls-port>", str(self.starttls_port))
        (self.folder / "users").write_text(f"ada:{{PLAIN}}{PASSWORD}\n")
        (self.folder / "dovecot.conf").write_text(written)

    @property
    def url(self) -> str:
        """What REACH_BOUNCE_MAILBOX_URL is for it."""
        return f"imaps://ada:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}"

    def deliver(self, name: str, mail: bytes) -> None:
        """Put a mail into the mailbox."""
        file = self._new / f"1.{name}.host"
        file.write_bytes(mail)
        shutil.chown(file, "nobody", "nogroup")

    def mails(self) -> list[str]:
        """Which mails are in it, with S behind those that were seen."""
        files = [*self._new.iterdir(), *self._cur.iterdir()]
        return sorted(one.name.split(".")[1] + one.name.partition(":2,")[2] for one in files)

    def command(self) -> list[str]:
        """Say how it is started: in the foreground."""
        return ["dovecot", "-F", "-c", str(self.folder / "dovecot.conf")]

    def is_ready(self) -> bool:
        """Whether it listens."""
        with socket.socket() as trying:
            return trying.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self) -> None:
        """End it, and remove its folder."""
        super().close()
        shutil.rmtree(self.folder)


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    """Run a Dovecot, or skip where none can be had."""
    if os.geteuid() != 0 or shutil.which("dovecot") is None:
        pytest.skip("Dovecot needs root, and Debian's package dovecot-imapd")
    server = Dovecot()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with a mailbox that is read often, and a database that is soon given up."""
    changed = {"bounce_mailbox_seconds": 0.05, "database_seconds": 0.5}
    return settings.model_copy(update={"return_path": "bounces@mail.example.org", **changed})


async def test_what_is_recorded_is_removed_and_the_rest_is_seen(
    settings: Settings, database: Database, dovecot: Dovecot, told: Callable[[], str]
) -> None:
    """While the database cannot take it, a mail stays as it was; so it does if we are killed."""
    settings = settings.model_copy(
        update={
            "bounce_mailbox_url": SecretStr(dovecot.url),
            "bounce_mailbox_ca_file": dovecot.authority,
        }
    )
    ada, bob = await send(settings, database, "ada@example.com", "bob@example.com")
    dovecot.deliver("ada", dsn(ada))
    dovecot.deliver("forged", dsn(bob.replace("@", "aa@")))
    dovecot.deliver("letter", b"To: bounces@mail.example.org\r\nSubject: Hello\r\n\r\nIs it you?")
    async with taking_reports(settings, database):
        await eventually(lambda: dovecot.mails() == ["forgedS", "letterS"])
        assert await states(database) == ["bounced", "sent"]
        async with held(settings, ROWS_OF_MESSAGES):
            dovecot.deliver("bob", dsn(bob))
            await eventually(lambda: "the bounce mailbox cannot be read" in told())
            assert dovecot.mails() == ["bob", "forgedS", "letterS"]
        await eventually(lambda: "the bounce mailbox is read again" in told())
        assert dovecot.mails() == ["forgedS", "letterS"]
        assert await states(database) == ["bounced", "bounced"]


def test_what_is_wrong_with_a_mailbox_is_said_without_its_password(dovecot: Dovecot) -> None:
    """Or the user, or anything that the server said."""
    place, trusted = f"127.0.0.1:{dovecot.port}", dovecot.authority
    (dovecot.folder / "other.pem").write_bytes(trustme.CA().cert_pem.bytes())
    for url, ca_file, words in (
        (
            dovecot.url,
            dovecot.folder / "other.pem",
            "it cannot be reached: unable to get local issuer certificate",
        ),
        (dovecot.url.replace("127.0.0.1", "localhost"), trusted, "Hostname mismatch"),
        (f"imaps://ada:{CANARY}@{place}", trusted, "it does not let us in (error)"),
        (f"{dovecot.url}/{CANARY}", trusted, "it has no such folder, or does not let us write"),
        (f"imaps://ada:{CANARY}@127.0.0.1:{free_port()}", trusted, "Connection refused"),
    ):
        with pytest.raises(MailboxUnavailable, match=re.escape(words)) as raised:
            ImapMailbox(ImapUrl.parse(url), ca_file)
        assert CANARY not in str(raised.value)
    url = dovecot.url.replace("imaps", "imap+starttls")
    url = url.replace(str(dovecot.port), str(dovecot.starttls_port))
    ImapMailbox(ImapUrl.parse(url), trusted).close()
