"""`reach check`: what counts, whether it works, and what to do where it does not."""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio.to_thread
import pytest

from reach.db.types import now
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.checks import MakeSettings, check, failed, finding
from tests.support.database.outboxes import Outbox
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.servers.mail import MailServer


async def test_all_is_well(settings: Settings, mail_server: MailServer) -> None:
    """On both databases, with a mail server that lets us in: 0, and nothing to do."""
    well = settings.model_copy(update={"smtp_url": mail_server.url})
    code, lines = await anyio.to_thread.run_sync(check, well)
    assert code == 0, lines
    assert failed(lines) == set()
    assert finding(lines, "database")[1].startswith("answers")
    assert "welcome" in finding(lines, "templates")[1]
    assert mail_server.commands[-1] == "QUIT"
    assert mail_server.messages == []


async def test_what_waits_in_the_outbox(settings: Settings) -> None:
    """How many there are of what, and what to do about those that do not leave."""
    async with opened(settings) as database:
        outbox = Outbox(database, settings)
        first, second, *_ = await outbox.fill(4)
        await outbox.change(due_at=now(5000))
        code, lines = await anyio.to_thread.run_sync(check, settings)
        assert (code, failed(lines)) == (0, set())
        assert finding(lines, "outbox") == ("ok", "4 queued; 0 failed; 0 sent; 4 people", "")
        await outbox.change(first, due_at=now(-100))
        await outbox.change(second, state="failed")
        code, lines = await anyio.to_thread.run_sync(check, settings)
        assert (code, failed(lines)) == (0, set())
        mark, words, advice = finding(lines, "outbox")
        assert mark == "ok"
        assert re.fullmatch(
            r"3 queued, longest due for 1\d\d s; 1 failed; 0 sent; 4 people", words
        ), words
        assert "state=failed" in advice
        assert "POST /v1/messages/retry" in advice
        await outbox.change(first, due_at=now(-301))
        code, lines = await anyio.to_thread.run_sync(check, settings)
        assert (code, failed(lines)) == (1, {"outbox"})
        assert "worker" in finding(lines, "outbox")[2]


def test_what_is_not_set_is_shown_as_it_counts(tmp_path: Path) -> None:
    """A database and a URL that nobody named: those that are used, unmarked."""
    _, lines = check(None, "--all", REACH_DATA_DIR=str(tmp_path), REACH_HOST="::1")
    assert f"  REACH_DATABASE_URL=sqlite:///{tmp_path / 'reach.sqlite3'}" in lines
    assert "  REACH_PUBLIC_URL=http://[::1]:8000" in lines
    assert "* REACH_HOST=::1" in lines
    assert "  REACH_SMTP_URL=" in lines
    assert "  REACH_SECRET_KEY=" in lines


def test_secrets_are_masked(tmp_path: Path) -> None:
    """A password and a key are on neither stream; where they lead is."""
    canary = "canary-4711-canary-4711-canary-4711"
    process = ReachProcess(
        "check",
        data_dir=tmp_path,
        database_url=f"postgresql://u:{canary}@127.0.0.1:{free_port()}/name",
        smtp_url=f"smtp://u:{canary}@127.0.0.1:{free_port()}",
        secret_key=canary,
    )
    with process:
        assert process.wait(60) == 1
        assert canary not in process.output + process.errors
        lines = process.output.splitlines()
    assert "* REACH_SECRET_KEY=********" in lines
    assert failed(lines) == {"database", "smtp"}


def test_nothing_is_there_yet(make_settings: MakeSettings, tmp_path: Path) -> None:
    """A missing file is a finding whose remedy is the command that makes it; it makes none."""
    code, lines = check(make_settings(data_dir=tmp_path / "none"))
    assert (code, failed(lines)) == (2, {"database"})
    assert "reach migrate" in finding(lines, "database")[2]
    assert finding(lines, "outbox") == ("??", "not known", "")
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_known_is_not_called_well(make_settings: MakeSettings) -> None:
    """Nobody listens there: that is one finding, and what hangs on it is no `ok`."""
    url = f"postgresql://u@127.0.0.1:{free_port()}/name"
    code, lines = check(make_settings(database_url=url))
    assert (code, failed(lines)) == (1, {"database"})
    for subject in ("direct database", "outbox"):
        assert finding(lines, subject) == ("??", "not known", "")
    assert finding(lines, "addresses")[0] == "??"


