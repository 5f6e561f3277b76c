"""A copy is all of it and nothing else, or it says so."""

import os
import pty
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Boolean, Column, MetaData, Table

from reach.db.copy.rows import Digest, Shape, canonical
from reach.db.copy.side import CannotCopy, NotThere
from reach.db.migrate import newest
from reach.settings import Settings
from reach.tables import kept_tables
from tests.conftest import migrate
from tests.support.moving.copied import Place, copied
from tests.support.moving.filled import counts, different
from tests.support.ports import free_port
from tests.support.processes import api_process

ADA = (
    "INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at, "
    "version) VALUES ('{}', 'ada@example.com', 'ada@example.com', 'Ada', 0, {now}, {now}, 1)"
)
NOW = 1_750_000_000_000_000
FIRST, LAST = (f"{n}0000000-0000-7000-8000-000000000000" for n in "0f")


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
    for place in places:
        assert "reach_copy" not in str(place.run(TABLES[place.is_sqlite]))
    (_, postgres, *_) = places
    (levels,) = postgres.run(
        "SELECT sum(count) FROM counters WHERE name IN ('people', 'confirmed')"
    )
    assert levels == source.run("SELECT count(*) + count(confirmed_at) FROM people")[0]
    flows = "SELECT name, CAST(sum(count) AS bigint) FROM counters WHERE name IN "
    flows += "('sign_ups', 'deliveries') GROUP BY 1 ORDER BY 1"
    assert postgres.run(flows) == source.run(flows)
    assert len(source.run(flows)) == 2


TABLES = {
    True: "SELECT name FROM sqlite_schema",
    False: "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
}


def test_every_table_is_copied(empty_file: Callable[[str], Place]) -> None:
    """Whoever adds one to the schema has it copied, too."""
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    found = {name for (name,) in empty_file("any").run(tables)}
    assert found == {"counters", "alembic_version", *(table.name for table in kept_tables())}


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
    """Postgres writes them anew."""
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1", '"1"'), ("null", '"null"'), ("[0.1]", "[0.10000000000000001]")]
)
def test_documents_that_mean_something_else_differ(one: str, other: str) -> None:
    """If only in a kind, or in a digit."""
    assert canonical(one) != canonical(other)


def test_a_digest_knows_rows_from_each_other() -> None:
    """In any order; a row twice is two; a value in another column is another row."""
    shape = Shape("t", ("a", "b"), ("text", "number"), ("a",))

    def digest(*rows: tuple[str | int | None, ...]) -> str:
        found = Digest()
        found.add(shape, rows)
        return str(found)

    assert digest(("a", 1), ("b", 2)) == digest(("b", 2), ("a", 1))
    assert (
        len({digest(("a", 1)), digest(("a", 1), ("a", 1)), digest((None, 1)), digest(("1", None))})
        == 4
    )


def test_a_byte_that_was_changed_is_found(source: Place, target: Place) -> None:
    """Nobody can start on such a target; starting over mends it, and copies the newest."""
    migrate(target.url)
    target.on_adding("people", 200, "UPDATE people SET name = 'Zoe 200' WHERE name = 'Zoë 200'")
    with pytest.raises(CannotCopy, match=r"differs from the source in people \(310 rows"):
        copied(source, target)
    assert target.revision == "0000-copying"
    target.be_well("people")
    with pytest.raises(CannotCopy, match="differs"):
        copied(source, target)
    source.run("DELETE FROM people WHERE name = 'Zoë 7'")
    assert copied(source, target, starts_over=True)["people"] == 309
    assert target.revision == newest()


def test_a_tally_that_is_wrong_is_found(source: Place, target: Place) -> None:
    """Copying is no reason to begin with wrong numbers."""
    migrate(target.url)
    target.run(
        "INSERT INTO counters (name, hour, count) SELECT 'people', hour, 1 FROM counters LIMIT 1"
    )
    with pytest.raises(CannotCopy, match="counters"):
        copied(source, target)
    assert target.revision == "0000-copying"


def test_a_target_with_a_row_is_left_alone(source: Place, target: Place) -> None:
    """Whoever's it is; even if told to start over."""
    migrate(target.url)
    at = NOW if target.is_sqlite else "now()"
    target.run(ADA.format(FIRST, now=at))
    for starts_over in (False, True):
        with pytest.raises(CannotCopy, match="not empty: it has rows in people"):
            copied(source, target, starts_over=starts_over)
    assert target.count("people") == 1
    assert target.revision == newest()


def test_a_target_of_something_else_is_left_alone(source: Place, target: Place) -> None:
    """No table of ours is made beside others, nor in the database of another Alembic."""
    target.run("CREATE TABLE theirs (x int)")
    with pytest.raises(CannotCopy, match="tables of something else"):
        copied(source, target)
    target.run("CREATE TABLE alembic_version (version_num text)")
    target.run("INSERT INTO alembic_version VALUES ('1a2b3c')")
    with pytest.raises(CannotCopy, match="tables of something else"):
        copied(source, target)
    assert "people" not in str(target.run(TABLES[target.is_sqlite]))


