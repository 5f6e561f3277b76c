"""A list is added whole, once, whatever happens meanwhile; what is not taken is told."""

import json
import os
import signal
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from docs.reference.cli import EXAMPLES
from reach.auth.audit import Actor, audit
from reach.db import counters
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.messages.model import messages
from reach.people import actions, notices
from reach.people.actions import Import
from reach.people.address import parse_address
from reach.people.consent import of
from reach.people.model import people
from reach.people.newcomers import Newcomer
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import everything
from tests.support.processes.answers import is_like
from tests.support.processes.commands import ReachProcess, run


def listed(count: int, first: int = 0) -> str:
    """Write a list of so many."""
    rows = (f"p{n}@example.com,Person {n}" for n in range(first, first + count))
    return "email,name\n" + "\n".join(rows) + "\n"


def imported(settings: Settings, file: Path, *options: str) -> tuple[int, dict[str, int]]:
    """Import a list; the exit code, and what became of its rows."""
    code, output = run("people", "import", str(file), "--json", *options, settings=settings)
    found: dict[str, int] = json.loads(output)
    assert is_like(found, EXAMPLES["people import"][0])
    assert found.pop("dry_run") is ("--dry-run" in options)
    return code, found


def counted(tx: Transaction) -> dict[str, int]:
    """Count by the counters, and by the rows."""
    as_of = tx.execute(select(func.min(people.c.created_at))).scalar_one()
    found = counters.read(tx, as_of.replace(minute=0, second=0, microsecond=0))
    sums: dict[str, int] = {}
    for (name, _), count in found.items():
        sums[name] = sums.get(name, 0) + count
    rows = tx.execute(select(func.count(), func.count(people.c.confirmed_at))).one()
    assert (sums["people"], sums.get("confirmed", 0)) == tuple(rows)
    return sums


def audited(tx: Transaction) -> Sequence[tuple[str, int, Any]]:
    """List the audit trail."""
    found = tx.execute(select(audit.c.action, audit.c["count"], audit.c.details))
    return [tuple(row) for row in found]


def count(tx: Transaction) -> tuple[int, int]:
    """Count people and messages."""
    persons = tx.execute(select(func.count()).select_from(people)).scalar_one()
    return persons, tx.execute(select(func.count()).select_from(messages)).scalar_one()


async def has_some(database: Database) -> bool:
    """Whether anybody was added."""
    return await database.read(count) != (0, 0)


def folder_of(file: Path) -> list[Path]:
    """List the tables beside a file."""
    return [*file.parent.glob("*.csv")]


async def test_a_list_is_added_once(settings: Settings, database: Database, tmp_path: Path) -> None:
    """Again it changes nobody and writes to nobody; the counts and the audit trail are right."""
    file = tmp_path / "list.csv"
    file.write_text(listed(2500) + "P7@EXAMPLE.com,Again\nbad,=1+1\n")
    assert imported(settings, file, "--welcome") == (
        1,
        {"rows": 2502, "added": 2500, "known": 1, "repeated": 0, "rejected": 1},
    )
    rejects = tmp_path / "list.csv.rejected.csv"
    assert stat.S_IMODE(rejects.stat().st_mode) == 0o600
    assert rejects.read_text() == (
        "line,field,reason,email,name\n"
        "2503,email,This is not an email address that mail can be sent to.,bad,'=1+1\n"
    )
    before = await database.read(everything)
    assert imported(settings, file, "--welcome", "--confirmed", "--consent-source", "x") == (
        1,
        {"rows": 2502, "added": 0, "known": 2501, "repeated": 0, "rejected": 1},
    )
    after = await database.read(everything)
    assert (after["people"], after["messages"]) == (before["people"], before["messages"])
    assert len(after["messages"]) == len(after["people"]) == 2500
    sums = await database.read(counted)
    assert (sums["sign_ups"], sums["added"], sums["queued"]) == (2500, 2500, 2500)
    same = {"format": "csv", "welcome": True}
    assert await database.read(audited) == [
        ("people.import", 2500, {**same, "confirmed": False}),
        ("people.import", 0, {**same, "confirmed": True}),
    ]
    # The maker is told of those who sign up; an operator knows whom they add.
    told = settings.model_copy(update={"notify": "maker@example.org"})
    await database.write(notices.begin, told)
    assert await database.write(notices.tell, told) == 0


