"""Signed mails as a real worker hands them over; and who refuses to start rather than not sign."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reach.mail import dkim
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import sign_up
from tests.support.messages import a_key, is_believed, pem, signing
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import ended, everything, said, worker
from tests.support.root import ROOT
from tests.support.servers.mail import MailServer

MakeSettings = Callable[..., Settings]
#: Python runs it first of all: what is None here cannot be imported.
WITHOUT = """import sys
sys.modules["dkim"] = None
"""
#: In 7bit, as it stands: base64 and quoted-printable have no such lines.
ODD_TEXT = "{{ name }}\n\n.\n..\nFrom here\n" + "x" * 900 + "\n\n\n"


@pytest.fixture
def signed(sqlite: str, make_settings: MakeSettings, tmp_path: Path) -> Settings:
    """Settings of a sender who signs, with templates that servers stumble over."""
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "welcome.subject").write_text("Grüße, {{ name }}: " + "weit " * 30)
    (folder / "welcome.txt").write_text(ODD_TEXT)
    return make_settings(
        database_url=sqlite,
        port=free_port(),
        smtp_url="smtp://127.0.0.1:9",
        smtputf8=True,
        templates_dir=folder,
        **signing(reply_to="Büro <desk@example.org>"),
    )


@pytest.fixture
def without_extra(tmp_path: Path) -> dict[str, str]:
    """The variables of a process that cannot import what the extra installs."""
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WITHOUT)
    return {"PYTHONPATH": f"{folder}:{ROOT / 'src'}"}


async def test_what_the_mail_server_gets_is_believed(
    signed: Settings, mail_server: MailServer
) -> None:
    """Byte for byte as a worker's process sent it: odd lines, odd words, SMTPUTF8."""
    addresses = [f"ada{number}@example.com" for number in range(5)] + ["zoë@example.com"]
    async with opened(signed) as database:
        await sign_up(database, signed, *addresses)
        async with worker(signed, smtp_url=mail_server.url) as process:
            await eventually(lambda: len(mail_server.messages) == len(addresses))
            assert await ended_by_us(process) == 0
    key = a_key()
    assert sorted(mail_server.recipients) == sorted(addresses)
    for mail in mail_server.messages:
        assert is_believed(mail.content, key)
        assert b"\r\n.\r\n..\r\nFrom here\r\n" in mail.content
        assert not is_believed(mail.content.replace(b"Ada", b"Eve", 1), key)


async def test_the_main_job_signs_too(signed: Settings, mail_server: MailServer) -> None:
    """`reach up`, with the key from a file as an editor on Windows leaves it."""
    file = signed.data_dir / "key.pem"
    file.write_bytes(pem().replace("\n", "\r\n").encode())
    given = signed.model_copy(update={"dkim_private_key": None})
    environment = {"REACH_DKIM_PRIVATE_KEY_FILE": str(file)}
    async with opened(signed) as database:
        await sign_up(database, signed, "ada@example.com")
    with ReachProcess(
        "up", settings=given, environment=environment, smtp_url=mail_server.url
    ) as process:
        await said(process, "Reach is ready.")
        await eventually(lambda: len(mail_server.messages) == 1)
    assert is_believed(mail_server.messages[0].content, a_key())


@pytest.mark.parametrize("command", ["up", "worker"])
async def test_who_signs_does_not_start_without_a_key(signed: Settings, command: str) -> None:
    """2, and the variable to set: not emails that nobody signed."""
    with ReachProcess(command, settings=signed, dkim_private_key="") as process:
        assert await ended(process, 15) == 2
        assert "REACH_DKIM_PRIVATE_KEY must be set" in process.errors


async def test_who_does_not_sign_needs_no_key(
    signed: Settings, without_extra: dict[str, str]
) -> None:
    """The API and the migration: neither the key nor the extra."""
    for arguments, words in ((("migrate",), "The schema is at"), (("api",), "api started")):
        with ReachProcess(
            *arguments, settings=signed, environment=without_extra, dkim_private_key=""
        ) as process:
            await said(process, words)


@pytest.mark.parametrize("command", ["up", "worker", "check"])
async def test_without_the_extra_the_remedy_is_said(
    signed: Settings, without_extra: dict[str, str], command: str
) -> None:
    """Who signs ends with 2; `reach check` says it among the rest."""
    with ReachProcess(command, settings=signed, environment=without_extra) as process:
        assert await ended(process, 15) == (1 if command == "check" else 2)
        assert "pip install 'reach[dkim]'" in everything(process)
        assert "Traceback" not in everything(process)


async def test_reach_runs_without_the_extra(
    signed: Settings, without_extra: dict[str, str], mail_server: MailServer
) -> None:
    """As long as nobody asks it to sign: emails go out as ever."""
    plain = {"dkim_selector": "", "dkim_private_key": "", "smtp_url": mail_server.url}
    async with opened(signed) as database:
        await sign_up(database, signed, "ada@example.com")
    async with worker(signed, environment=without_extra, **plain):
        await eventually(lambda: len(mail_server.messages) == 1)
    assert not is_believed(mail_server.messages[0].content, a_key())


def test_the_lock_of_the_extra_is_where_the_remedy_says() -> None:
    """Those who follow it find the file."""
    assert (ROOT / dkim.EXTRA.split()[-1]).is_file()


async def ended_by_us(process: ReachProcess) -> int:
    """Ask a process to end; its exit code."""
    process.running.terminate()
    return await ended(process, 15)
