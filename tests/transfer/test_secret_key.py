"""What a copy says of the secret key keeps every link alive, if it is followed."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from reach.auth.links import Link, Links
from reach.db.types import new_id
from reach.settings import Settings
from tests.support.database.copies import Place
from tests.support.processes.commands import ReachProcess

#: Of those who signed the links of the source, and of those who will run the target.
SOURCES, TARGETS = "source-" * 6, "target-" * 6
MakeFile = Callable[[str], Place]


def said_by_copy(source: Place | None, target: Place, environment: Mapping[str, str]) -> str:
    """Copy by the command; the last line of what it says."""
    where = ("--from", source.url) if source else ()
    arguments = ("db", "copy", *where, "--to", target.url)
    with ReachProcess(*arguments, environment=dict(environment)) as process:
        assert process.wait() == 0, process.errors
        said = process.output
    assert SOURCES not in said
    assert TARGETS not in said
    return said.splitlines()[-1]


@pytest.fixture
def old(tmp_path: Path, empty_file: MakeFile) -> Place:
    """A source of its own, with the key that signed its links beside it."""
    place = empty_file("reach")
    folder = tmp_path / "old"
    folder.mkdir()
    place.file.rename(folder / "reach.sqlite3")
    (folder / "secret-key").write_text(SOURCES)
    return Place(f"sqlite:///{folder / 'reach.sqlite3'}")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The data directory of whom the target is for; it has been started once."""
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "secret-key").write_text(TARGETS)
    return folder


def test_it_names_the_key_beside_the_source(old: Place, new: Path, tmp_path: Path) -> None:
    """Not the one in the data directory of those who will run the target."""
    target = Place(f"sqlite:///{tmp_path / 'target.sqlite3'}")
    line = said_by_copy(old, target, {"REACH_DATA_DIR": str(new)})
    assert str(old.file.parent / "secret-key") in line
    assert str(new) not in line


def test_it_names_the_file_though_the_target_has_a_key_set(old: Place, tmp_path: Path) -> None:
    """`REACH_SECRET_KEY`, beside `REACH_DATABASE_URL`, is the target's, and said to be another."""
    target = Place(f"sqlite:///{tmp_path / 'target.sqlite3'}")
    data_dir = {"REACH_DATA_DIR": str(old.file.parent)}
    line = said_by_copy(None, target, {**data_dir, "REACH_SECRET_KEY": TARGETS})
    assert str(old.file.parent / "secret-key") in line
    assert "REACH_SECRET_KEY is another one here" in line


def test_it_says_so_if_the_key_is_set_already(old: Place, tmp_path: Path) -> None:
    """Then there is nothing left to do, however many others are set besides."""
    target = Place(f"sqlite:///{tmp_path / 'target.sqlite3'}")
    both = {"REACH_SECRET_KEY": f"{TARGETS},{SOURCES}"}
    line = said_by_copy(old, target, {"REACH_DATA_DIR": str(tmp_path / "none"), **both})
    assert str(old.file.parent / "secret-key") in line
    assert "REACH_SECRET_KEY has it here" in line


def test_without_a_file_it_is_what_was_set_there(
    old: Place, new: Path, tmp_path: Path, postgres: str
) -> None:
    """No file beside the source, or a server: only those who ran it know."""
    (old.file.parent / "secret-key").unlink()
    places = [old, Place(postgres)]
    for number, source in enumerate(places):
        target = Place(f"sqlite:///{tmp_path / f'target{number}.sqlite3'}")
        line = said_by_copy(source, target, {"REACH_DATA_DIR": str(new)})
        assert "what REACH_SECRET_KEY was where the source ran" in line
        assert str(new) not in line


def test_a_link_of_the_source_opens_by_the_key_that_is_named(
    old: Place, new: Path, tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    """Following the line does what it is for."""
    sent = Link(new_id(), "manage", 0)
    token = Links(make_settings(secret_key=SOURCES)).mint(sent)
    target = Place(f"sqlite:///{tmp_path / 'target.sqlite3'}")
    line = said_by_copy(old, target, {"REACH_DATA_DIR": str(new)})
    named = re.search(r"It is in (\S+/secret-key)\b", line)
    assert named is not None
    key = Path(named[1]).read_text()
    assert Links(make_settings(secret_key=key)).read(token) == sent
