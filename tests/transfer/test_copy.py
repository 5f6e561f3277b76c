"""A copy is all of it and nothing else, or it says so."""

import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Boolean, Column, MetaData, Table

from reach.db.schema import newest
from reach.transfer.copy import KEPT, LEFT, MADE_AGAIN
from reach.transfer.databases import CannotCopy, NotThere
from reach.transfer.rows import Digest, Shape, canonical
from tests.support.database.copies import (
    ADA,
    FIRST,
    NOW,
    Place,
    copied,
    counts,
    different,
    is_untouched,
)
from tests.support.database.databases import migrate


def test_everything_comes_through_every_kind_of_database(
    source: Place, new_postgres: Callable[[], Place], tmp_path: Path
) -> None:
    """SQLite, Postgres, Postgres, SQLite, SQLite: row by row it is the file that it was."""
    places = [source, new_postgres(), new_postgres()]
    places += [Place(f"sqlite:///{tmp_path / name}") for name in ("back.sqlite3", "end.sqlite3")]
    for one, other in pairwise(places):
        assert copied(one, other) == counts(source.file)
        assert other.revision == newest()
    for place in places[-2:]:
        assert different(source.file, place.file) is None
        assert place.file.stat().st_mode & 0o777 == 0o600
    (_, postgres, *_) = places
    (counted,) = postgres.run(
        "SELECT sum(count) FROM counters WHERE name IN ('people', 'confirmed')"
    )
    assert counted == source.run("SELECT count(*) + count(confirmed_at) FROM people")[0]
    hourly = "SELECT name, CAST(sum(count) AS bigint) FROM counters WHERE name IN "
    hourly += "('sign_ups', 'deliveries') GROUP BY 1 ORDER BY 1"
    assert postgres.run(hourly) == source.run(hourly)
    assert len(source.run(hourly)) == 2


TABLES = {
    True: "SELECT name FROM sqlite_schema",
    False: "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
}


def test_every_table_is_copied(empty_file: Callable[[str], Place]) -> None:
    """A table that is added to the schema is to be copied, too, or named as one that stays."""
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    found = {name for (name,) in empty_file("any").run(tables)}
    ours = {table.name for table in (*KEPT, *MADE_AGAIN)}
    assert found == {"counters", "alembic_version", *LEFT, *ours}


def test_a_type_that_nobody_thought_of_is_refused() -> None:
    """Rather than compared in two ways."""
    with pytest.raises(TypeError, match=r"t\.c is of a type"):
        Shape.of(Table("t", MetaData(), Column("c", Boolean)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"b": 1, "a": 2}', '{"a":2,"b":1}'),
        ("1e300", "1" + 300 * "0"),
        ("[1.50, -0.0, 1E-7]", "[1.5, 0, 0.0000001]"),
        ('"\\u00e9"', '"é"'),
    ],
)
def test_documents_are_compared_by_what_they_mean(one: str, other: str) -> None:
    """Postgres writes them in its own way."""
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1", '"1"'), ("null", '"null"'), ("[0.1]", "[0.10000000000000001]")]
)
def test_documents_that_mean_something_else_differ(one: str, other: str) -> None:
    """If only in a kind, or in a digit."""
    assert canonical(one) != canonical(other)


def test_a_digest_knows_rows_from_each_other() -> None:
    """In any order; a row twice is two; a value in another column is another row."""
    shape = Shape("t", ("a", "b"), ("text", "number"))

    def digest(*rows: tuple[str | int | None, ...]) -> tuple[int, int]:
        found = Digest()
        found.add(shape, rows)
        return found.rows, found.total

    assert digest(("a", 1), ("b", 2)) == digest(("b", 2), ("a", 1))
    assert (
        len({digest(("a", 1)), digest(("a", 1), ("a", 1)), digest((None, 1)), digest(("1", None))})
        == 4
    )


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("people", "UPDATE people SET name = 'Zoe 200' WHERE name = 'Zoë 200'"),
        ("attempts", "DELETE FROM attempts WHERE id = (SELECT min(id::text) FROM attempts)::uuid"),
        ("messages", "UPDATE messages SET data = '{\"a\": 1.5000001}' WHERE id = NEW.id"),
    ],
)
def test_a_planted_difference_is_found(
    source: Place, target: Place, table: str, change: str
) -> None:
    """A letter, a row, a digit within a document: and then nothing is in the target."""
    migrate(target.url)
    if target.is_sqlite:
        change = change.replace("::text", "").replace("::uuid", "")
    target.on_adding(table, 200, change)
    rows = 309 if change.startswith("DELETE") else 310
    with pytest.raises(CannotCopy, match=rf"differs from the source in {table} \({rows} rows"):
        copied(source, target)
    assert is_untouched(target)
    target.be_well(table)
    assert copied(source, target) == counts(source.file)


