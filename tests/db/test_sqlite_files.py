"""The files of a SQLite database are moved, replaced and written over while Reach runs on them.

What is put there is never written to before it is known to fit, and nothing that was acknowledged
is lost. (Postgres has its files to itself.)
"""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import anyio
import pytest

from reach.db.errors import NoDatabase, Replaced
from reach.runtime.process import opened
from reach.settings import Settings
from reach.transfer import Watcher
from reach.transfer.backup import back_up
from tests.support.database.files import beside, is_whole, moved, remove, signed_up, stuck
from tests.support.database.stored import people_in, sign_up
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, ended, everything, running_api, said, worker
from tests.support.servers.mail import MailServer

MakeSettings = Callable[..., Settings]

LOST, BACK = "the database file is lost", "the database file is back"


@pytest.fixture
def settings(make_settings: MakeSettings, sqlite: str) -> Settings:
    """Use SQLite alone."""
    return make_settings(database_url=sqlite, port=free_port())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Tell where the database is."""
    return tmp_path / "reach.sqlite3"


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Tell where a backup goes, on the same disk."""
    return tmp_path / "backup.sqlite3"


def content(file: Path) -> str:
    """What is in a file, in short."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def make_backup(file: Path, backup: Path) -> None:
    """Make one as the guide says."""
    back_up(file, backup, Watcher(), replaces=True)


def kept_aside(file: Path, backup: Path) -> Path:
    """Put the backup in the database's place; the file that was there has another name now."""
    kept = file.with_name("kept")
    kept.hardlink_to(file)
    backup.replace(file)
    return kept


def named(file: Path, to: Path) -> None:
    """Give a file a second name."""
    to.hardlink_to(file)


def copied(file: Path, folder: Path) -> Path:
    """Copy a file into a new folder."""
    folder.mkdir()
    return Path(shutil.copy(file, folder))


async def test_a_file_moved_over_it_is_never_written_to(
    settings: Settings, file: Path, backup: Path
) -> None:
    """By nobody: it is 503, an error in the log, once; and all goes on when the right one is back.

    A command that starts now refuses it too, and SIGTERM ends it in time.
    """
    async with running_api(settings) as api, client(settings) as http:
        assert await signed_up(http, "before") == 202
        make_backup(file, backup)
        assert await signed_up(http, "after") == 202
        kept = kept_aside(file, backup)
        as_it_was = content(file)

        assert [await signed_up(http, f"lost{n}") for n in range(3)] == [503] * 3
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (
            503,
            "database-replaced",
        )
        for command in ("keys create K --scope people:read", "migrate"):
            with ReachProcess(*command.split(), settings=settings) as process:
                assert await ended(process, 60) == 2, everything(process)
                assert "was replaced" in everything(process)
                assert "remove the -wal and -shm" in everything(process)
        assert content(file) == as_it_was
        assert all(one.exists() for one in beside(file))

        kept.replace(file)
        assert await signed_up(http, "again") == 202
        assert api.output.count(LOST) == api.output.count(BACK) == 1
        make_backup(file, backup)
        kept = kept_aside(file, backup)
        as_it_was = content(file)
        assert await signed_up(http, "lost") == 503
        api.running.terminate()
        assert await ended(api, settings.grace_seconds) == 0
    assert content(file) == as_it_was
    kept.replace(file)
    async with opened(settings) as database:
        found = [address.split("@")[0] for address in await people_in(database)]
    assert found == ["before", "after", "again"]
    assert is_whole(file)


def moved_over(file: Path, backup: Path) -> None:
    """Restore by renaming."""
    backup.replace(file)


def made_again(file: Path, backup: Path) -> None:
    """Restore by removing and copying."""
    file.unlink()
    shutil.copy(backup, file)


def written_over(file: Path, backup: Path) -> None:
    """Restore by copying into the file that is there."""
    shutil.copy(backup, file)


