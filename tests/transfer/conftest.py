"""What these tests share: a source with everything in it, and empty Postgres databases."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.database.copies import Place, fill
from tests.support.database.databases import create_database, drop_database, postgres_server
from tests.support.servers.postgres import NoPostgres

FEW = 310


@pytest.fixture
def empty_file(migrated_file: Path, tmp_path: Path) -> Callable[[str], Place]:
    """Make a migrated SQLite file of a name."""

    def make(name: str) -> Place:
        shutil.copy(migrated_file, tmp_path / f"{name}.sqlite3")
        return Place(f"sqlite:///{tmp_path / name}.sqlite3")

    return make


@pytest.fixture
def source(empty_file: Callable[[str], Place]) -> Place:
    """A file with a few of everything."""
    place = empty_file("source")
    fill(place.file, FEW)
    return place


@pytest.fixture
def new_postgres(request: pytest.FixtureRequest) -> Iterator[Callable[[], Place]]:
    """Make a Postgres database in which there is nothing, not even a table."""
    try:
        server = postgres_server(request.config)
    except NoPostgres as reason:
        pytest.skip(str(reason))
    made: list[str] = []

    def make() -> Place:
        made.append(create_database(server))
        return Place(made[-1])

    yield make
    for url in made:
        drop_database(server, url)


@pytest.fixture(params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place of each kind, with nothing in it."""
    if request.param == "sqlite":
        return Place(f"sqlite:///{tmp_path / 'target.sqlite3'}")
    make: Callable[[], Place] = request.getfixturevalue("new_postgres")
    return make()