@pytest.mark.parametrize(
    ("version", "words"),
    [("0005", "older than this version's"), ("9999", "newer"), ("0000-copying", "half a copy")],
)
def test_a_source_of_another_version_is_refused(
    source: Place, target: Place, version: str, words: str
) -> None:
    """Its tables are not those that this version knows."""
    source.run(f"UPDATE alembic_version SET version_num = '{version}'")
    with pytest.raises(CannotCopy, match=words):
        copied(source, target)


def test_a_source_that_is_none_is_refused(tmp_path: Path, target: Place) -> None:
    """A file that is missing is not made."""
    missing = Place(f"sqlite:///{tmp_path / 'missing.sqlite3'}")
    with pytest.raises(NotThere, match="There is no such file"):
        copied(missing, target)
    assert not missing.file.exists()
    sqlite3.connect(missing.file).close()
    with pytest.raises(CannotCopy, match="no database of Reach"):
        copied(missing, target)


def test_one_database_under_two_names_is_refused(
    source: Place, new_postgres: Callable[[], Place], tmp_path: Path
) -> None:
    """A link to a file, a server's name."""
    link = Place(f"sqlite:///{tmp_path / 'link.sqlite3'}")
    link.file.symlink_to(source.file)
    postgres = new_postgres()
    copied(source, postgres)
    other = Place(postgres.url.replace("127.0.0.1", "localhost"))
    for one, same in ((source, link), (postgres, other)):
        with pytest.raises(CannotCopy, match="one and the same"):
            copied(one, same)


def test_what_has_changed_between_two_runs(source: Place, target: Place) -> None:
    """Who has come meanwhile is copied too; if what was copied has changed, all is, anew."""
    migrate(target.url)
    # A run that ends in an error after the people: the messages are not taken.
    message = "SELECT RAISE(ABORT, 'no')" if target.is_sqlite else "RAISE foreign_key_violation"
    target.on_adding("messages", 5, message)
    with pytest.raises(CannotCopy, match="A row of messages cannot be stored"):
        copied(source, target)
    assert target.count("people") == 310
    assert target.count("messages") == 0
    source.run(ADA.format(LAST, now=NOW))
    with pytest.raises(CannotCopy, match="A row of messages"):
        copied(source, target)
    assert target.count("people") == 311
    source.run("UPDATE people SET name = 'Zoé' WHERE name = 'Zoë 9'")
    target.be_well("messages")
    assert copied(source, target) == counts(source.file)
    assert target.run("SELECT count(*) FROM people WHERE name = 'Zoé'") == [(1,)]


def test_half_a_copy_of_something_else_is_not_gone_on_with(
    source: Place, target: Place, empty_file: Callable[[str], Place]
) -> None:
    """It is named; and removed only if one says so."""
    migrate(target.url)
    target.on_adding("people", 300, "UPDATE people SET name = 'x' WHERE name = 'Zoë 300'")
    with pytest.raises(CannotCopy, match="differs"):
        copied(source, target)
    target.be_well("people")
    other = empty_file("other")
    with pytest.raises(CannotCopy, match=r"holds half a copy of sqlite:///.*source\.sqlite3"):
        copied(other, target)
    assert target.count("people") == 310
    assert copied(other, target, starts_over=True)["people"] == 0
    assert target.count("people") == 0


def test_a_database_in_use_is_refused(
    source: Place, target: Place, make_settings: Callable[..., Settings]
) -> None:
    """Neither from nor into one that Reach runs on: it would not stand still."""
    migrate(target.url)
    for used in (source, target):
        api = api_process(make_settings(database_url=used.url, port=free_port()))
        with api, pytest.raises(CannotCopy, match=r"is in use\. Stop all of Reach"):
            copied(source, target)
    assert target.revision == newest()
    assert copied(source, target) == counts(source.file)


def test_a_terminal_shows_bars(source: Place, tmp_path: Path) -> None:
    """Of what is done now, with how much there is; no lines."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "reach", "db", "copy", "--from", source.url]
    target = {"REACH_DATABASE_URL": f"sqlite:///{tmp_path / 'target.sqlite3'}"}
    terminal = {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, env=os.environ | target | terminal, stderr=theirs) as process:
        os.close(theirs)
        text = "".join(iter(lambda: shown_on(ours), ""))
    os.close(ours)
    assert process.returncode == 0
    assert re.search(r"verifying people +\S*━+\S* +\S*310/310", text), text
    assert " of 310" not in text


def shown_on(terminal: int) -> str:
    """What comes next; nothing once nobody has the other end open, which Linux calls an error."""
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        return ""
