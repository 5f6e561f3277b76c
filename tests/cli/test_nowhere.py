"""Where the settings lead to no database of Reach, every command says so, and what to set."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from reach.settings import Settings
from tests.support.database.databases import create_database, elsewhere
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import everything
from tests.support.servers.mail import MailServer
from tests.support.servers.postgres import NoPostgres, Postgres

MakeSettings = Callable[..., Settings]

READERS = ("keys list", "api", "api --processes 2", "worker")
THEIRS = "CREATE TABLE theirs (x integer)"
THEIR_VERSIONS = f"""{THEIRS}; CREATE TABLE alembic_version (version_num text);
INSERT INTO alembic_version VALUES ('ae1027a6acf')"""


@dataclass(frozen=True)
class Wrong:
    """A wrong place: how it comes about, in what words it is told, and who finds it a fault."""

    words: str
    make: Callable[[Path], None]
    migrate_helps: bool = False


FILES = {
    "no folder": Wrong("There is no such folder.", lambda _: None, migrate_helps=True),
    "no file": Wrong(
        "There is no such file.", lambda file: file.parent.mkdir(), migrate_helps=True
    ),
    "an empty file": Wrong("It is empty.", lambda file: written(file, b""), migrate_helps=True),
    "no database": Wrong("It is no SQLite database", lambda file: written(file, b"Hello\n" * 99)),
    "another's": Wrong("another program's tables", lambda file: filled(file, THEIRS)),
    "another's versions": Wrong("another program's", lambda file: filled(file, THEIR_VERSIONS)),
}


def written(file: Path, content: bytes) -> None:
    """Write a file."""
    file.parent.mkdir()
    file.write_bytes(content)


def filled(file: Path, statements: str) -> None:
    """Make a database of another program."""
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(statements)


def complaint(command: str, settings: Settings) -> str:
    """Run a command that ends with 2, and return the one line that it says, on stderr."""
    with ReachProcess(*command.split(), settings=settings) as process:
        assert process.wait(90) == 2, everything(process)
        assert process.output == ""
        (line,) = process.errors.splitlines()
        return line


#: One command meets every kind, and every command two of them.
MET = [("keys list", kind) for kind in FILES]
MET += [
    (command, kind)
    for command in (*READERS[1:], "db backup FILE")
    for kind in ("no file", "another's versions")
]


@pytest.mark.parametrize(("command", "kind"), MET)
async def test_a_file_that_is_not_reachs(
    make_settings: MakeSettings,
    mail_server: MailServer,
    tmp_path: Path,
    kind: str,
    command: str,
) -> None:
    """It is named, with the variable to set; nothing is made, and no other's file is changed."""
    file = tmp_path / "data" / "reach.sqlite3"
    FILES[kind].make(file)
    before = file.read_bytes() if file.exists() else None
    settings = make_settings(
        data_dir=file.parent, smtp_url=mail_server.url, port=free_port(), host="127.0.0.1"
    )
    words = command.replace("FILE", str(tmp_path / "backup"))
    line = await asyncio.to_thread(complaint, words, settings)
    assert line.startswith(f"No database of Reach at {file}. "), line
    assert FILES[kind].words in line
    assert "Set REACH_DATA_DIR (or REACH_DATABASE_URL)" in line
    assert ("`reach migrate` makes a new one" in line) == FILES[kind].migrate_helps
    assert (file.read_bytes() if file.exists() else None) == before


@pytest.mark.parametrize("kind", ["no file", "an empty file", "another's"])
def test_check_says_it_too(make_settings: MakeSettings, tmp_path: Path, kind: str) -> None:
    """As a finding, in the same words, and with the same exit code."""
    file = tmp_path / "data" / "reach.sqlite3"
    FILES[kind].make(file)
    with ReachProcess("check", settings=make_settings(data_dir=file.parent)) as process:
        assert process.wait(90) == 2, everything(process)
        (line,) = (line for line in process.output.splitlines() if line.startswith("!!"))
    assert line.startswith(f"!! database: No database of Reach at {file}. "), line
    assert FILES[kind].words in line


@pytest.mark.parametrize(
    ("command", "kind"),
    [("migrate", "no database"), ("migrate", "another's"), ("up", "another's versions")],
)
def test_another_programs_file_is_not_migrated(
    make_settings: MakeSettings, tmp_path: Path, kind: str, command: str
) -> None:
    """Nor is a byte of it changed."""
    file = tmp_path / "data" / "reach.sqlite3"
    FILES[kind].make(file)
    file.parent.chmod(0o700)
    before = file.read_bytes()
    line = complaint(command, make_settings(data_dir=file.parent, port=free_port()))
    assert line.startswith(f"No database of Reach at {file}. "), line
    assert FILES[kind].words in line
    assert file.read_bytes() == before