def test_a_counter_that_is_wrong_is_found(source: Place, target: Place) -> None:
    """Copying is no reason to begin with wrong numbers."""
    migrate(target.url)
    target.run(
        "INSERT INTO counters (name, hour, count) SELECT 'people', hour, 1 FROM counters LIMIT 1"
    )
    with pytest.raises(CannotCopy, match="counters are wrong"):
        copied(source, target)
    assert target.count("people") == 0


def test_a_row_that_the_target_does_not_take(source: Place, target: Place) -> None:
    """It is said of which table, and not what is in it."""
    migrate(target.url)
    message = "SELECT RAISE(ABORT, 'no')" if target.is_sqlite else "RAISE foreign_key_violation"
    target.on_adding("messages", 5, message)
    with pytest.raises(CannotCopy, match="A row of messages cannot be stored") as refused:
        copied(source, target)
    assert "example.com" not in str(refused.value)
    assert is_untouched(target)


def test_a_target_with_a_row_is_left_alone(source: Place, target: Place) -> None:
    """It is somebody's; so is one that was just copied into, whose message says what that means."""
    migrate(target.url)
    target.run(ADA.format(FIRST, now=NOW if target.is_sqlite else "now()"))
    with pytest.raises(CannotCopy, match=r"not empty: it has rows in people.*that copy is whole"):
        copied(source, target)
    assert target.count("people") == 1
    assert target.revision == newest()


def test_a_target_of_something_else_is_left_alone(source: Place, target: Place) -> None:
    """No table of ours is made beside others, nor in the database of another Alembic."""
    target.run("CREATE TABLE theirs (x int)")
    with pytest.raises(NotThere, match="tables of something else"):
        copied(source, target)
    target.run("CREATE TABLE alembic_version (version_num text)")
    target.run("INSERT INTO alembic_version VALUES ('1a2b3c')")
    with pytest.raises(NotThere, match="another program's database"):
        copied(source, target)
    assert "people" not in str(target.run(TABLES[target.is_sqlite]))


@pytest.mark.parametrize(("version", "words"), [("0005", "older"), ("9999", "newer")])
@pytest.mark.parametrize("role", ["source", "target"])
def test_another_version_is_refused(
    source: Place, target: Place, role: str, version: str, words: str
) -> None:
    """Its tables are not those that this version knows."""
    migrate(target.url)
    wrong = source if role == "source" else target
    wrong.run(f"UPDATE alembic_version SET version_num = '{version}'")
    with pytest.raises(CannotCopy, match=f"The {role}'s schema .* is {words} than this version's"):
        copied(source, target)
    assert target.count("people") == 0


def test_a_source_that_is_none_is_refused(tmp_path: Path, target: Place) -> None:
    """A file that is missing is not made."""
    missing = Place(f"sqlite:///{tmp_path / 'missing.sqlite3'}")
    with pytest.raises(NotThere, match="There is no such file"):
        copied(missing, target)
    assert not missing.file.exists()
    sqlite3.connect(missing.file).close()
    with pytest.raises(NotThere, match="no database of Reach"):
        copied(missing, target)


def test_one_database_under_two_names_is_refused(
    source: Place, new_postgres: Callable[[], Place], tmp_path: Path
) -> None:
    """A link to a file; a server's other name, behind which there are rows."""
    link = Place(f"sqlite:///{tmp_path / 'link.sqlite3'}")
    link.file.symlink_to(source.file)
    with pytest.raises(CannotCopy, match="one and the same"):
        copied(source, link)
    postgres = new_postgres()
    before = copied(source, postgres)
    other = Place(postgres.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(CannotCopy, match="not empty"):
        copied(postgres, other)
    assert postgres.count("people") == before["people"]


def test_a_terminal_shows_how_far_it_is(source: Place, tmp_path: Path) -> None:
    """A line for each thing that is done, with how much there is; and a bar that goes again."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "reach", "db", "copy", "--from", source.url]
    target = {"REACH_DATABASE_URL": f"sqlite:///{tmp_path / 'target.sqlite3'}"}
    terminal = {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, env=os.environ | target | terminal, stderr=theirs) as process:
        os.close(theirs)
        text = "".join(iter(lambda: shown_on(ours), ""))
    os.close(ours)
    assert process.returncode == 0
    assert "copying people: 310\r\n" in text
    assert "verifying people: 310\r\n" in text
    assert "310 rows" in text
    assert "━" in text


def shown_on(terminal: int) -> str:
    """What comes next; nothing once nobody has the other end open, which Linux calls an error."""
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        return ""
