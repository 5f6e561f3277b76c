"""The embedded mail server: real SMTP on a real socket, real files."""

import asyncio
import os
import re
import smtplib
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from reach.mailbox.server import MOST_BYTES, Mailbox, NoSuchMail
from reach.problems import NotFound
from tests.support.clock import eventually
from tests.support.root import ROOT

ADA = "ada@example.com"


@pytest.fixture(scope="module", params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run the tests on both kinds of event loop: aiosmtpd reaches into their protocols."""
    return "asyncio", {"use_uvloop": request.param}


@dataclass
class Served:
    """A mailbox that takes mail, and where."""

    mailbox: Mailbox
    folder: Path
    port: int


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Serve a mailbox for the newest five mails."""
    mailbox = Mailbox(tmp_path / "mailbox", keep=5)
    async with mailbox.serve() as url:
        assert re.fullmatch(r"smtp://127\.0\.0\.1:\d+", url)
        yield Served(mailbox, tmp_path / "mailbox", int(url.rpartition(":")[2]))


async def send(served: Served, content: bytes, recipient: str = ADA) -> str:
    """Send one mail; gives the server's answer to it. Raises aiosmtplib's errors."""
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=served.port) as client:
        _, answer = await client.sendmail("reach@example.com", [recipient], content)
    return answer


def numbered(number: int) -> bytes:
    """Write a short mail."""
    return f"To: {ADA}\r\nSubject: number {number}\r\n\r\nbody\r\n".encode()


def files(folder: Path) -> list[Path]:
    """Find every file in a folder, at any depth."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_mail_is_kept_as_it_came(served: Served) -> None:
    """What is accepted is listed, readable in all its parts, and the same to the byte."""
    mail = EmailMessage()
    mail["From"] = "Reach <reach@example.com>"
    mail["To"] = f"Ada Lovelace <{ADA}>"
    mail["Subject"] = "Welcome, Zoë \N{SLIGHTLY SMILING FACE}"
    mail.set_content("Bonjour Zoë\n")
    mail.add_alternative("<p>Bonjour Zoë</p>\n", subtype="html")
    content = mail.as_bytes(policy=mail.policy.clone(linesep="\r\n")) + b"\r\n..dots\r\n"

    assert "Kept" in await send(served, content)

    (entry,) = served.mailbox.list()
    assert (entry.to, entry.subject) == (f"Ada Lovelace <{ADA}>", mail["Subject"])
    assert timedelta() <= datetime.now(UTC) - entry.received_at < timedelta(seconds=30)
    assert served.mailbox.raw(entry.id) == content
    reading = served.mailbox.read(entry.id)
    assert [name for name, _ in reading.headers] == mail.keys()
    assert dict(reading.headers)["Subject"] == mail["Subject"]
    assert (reading.text, reading.html) == ("Bonjour Zoë\r\n", "<p>Bonjour Zoë</p>\r\n")


async def test_mail_is_for_the_owner_only(served: Served) -> None:
    """Mail holds links that let their holder act: no other user of the machine reads it."""
    await send(served, numbered(1))
    (file,) = files(served.folder)
    assert file.parent == served.folder / "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    folders = [served.folder, *(path for path in served.folder.iterdir() if path.is_dir())]
    assert [stat.S_IMODE(path.stat().st_mode) for path in folders] == [0o700] * 4


async def test_the_newest_are_kept(served: Served) -> None:
    """A mailbox does not grow without end, in memory or on disk."""
    for number in range(8):
        await send(served, numbered(number))
    kept = [f"number {number}" for number in (7, 6, 5, 4, 3)]
    assert [entry.subject for entry in served.mailbox.list()] == kept
    assert len(files(served.folder)) == 5
    assert [entry.subject for entry in Mailbox(served.folder).list()] == kept
    assert [entry.subject for entry in Mailbox(served.folder, keep=2).list()] == kept[:2]
    assert len(files(served.folder)) == 2


async def test_a_restart_finds_what_there_was(served: Served) -> None:
    """Mail outlives the process; what was half written does not, and other files are left be."""
    for number in range(3):
        await send(served, numbered(number))
    (served.folder / "tmp" / "half").write_bytes(b"Subject: ha")
    (served.folder / "new" / "notes.txt").write_bytes(b"not ours")
    again = Mailbox(served.folder)
    assert again.list() == served.mailbox.list()
    assert [again.raw(e.id) for e in again.list()] == [numbered(n) for n in (2, 1, 0)]
    assert not files(served.folder / "tmp")
    assert (served.folder / "new" / "notes.txt").exists()


def test_the_newest_is_first_after_a_restart_too(tmp_path: Path) -> None:
    """By when they came: Maildir writes microseconds without leading zeros."""
    Mailbox(tmp_path)
    for number, name in enumerate(["1790000000.M9P1Q1.x", "1790000000.M10P1Q2.x"]):
        (tmp_path / "new" / name).write_bytes(numbered(number))
    subjects = [entry.subject for entry in Mailbox(tmp_path).list()]
    assert subjects == ["number 1", "number 0"]


async def test_mail_from_many_connections_at_once(served: Served) -> None:
    """Concurrent mails each get a name and a place of their own."""
    mailbox = Mailbox(served.folder.parent / "large")
    async with mailbox.serve() as url:
        there = Served(mailbox, served.folder, int(url.rpartition(":")[2]))
        await asyncio.gather(*(send(there, numbered(number)) for number in range(60)))
    expected = {f"number {number}" for number in range(60)}
    assert {entry.subject for entry in mailbox.list()} == expected


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../../etc/passwd", "/etc/passwd", "new/x", "a\0b", "%2e%2e", "notes.txt"],
)
async def test_no_name_leads_elsewhere(served: Served, name: str) -> None:
    """Only mails that the mailbox lists can be read, whatever is asked for."""
    (served.folder / "new" / "notes.txt").write_bytes(b"secret")
    for look in (served.mailbox.raw, served.mailbox.read):
        with pytest.raises(NoSuchMail) as caught:
            look(name)
        assert isinstance(caught.value, NotFound)
        assert isinstance(caught.value, LookupError)


async def test_a_mail_that_vanished_is_no_such_mail(served: Served) -> None:
    """A file that someone removed is a 404, not a crash."""
    await send(served, numbered(1))
    (entry,) = served.mailbox.list()
    files(served.folder)[0].unlink()
    with pytest.raises(NoSuchMail):
        served.mailbox.raw(entry.id)


async def test_a_large_mail_is_refused(served: Served) -> None:
    """A mebibyte is taken, a byte more is not: neither announced nor sent."""
    line = b"x" * 62 + b"\r\n"
    assert await send(served, line * (MOST_BYTES // len(line)))
    with pytest.raises(aiosmtplib.SMTPResponseException) as caught:
        await send(served, line * (MOST_BYTES // len(line)) + b"\r\n")
    assert caught.value.code == 552
    assert len(served.mailbox.list()) == 1


async def test_a_folder_that_fails_is_452(served: Served) -> None:
    """A mail that cannot be kept is not accepted; once it can be again, it is."""
    (served.folder / "new").rename(served.folder / "away")
    with pytest.raises(aiosmtplib.SMTPResponseException) as caught:
        await send(served, numbered(1))
    assert (caught.value.code, caught.value.message[:5]) == (452, "4.3.1")
    assert (served.mailbox.list(), files(served.folder)) == ([], [])
    (served.folder / "away").rename(served.folder / "new")
    assert "Kept" in await send(served, numbered(2))


async def test_a_client_that_hangs_up_leaves_nothing(served: Served) -> None:
    """Half a mail is no mail, and the next client is served."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    for line in (b"EHLO x", b"MAIL FROM:<a@b.c>", b"RCPT TO:<a@b.c>", b"DATA"):
        writer.write(line + b"\r\n")
    while not (await reader.readline()).startswith(b"354"):
        pass
    writer.write(b"Subject: half\r\n")
    writer.transport.abort()
    await send(served, numbered(1))
    assert [entry.subject for entry in served.mailbox.list()] == ["number 1"]
    assert len(files(served.folder)) == 1