def test_migrating_makes_no_folder_that_a_url_names(tmp_path: Path) -> None:
    """Only the data directory is made; the path may be misspelt."""
    url = f"sqlite:///{tmp_path / 'mispelt' / 'reach.sqlite3'}"
    with ReachProcess("migrate", environment={"REACH_DATABASE_URL": url}) as process:
        assert process.wait(90) == 2
        (line,) = process.errors.splitlines()
    assert line.endswith("Make the folder, or set REACH_DATABASE_URL to where it is."), line
    assert list(tmp_path.iterdir()) == []


def test_a_copy_names_the_side_that_is_wrong(sqlite: str, tmp_path: Path) -> None:
    """The source that is not there; the target that is another program's."""
    for kind in ("no file", "no database", "another's versions"):
        file = tmp_path / kind / "their.sqlite3"
        FILES[kind].make(file)
        url = f"sqlite:///{file}"
        for source, target, side in ((url, f"{sqlite}-new", "source"), (sqlite, url, "target")):
            if (kind, side) == ("no file", "target"):
                continue
            with ReachProcess("db", "copy", "--from", source, "--to", target) as process:
                assert process.wait(90) == 2, everything(process)
                assert f"The {side}" in process.errors.splitlines()[-1]


POSTGRES = {
    "name": "There is no database of that name on this server.",
    "password": "It does not let us in: the user or the password is wrong.",
    "empty": "It is empty.",
    "theirs": "another program's tables",
    "versions": "another program's",
    "privilege": "lacks a privilege",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """Run a Postgres server for these tests."""
    try:
        with Postgres.private() as server:
            yield server
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def wrong_places(server: Postgres) -> dict[str, str]:
    """URLs of Postgres that lead to no database of Reach; one asks for a password."""
    made = {kind: create_database(server.url) for kind in ("empty", "theirs", "versions")}
    execute(made["theirs"], THEIRS)
    execute(made["versions"], THEIR_VERSIONS)
    execute(server.url, "CREATE ROLE guest LOGIN PASSWORD 'canary'")
    execute(server.url, "CREATE ROLE nobody LOGIN")
    hba = server.folder / "data/pg_hba.conf"
    hba.write_text(f"host all guest 127.0.0.1/32 scram-sha-256\n{hba.read_text()}")
    execute(server.url, "SELECT pg_reload_conf()")
    address = urlsplit(server.url)
    mine = create_database(server.url)
    execute(mine, "REVOKE CONNECT ON DATABASE " + urlsplit(mine).path[1:] + " FROM PUBLIC")
    return {
        **made,
        "name": address._replace(path="/no_such").geturl(),
        "password": server.url.replace("//postgres@", "//guest:wrong@"),
        "privilege": mine.replace("//postgres@", "//nobody@"),
    }


def execute(url: str, statements: str) -> None:
    """Run statements."""

    async def run() -> None:
        connection = await asyncpg.connect(url, timeout=20)
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    elsewhere(run())


#: An empty one, or one beside other tables, is what a new one is made in. Of a privilege that is
#: lacking, `reach migrate` says what it needs.
MIGRATED = [("migrate", kind) for kind in POSTGRES if kind in ("name", "password", "versions")]


POSTGRES_MET = [("keys list", kind) for kind in POSTGRES]
POSTGRES_MET += [(command, kind) for command in READERS[1:] for kind in ("password", "empty")]


@pytest.mark.parametrize(("command", "kind"), [*POSTGRES_MET, *MIGRATED])
async def test_a_postgres_that_is_not_reachs(
    make_settings: MakeSettings,
    mail_server: MailServer,
    wrong_places: dict[str, str],
    kind: str,
    command: str,
) -> None:
    """Each in words of its own; the password is not among them."""
    settings = make_settings(
        database_url=wrong_places[kind], smtp_url=mail_server.url, port=free_port()
    )
    line = await asyncio.to_thread(complaint, command, settings)
    assert line.startswith("No database of Reach at postgresql://********@127.0.0.1:"), line
    assert POSTGRES[kind] in line
    assert "Set REACH_DATABASE_URL to where it is" in line
    assert "wrong@" not in line


@pytest.mark.parametrize("kind", ["name", "empty", "privilege"])
def test_check_says_that_of_postgres_too(
    make_settings: MakeSettings, wrong_places: dict[str, str], kind: str
) -> None:
    """With the same exit code."""
    settings = make_settings(database_url=wrong_places[kind])
    with ReachProcess("check", settings=settings) as process:
        assert process.wait(90) == 2, everything(process)
        (line,) = (line for line in process.output.splitlines() if line.startswith("!!"))
    assert line.startswith("!! database: No database of Reach at postgresql://"), line
    assert POSTGRES[kind] in line


def test_one_that_is_only_away_stays_so(make_settings: MakeSettings) -> None:
    """Nobody listens there now: try again, 1, and no word about settings."""
    url = f"postgresql://u@127.0.0.1:{free_port()}/name"
    with ReachProcess("keys", "list", settings=make_settings(database_url=url)) as process:
        assert process.wait(90) == 1
        *logged, line = process.errors.splitlines()
    assert line == "The database is unavailable for a moment. It cannot be reached."
    assert not any("REACH_" in one for one in logged)