def test_an_old_schema(make_settings: MakeSettings, sqlite: str, tmp_path: Path) -> None:
    """It answers, and is not enough."""
    with closing(sqlite3.connect(tmp_path / "reach.sqlite3")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    code, lines = check(make_settings(database_url=sqlite))
    assert (code, failed(lines)) == (1, {"database"})
    assert finding(lines, "database")[1:] == ("schema 0001", "Run `reach migrate`.")


def test_unknown_variables(make_settings: MakeSettings, sqlite: str) -> None:
    """A misspelling is named; it fails, since what was meant does not count."""
    code, lines = check(make_settings(database_url=sqlite), REACH_PROT="8001", REACH_SMTP="x")
    assert (code, failed(lines)) == (1, {"variables"})
    assert "REACH_PROT, REACH_SMTP" in finding(lines, "variables")[1]


def test_what_is_not_safe_in_the_open(make_settings: MakeSettings, sqlite: str) -> None:
    """Each variable that `reach up` would refuse is named."""
    code, lines = check(make_settings(database_url=sqlite, host="0.0.0.0", secret_key=""))
    assert (code, failed(lines)) == (1, {"exposure"})
    text = "\n".join(lines)
    assert "REACH_SECRET_KEY must be set" in text
    assert "REACH_SMTP_URL must be set" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello\n{% if name %}\n", "welcome.txt, line 2: "),
        ("{{ name | nosuchfilter }}", "welcome.html, line 1: "),
        ("\n\n{% endblock %}", "layout.html, line 3: "),
        ("\udcff", "welcome.subject: UnicodeDecodeError"),
    ],
    ids=["unclosed", "filter", "layout", "bytes"],
)
def test_a_template_that_makes_no_sense(
    make_settings: MakeSettings, tmp_path: Path, sqlite: str, text: str, words: str
) -> None:
    """It is named with its line before the first email fails of it."""
    file = re.split("[,:]", words)[0]
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / file).write_bytes(os.fsencode(text))
    settings = make_settings(database_url=sqlite, templates_dir=folder)
    code, lines = check(settings)
    assert (code, failed(lines)) == (1, {"templates"})
    _, said, remedy = finding(lines, "templates")
    assert said.startswith(words)
    assert str(folder) in remedy


def test_templates_that_override_others(
    make_settings: MakeSettings, tmp_path: Path, sqlite: str
) -> None:
    """Those that are sound are well, a template of the operator's own among them."""
    for kind in ("subject", "txt", "html"):
        (tmp_path / f"news.{kind}").write_text("{{ whatever }}")
    code, lines = check(make_settings(database_url=sqlite, templates_dir=tmp_path))
    assert code == 0, lines
    assert "news" in finding(lines, "templates")[1]


def test_a_folder_of_templates_that_is_not_there(
    make_settings: MakeSettings, tmp_path: Path, sqlite: str
) -> None:
    """The variable is named."""
    code, lines = check(make_settings(database_url=sqlite, templates_dir=tmp_path / "none"))
    assert (code, failed(lines)) == (1, {"templates"})
    assert "REACH_TEMPLATES_DIR" in finding(lines, "templates")[2]


def test_a_ca_file_that_cannot_be_used(
    make_settings: MakeSettings, tmp_path: Path, sqlite: str
) -> None:
    """A finding like any other."""
    settings = make_settings(
        database_url=sqlite,
        smtp_url=f"smtps://127.0.0.1:{free_port()}",
        smtp_ca_file=tmp_path / "none.pem",
    )
    code, lines = check(settings)
    assert (code, failed(lines)) == (1, {"smtp"})
    assert "REACH_SMTP_CA_FILE" in finding(lines, "smtp")[2]


def test_bad_settings_are_lines(tmp_path: Path) -> None:
    """What cannot even be read ends it with 2."""
    environment = {"REACH_DATA_DIR": str(tmp_path), "REACH_PORT": "x"}
    with ReachProcess("check", environment=environment) as process:
        assert process.wait() == 2
        assert process.output == ""
        assert process.errors.startswith("REACH_PORT: ")


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, ("ok", "off", "")),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://u:canary@127.0.0.1:1/otlp?canary=1"},
            ("ok", "on, to https://127.0.0.1:1/otlp", ""),
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "canary:1"},
            (
                "!!",
                "cannot be used",
                "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL, as http://127.0.0.1:4318",
            ),
        ),
    ],
    ids=["off", "on", "no URL"],
)
def test_where_traces_go(
    sqlite: str, make_settings: MakeSettings, variables: dict[str, str], found: tuple[str, ...]
) -> None:
    """Off, on, or why not; no credentials are shown, and 1 if it is to be mended."""
    code, lines = check(make_settings(database_url=sqlite), **variables)
    assert finding(lines, "traces") == found
    assert code == (found[0] == "!!")
    assert "canary" not in "".join(lines)
