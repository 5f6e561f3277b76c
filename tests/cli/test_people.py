"""`reach people`, and the trail that it leaves: on both databases, through real processes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Table, func, select

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.messages.model import messages
from reach.people.model import people
from reach.people.schemas import PersonBody
from reach.settings import Settings
from tests.support.database.stored import addresses, sign_up
from tests.support.processes.answers import answer_of
from tests.support.processes.commands import ReachProcess, run

SPELLING = "ADA@Example.com"


def refused(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run a command that does nothing: its exit code, and what it says on stderr."""
    with ReachProcess(*arguments, settings=settings) as process:
        code = process.wait()
        assert process.output == ""
        assert "Traceback" not in process.errors
        return code, process.errors


def count_of(tx: Transaction, table: Table) -> int:
    """How many rows a table has."""
    found: int = tx.execute(select(func.count()).select_from(table)).scalar_one()
    return found


async def test_a_person_is_added_found_changed_and_erased(
    settings: Settings, database: Database
) -> None:
    """By their address in any spelling, or their id; each change is in the trail, by this user."""
    added = answer_of("people", "add", "ada@example.com", "Ada", settings=settings)
    assert PersonBody.model_validate(added).welcome.state == "queued"
    code, id_ = run("people", "show", SPELLING, "--quiet", settings=settings)
    assert (code, id_) == (0, f"{added['id']}\n")
    assert answer_of("people", "show", added["id"], settings=settings) == added
    options = ("--name", "Ada King", "--description", "I like tea.")
    changed = answer_of("people", "change", SPELLING, *options, settings=settings)
    assert (changed["name"], changed["description"]) == ("Ada King", "I like tea.")
    code, output = run("people", "list", "--search", "king", settings=settings)
    assert code == 0
    assert output.split("\t")[:4] == [added["id"], "ada@example.com", "Ada King", ""]

    code, errors = refused(settings, "people", "erase", SPELLING)
    assert code == 2
    assert errors.startswith("Nothing was done: there is no terminal to ask on. With --yes ")
    gone = answer_of("people", "erase", SPELLING, "--dry-run", settings=settings)
    assert gone == {"id": added["id"], "messages": 2, "dry_run": True}
    assert await database.read(count_of, people) == 1
    code, output = run("people", "erase", SPELLING, "--yes", settings=settings)
    assert (code, output) == (0, "Erased Ada King <ada@example.com> with 2 messages.\n")
    for table in (people, messages):
        assert await database.read(count_of, table) == 0
    if settings.database.is_sqlite:
        file = Path(str(settings.database.url.database))
        for stored in (file, Path(f"{file}-wal")):
            assert b"ada@example.com" not in stored.read_bytes(), "SQLite's files have forgotten"
    assert refused(settings, "people", "show", SPELLING) == (1, "There is no such person.\n")

    trail = answer_of("audit", "list", "--subject", added["id"], settings=settings)
    assert [entry["action"] for entry in trail] == ["person.erase", "person.change", "person.add"]
    user = {"kind": "command", "id": str(os.getuid()), "via": "cli"}
    assert [entry["actor"] for entry in trail] == [user] * 3
    assert trail[1]["details"] == {"fields": ["description", "name"]}


async def test_a_list_is_cut_and_says_so(settings: Settings, database: Database) -> None:
    """On stderr; all of it comes in parts, in order, as lines, as ids and as JSON."""
    everybody = addresses(7)
    await sign_up(database, settings, *everybody)
    with ReachProcess("people", "list", "-n", "3", "--sort", "address", settings=settings) as it:
        assert it.wait() == 0
        assert [line.split("\t")[1] for line in it.output.splitlines()] == everybody[:3]
        assert it.errors == "There are more: ask for them with --limit or --all.\n"
    with ReachProcess("people", "list", "--limit", "7", settings=settings) as it:
        assert it.wait() == 0
        assert (len(it.output.splitlines()), it.errors) == (7, "")
    found = answer_of("people", "list", "--all", "--sort", "address", settings=settings)
    assert [person["email"] for person in found] == everybody
    code, output = run("people", "list", "--all", "-q", "--sort", "address", settings=settings)
    assert (code, output.split()) == (0, [person["id"] for person in found])
    assert answer_of("people", "list", "--confirmed", settings=settings) == []
    assert answer_of("people", "list", "--since", "1h", settings=settings) != []
    assert answer_of("people", "list", "--until", "1h", settings=settings) == []
    export = ("people", "export", "--columns", "id", "--format", "ndjson")
    assert len(run(*export, "--since", "1h", settings=settings)[1].splitlines()) == 7
    assert run(*export, "--until", "1h", settings=settings) == (0, "")
    assert len(answer_of("audit", "list", "--since", "1h", settings=settings)) == 2
    assert answer_of("audit", "list", "--until", "1h", settings=settings) == []
    assert answer_of("audit", "list", "--actor", "nobody", settings=settings) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("add", "nobody", "Ada"),
            "  email: This is not an email address that mail can be sent to.",
        ),
        (("add", "ada@example.com", "see x.com"), "  name: A name must not hold an address"),
        (("add", "ada@example.com", "a\x1b[31mb"), "  name: A name must not hold control"),
        (("list", "--search", "\udcff"), "It is not UTF-8."),
        (("show", "Ada"), "PERSON is an address or an id."),
        (("show", "ada@\udcff"), "It is not UTF-8."),
        (("export", "--search", "\udcff"), "It is not UTF-8."),
        (("export", "--since", "7x"), "It must be a day (2026-03-04), a time"),
        (("export", "--language", "ada@example.com"), "It must be a language, such as de."),
        (("import", "list.csv", "--map", "email"), "Write field=Column"),
    ],
    ids=[
        *("address", "name", "escape", "bytes", "who"),
        *("whose-bytes", "export-bytes", "time", "language", "map"),
    ],
)
def test_what_was_given_wrong_is_told_in_the_words_of_the_api(
    make_settings: Callable[..., Settings], sqlite: str, arguments: tuple[str, ...], words: str
) -> None:
    """With the exit code of misuse, and without repeating it."""
    code, errors = refused(make_settings(database_url=sqlite), "people", *arguments)
    assert code == 2
    assert words in errors


def test_who_is_there_already_is_a_failure(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """1, and one line."""
    settings = make_settings(database_url=sqlite)
    add = ("people", "add", "ada@example.com", "Ada", "--no-welcome")
    assert run(*add, "-q", settings=settings)[0] == 0
    code, errors = refused(settings, *add)
    assert (code, errors) == (1, "This address is already signed up.\n")
