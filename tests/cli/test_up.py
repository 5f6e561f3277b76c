"""`reach up`: all of Reach as one command, as somebody who has just got it runs it."""

import os
import re
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from reach.settings import Settings
from tests.support.clock import eventually, wait_until
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import client, everything, running_api
from tests.support.servers.mail import MailServer

START_SECONDS = 20
BANNER = re.compile(
    r"""Reach is ready\.
  Sign up       (?P<page>https?://\S+/)
(?:  Mailbox       (?P<mailbox>http://\S+/mailbox)
)?  Console       (?P<console>https?://\S+/console)
  API           (?P<docs>https?://\S+/docs)
  Operator key  (?P<key>rk_[0-9A-Za-z]{46})
  Data          (?P<data>\S.*)
Ctrl-C stops it\.
"""
)


class Up:
    """A running `reach up`, and what its banner says."""

    def __init__(self, process: ReachProcess) -> None:
        self.process = process
        match = BANNER.fullmatch(process.output)
        assert match, process.output
        self.page, self.mailbox, self.docs = match["page"], match["mailbox"], match["docs"]
        self.key, self.data_dir = match["key"], Path(match["data"])

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask for a path below the page."""
        return httpx.get(
            f"{self.page}{path}", verify=NO_CERTIFICATES, trust_env=False, timeout=10, **options
        )

    def sign_up(self, **person: str) -> httpx.Response:
        """Sign somebody up."""
        url = f"{self.page}v1/signups"
        return httpx.post(
            url, json={**ADA, **person}, verify=NO_CERTIFICATES, trust_env=False, timeout=10
        )

    def mails(self) -> list[dict[str, str]]:
        """List what is in the mailbox."""
        found: list[dict[str, str]] = self.get("mailbox/messages").raise_for_status().json()
        return found

    def people(self) -> httpx.Response:
        """Ask for everybody, with the operator key."""
        return self.get("v1/people", headers={"Authorization": f"Bearer {self.key}"})


@contextmanager
def up(folder: Path, *arguments: str, **settings: Any) -> Iterator[Up]:
    """Run `reach up` on a free port until the end of the ``with``; it is ready when this begins."""
    flags = ("--port", "0", "--data-dir", str(folder), *arguments)
    with ReachProcess("up", *flags, **settings) as process:
        process.wait_for("Ctrl-C stops it.", START_SECONDS)
        yield Up(process)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Take away so much from the modes of new files, here and in what is started."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def refused(folder: Path, *arguments: str, **settings: Any) -> tuple[int, list[str]]:
    """Run a `reach up` that cannot start: its exit code, and its lines on stderr."""
    with ReachProcess("up", "--data-dir", str(folder), *arguments, **settings) as process:
        code = process.wait()
        assert process.output == ""
        return code, process.errors.splitlines()


def test_the_main_job(tmp_path: Path) -> None:
    """From nothing at all: sign up, read the email, see the person; all with what it prints."""
    folder = tmp_path / "data"
    with up(folder) as running:
        assert running.data_dir == folder
        assert running.mailbox == f"{running.page}mailbox"
        assert running.docs == f"{running.page}docs"
        for path in ("", "docs"):
            assert running.get(path).status_code == httpx.codes.OK
        answer = running.sign_up(name="Ada Lovelace")
        assert (answer.status_code, answer.json()) == (202, {"message": "Check your inbox."})
        wait_until(running.mails)
        (mail,) = running.mails()
        assert mail["to"] == ADA["email"]
        assert "Ada Lovelace" in mail["subject"]
        read = running.get(f"mailbox/messages/{mail['id']}").json()
        assert "Ada Lovelace" in read["text"]
        assert "Ada Lovelace" in read["html"]
        raw = running.get(f"mailbox/messages/{mail['id']}/raw")
        assert raw.headers["content-type"].startswith("text/plain")
        assert "Auto-Submitted: auto-generated" in raw.text
        page = httpx.get(
            running.mailbox, params={"message": mail["id"]}, verify=NO_CERTIFICATES, trust_env=False
        )
        assert mail["subject"] in page.text
        (person,) = running.people().raise_for_status().json()["items"]
        assert person["email"] == ADA["email"]
        # The banner is alone on stdout: who pipes it away still sees the logs.
        assert BANNER.fullmatch(running.process.output)
        assert '"message":"request"' in running.process.errors
        assert ADA["email"] not in running.process.errors
        assert running.key not in running.process.errors


def test_what_it_stores_is_its_owners(tmp_path: Path) -> None:
    """Folders 0700, files 0600: the database, its log, the keys and the mails, under any umask."""
    folder = tmp_path / "data"
    with umask(0), up(folder) as running:
        running.sign_up()
        wait_until(running.mails)
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {"reach.sqlite3", "reach.sqlite3-wal", "secret-key", "operator-key"} <= {
            path.name for path in files
        }
        modes = {path: oct(stat.S_IMODE(path.stat().st_mode)) for path in files}
        assert modes == dict.fromkeys(files, "0o600")
        folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        modes = {path: oct(stat.S_IMODE(path.stat().st_mode)) for path in folders}
        assert modes == dict.fromkeys(folders, "0o700")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_start_goes_on_where_the_first_stopped(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM end it with 0; people, mails and the key are there again."""
    with up(tmp_path) as first:
        first.sign_up()
        wait_until(first.mails)
        mails = first.mails()
        first.process.running.send_signal(number)
        assert first.process.wait() == 0
        assert "Traceback" not in first.process.errors
        assert BANNER.fullmatch(first.process.output)
    with up(tmp_path) as second:
        assert second.key == first.key
        assert second.mails() == mails
        assert len(second.people().json()["items"]) == 1