@pytest.mark.parametrize("restore", [moved_over, made_again, written_over])
async def test_a_restored_file_is_not_spoilt(
    settings: Settings,
    file: Path,
    backup: Path,
    restore: Callable[[Path, Path], None],
    told: Callable[[], str],
) -> None:
    """However it is done, and whatever reads or writes: it stays as it is, to the byte."""
    async with opened(settings) as database, opened(settings) as other:
        await sign_up(database, settings, "ada@example.com")
        make_backup(file, backup)
        for one in (database, other):
            await sign_up(one, settings, f"{id(one)}@example.com")
        restore(file, backup)
        as_it_was = content(file)
        for one in (database, other, database, other):
            with pytest.raises(Replaced):
                await sign_up(one, settings, "bob@example.com")
            with pytest.raises(Replaced):
                await people_in(one)
        async with opened(settings) as late:
            with pytest.raises(Replaced):
                await people_in(late)
        with pytest.raises(Replaced):
            make_backup(file, backup.with_name("another"))
        assert content(file) == as_it_was
    assert told().count(LOST) == 2
    if restore is not written_over:  # its log is folded into it when Python 3.11 closes it
        assert content(file) == as_it_was
        remove(*beside(file))
        async with opened(settings) as database:
            assert await people_in(database) == ["ada@example.com"]
            await sign_up(database, settings, "bob@example.com")
        assert is_whole(file)


async def test_it_goes_on_with_a_file_that_was_restored_by_the_rules(
    settings: Settings, file: Path, backup: Path
) -> None:
    """Without a restart, though the rules ask for one: once the log of the old one is gone."""
    async with opened(settings) as database:
        await sign_up(database, settings, "ada@example.com")
        make_backup(file, backup)
        await sign_up(database, settings, "bob@example.com")
        moved_over(file, backup)
        with pytest.raises(Replaced):
            await people_in(database)
        remove(*beside(file))
        assert await people_in(database) == ["ada@example.com"]
        await sign_up(database, settings, "eve@example.com")
    assert is_whole(file)


async def test_a_file_that_is_gone_is_said_once(
    settings: Settings, file: Path, told: Callable[[], str]
) -> None:
    """And if it is put back, with its log, nothing is lost."""
    async with opened(settings) as database:
        await sign_up(database, settings, "ada@example.com")
        aside = moved(file, file.with_name("aside"))
        for _ in range(3):
            with pytest.raises(NoDatabase):
                await sign_up(database, settings, "bob@example.com")
            with pytest.raises(NoDatabase):
                await people_in(database)
        moved(aside, file)
        await sign_up(database, settings, "eve@example.com")
        assert await people_in(database) == ["ada@example.com", "eve@example.com"]
    assert (told().count(LOST), told().count(BACK)) == (1, 1)


@contextmanager
def gone(file: Path) -> Iterator[None]:
    """Remove it."""
    file.unlink()
    yield


@contextmanager
def all_gone(file: Path) -> Iterator[None]:
    """Remove the folder with all that is in it."""
    shutil.rmtree(file.parent)
    yield


async def test_it_stops_in_time_without_its_file(
    make_settings: MakeSettings, migrated_file: Path, tmp_path: Path, mail_server: MailServer
) -> None:
    """With an attempt in hand that can be noted nowhere: SIGTERM ends it within the grace time.

    Each in a process of its own, side by side.
    """
    gate = mail_server.gate("accepted")

    async def stops(happens: Callable[[Path], AbstractContextManager[None]]) -> None:
        file = copied(migrated_file, tmp_path / happens.__name__)
        settings = make_settings(
            database_url=f"sqlite:///{file}",
            database_seconds=3,
            grace_seconds=8,
            smtp_url=mail_server.url,
        )
        async with opened(settings) as database:
            await sign_up(database, settings, "ada@example.com")
        async with worker(settings) as process:
            await gate.wait_reached(3, within_seconds=60)
            with happens(file):
                gate.open()
                await said(process, "cannot record the outcome yet")
                process.running.terminate()
                assert await ended(process, settings.grace_seconds + 2.5) == 0, everything(process)

    async with anyio.create_task_group() as group:
        for happens in (gone, all_gone, stuck):
            group.start_soon(stops, happens)


async def test_a_number_that_is_given_again_means_nothing(
    settings: Settings, file: Path, backup: Path
) -> None:
    """The log of a database that was put there while nothing ran may get that of the one before."""
    log = beside(file)[0]
    again = file.with_name("again")
    async with opened(settings) as database:
        await sign_up(database, settings, "ada@example.com")
        make_backup(file, backup)
        named(log, again)
    moved(backup, file)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("CREATE TABLE note (text)")
        again.write_bytes(log.read_bytes())
    moved(again, log)
    async with opened(settings) as database:
        assert await people_in(database) == ["ada@example.com"]