async def test_the_end_does_not_wait_for_clients(tmp_path: Path) -> None:
    """A client that keeps its connection open does not keep the mailbox from ending."""
    mailbox = Mailbox(tmp_path)
    async with mailbox.serve() as url:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(b"220 ")
    await eventually(reader.at_eof)
    writer.close()
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection("127.0.0.1", port)


async def test_nothing_of_a_mail_is_logged(
    served: Served, caplog: pytest.LogCaptureFixture, told: Callable[[], str]
) -> None:
    """Logs hold no address and no subject, also when mail fails."""
    with caplog.at_level("DEBUG"):
        await send(served, numbered(1))
        (served.folder / "new").rename(served.folder / "away")
        with pytest.raises(aiosmtplib.SMTPResponseException):
            await send(served, numbered(2))
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=served.port) as client:
            await client.execute_command(ADA.encode())  # a confused client
    printed = told() + "".join(r.getMessage() for r in caplog.records)
    mails = [r.getMessage() for r in caplog.records if r.name == "mail.log"]
    assert mails == []
    for secret in ("ada@", "number", "reach@example.com"):
        assert secret not in printed


FULL_DISK = """
import anyio, resource, sys, pathlib
from reach.mailbox.server import Mailbox

async def main():
    async with Mailbox(pathlib.Path(sys.argv[1])).serve() as url:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        print(url, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main)
"""


@contextmanager
def full_disk(folder: Path) -> Iterator[int]:
    """Serve a mailbox in a process that no file may grow beyond 4 KiB for; gives its port."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().rpartition(":")[2])
            process.stdin.close()
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("lines", [2000, 3000], ids=["less than a buffer", "more"])
def test_a_full_disk_is_452(tmp_path: Path, lines: int) -> None:
    """When the disk takes part of a mail only, the mail is refused for now and nothing is left."""
    with full_disk(tmp_path) as port, smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.sendmail("a@b.c", [ADA], numbered(1) + b"x\r\n" * lines)
        assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (452, b"4.3.1")
        assert files(tmp_path) == []
        client.sendmail("a@b.c", [ADA], numbered(2))
    assert [entry.subject for entry in Mailbox(tmp_path).list()] == ["number 2"]