def test_a_revoked_key_stays_revoked(tmp_path: Path) -> None:
    """A restart prints it, but does not revive it; another key is made by the command."""
    data = {"REACH_DATA_DIR": str(tmp_path)}
    with up(tmp_path) as running:
        assert running.people().status_code == httpx.codes.OK
        with ReachProcess("keys", "revoke", "operator-key", "--yes", environment=data) as revoke:
            assert revoke.wait() == 0, revoke.errors
        assert running.people().status_code == httpx.codes.UNAUTHORIZED
    with up(tmp_path) as running:
        assert running.people().status_code == httpx.codes.UNAUTHORIZED


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """One line, with the flag that helps."""
    port = str(free_port())
    with ReachProcess("up", "--port", port, "--data-dir", str(tmp_path / "one")) as first:
        first.wait_for("Ctrl-C stops it.", START_SECONDS)
        code, lines = refused(tmp_path / "other", "--port", port)
    assert code == 1
    (line,) = lines
    assert f"port {port}" in line
    assert f"--port {int(port) + 1} (make run PORT=" in line


def test_a_data_directory_that_is_taken(tmp_path: Path) -> None:
    """One line, which names it and the flag for another; the first one works on."""
    with up(tmp_path) as first:
        code, lines = refused(tmp_path, "--port", "0")
        assert code == 1
        (line,) = lines
        assert str(tmp_path) in line
        assert "--data-dir" in line
        assert first.sign_up().status_code == httpx.codes.ACCEPTED


def test_a_data_directory_that_cannot_be_written_to() -> None:
    """Another way of not being able to start: not a crash."""
    code, lines = refused(Path("/proc"), "--port", "0")
    assert code == 1
    assert lines[-1].startswith("Cannot write to the data directory /proc: ")


async def test_with_a_mail_server_there_is_no_mailbox(
    settings: Settings, mail_server: MailServer
) -> None:
    """Neither in the banner nor at its address; the email goes to the server, on both databases."""
    mailing = settings.model_copy(update={"smtp_url": mail_server.url, "port": free_port()})
    async with running_api(mailing, "up") as process, client(mailing) as http:
        await eventually(lambda: "Ctrl-C" in process.output)
        assert Up(process).mailbox is None
        for path in ("/mailbox", "/mailbox/messages"):
            assert (await http.get(path)).status_code == httpx.codes.NOT_FOUND
        assert (await http.post("/v1/signups", json=ADA)).status_code == httpx.codes.ACCEPTED
        await eventually(lambda: mail_server.recipients == [ADA["email"]])
        assert not (mailing.data_dir / "mailbox").exists()
        assert ADA["email"] not in everything(process)


@pytest.mark.parametrize(
    "exposing",
    [{"host": "0.0.0.0"}, {"public_url": "https://signup.example.org"}],
    ids=["host", "public-url"],
)
def test_in_the_open_it_wants_more(tmp_path: Path, exposing: dict[str, str]) -> None:
    """2, a line for each variable, and nothing has been made."""
    code, lines = refused(tmp_path / "data", **exposing)
    assert code == 2
    wanted = ["REACH_PUBLIC_URL", "REACH_SECRET_KEY", "REACH_SMTP_URL"]
    assert [line.partition(" ")[0] for line in lines] == wanted["public_url" in exposing :]
    assert not (tmp_path / "data").exists()


def test_the_exposing_host_may_be_a_flag(tmp_path: Path) -> None:
    """Flags count as the environment does."""
    assert refused(tmp_path / "data", "--host", "0.0.0.0")[0] == 2


def test_what_is_fine_in_the_open(tmp_path: Path) -> None:
    """With a key and a mail server it listens to all; the public URL is the one that it prints."""
    settings = {
        "public_url": "https://signup.example.org",
        "secret_key": "x" * 32,
        "smtp_url": f"smtp://127.0.0.1:{free_port()}",
    }
    with up(tmp_path, "--host", "0.0.0.0", **settings) as running:
        assert running.page == "https://signup.example.org/"
        assert not (tmp_path / "secret-key").exists()