async def test_consent_is_kept_with_each(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """Its source and its time; they are confirmed, at the time that the list says."""
    file = tmp_path / "list.csv"
    file.write_text("email,name,OPTIN_TIME,CONFIRM_TIME\na@example.com,A,2021-01-02,2021-01-03\n")
    code, output = run("people", "import", str(file), "--confirmed", settings=settings)
    assert (code, output) == (2, "")
    assert imported(settings, file, "--confirmed", "--consent-source", "the old form")[0] == 0
    assert [path.name for path in folder_of(file)] == ["list.csv"]

    def found(tx: Transaction) -> Any:
        return of(tx, tx.execute(select(people.c.id)).scalar_one())

    consent = await database.read(found)
    assert (consent.form, consent.source) == ("import", "the old form")
    assert f"{consent.consented_at:%Y-%m-%d} {consent.confirmed_at:%Y-%m-%d}" == (
        "2021-01-02 2021-01-03"
    )
    assert (await database.read(counted))["confirmed"] == 1


async def test_a_time_confirms_nobody_by_itself(settings: Settings, database: Database) -> None:
    """The list may say when somebody confirmed elsewhere; only an operator says it counts."""
    confirmed_at = datetime(2021, 1, 3, tzinfo=UTC)
    listed_ = [Newcomer(parse_address("a@example.com"), "A", confirmed_at=confirmed_at)]
    whole = Import(Actor("command", "0", "cli"), settings, "x", {}, welcome=False)
    assert (await database.write(actions.add_list, listed_, whole))[0] == 1
    assert (await database.read(counted)).get("confirmed", 0) == 0


async def test_a_killed_import_goes_on(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """What it had committed stays; the same command adds the rest, and writes to each once."""
    fifo, whole = tmp_path / "fifo.csv", tmp_path / "whole.csv"
    whole.write_text(listed(2500))
    os.mkfifo(fifo)
    command = ("people", "import", str(fifo), "--welcome")
    with ReachProcess(*command, settings=settings) as killed, fifo.open("w") as stream:
        stream.write(listed(2300))
        stream.flush()
        await eventually(lambda: has_some(database))
        killed.kill()
    assert await database.read(count) == (2000, 2000)
    assert imported(settings, whole, "--welcome") == (
        0,
        {"rows": 2500, "added": 500, "known": 2000, "repeated": 0, "rejected": 0},
    )
    assert await database.read(count) == (2500, 2500)


async def test_ctrl_c_ends_an_import_that_waits_for_more(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """With 130; what was added is counted, and stays."""
    fifo = tmp_path / "fifo.csv"
    os.mkfifo(fifo)
    command = ("people", "import", str(fifo), "--json")
    with (
        ReachProcess(*command, settings=settings) as interrupted,
        fifo.open("w") as stream,
    ):
        stream.write(listed(2300))
        stream.flush()
        await eventually(lambda: has_some(database))
        os.kill(interrupted.pid, signal.SIGINT)
        assert interrupted.wait() == 130
        said = interrupted.output
        found = json.loads(said)
        assert (found["rows"], found["added"]) == (2000, 2000)
        assert interrupted.errors.startswith("Interrupted. Run the same command again")
    assert await database.read(count) == (2000, 0)


async def test_a_dry_run_adds_nobody(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """It tells what would not be taken, in the file as well."""
    file = tmp_path / "list.ndjson"
    file.write_text('{"email": "a@example.com", "name": "A"}\n{"email": "b@example.com"}\n')
    named = run("people", "import", str(file), "--rejects", str(file), settings=settings)
    assert named[0] == 2, "it would have been written over"
    code, found = imported(settings, file, "--dry-run")
    assert (code, found["rows"], found["rejected"], found["added"]) == (1, 2, 1, 0)
    assert json.loads((tmp_path / "list.ndjson.rejected.ndjson").read_text()) == {
        "line": 2,
        "field": "name",
        "reason": "A name is needed.",
        "email": "b@example.com",
    }
    assert not any((await database.read(everything)).values())


async def test_objects_leave_out_what_they_have_no_value_of(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """Nobody is confirmed for that; a name that none of them has is misspelt."""
    file = tmp_path / "list.ndjson"
    deep = "[" * 1015 + "]" * 1015
    file.write_text(
        '{"email": "a@example.com", "name": "A"}\n'
        '{"email": "b@example.com", "name": "B", "confirmed_at": "2021-01-03", "note": "hi"}\n'
        f'{{"email": "c", "name": "C", "deep": {deep}}}\n'
    )
    source = ("--confirmed", "--consent-source", "x")
    command = ("people", "import", str(file), *source, "--map")
    assert run(*command, "description=not", settings=settings)[0] == 2
    assert await database.read(count) == (0, 0)
    code, found = imported(settings, file, *source, "--map", "description=note")
    assert (code, found["added"], found["rejected"]) == (1, 2, 1)
    rejected = json.loads((tmp_path / "list.ndjson.rejected.ndjson").read_text())
    assert (rejected["email"], rejected["name"]) == ("c", "C")

    def stored(tx: Transaction) -> list[tuple[str, str | None, bool]]:
        chosen = select(people.c.email, people.c.description, people.c.confirmed_at.is_not(None))
        return [tuple(row) for row in tx.execute(chosen.order_by(people.c.email))]

    assert await database.read(stored) == [
        ("a@example.com", None, False),
        ("b@example.com", "hi", True),
    ]
