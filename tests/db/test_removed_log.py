"""The log of a SQLite database, or the log's index, is removed while Reach runs on it.

Nothing that was acknowledged is lost. (Postgres has its files to itself.)
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reach.db.errors import DatabaseUnavailable
from reach.db.sqlite_files import LAG_SECONDS, WRITE_LAG_SECONDS
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.files import beside, is_whole, named, remove, signed_up, stuck
from tests.support.database.stored import people_in, sign_up
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, running_api

MakeSettings = Callable[..., Settings]


@pytest.fixture
def settings(make_settings: MakeSettings, sqlite: str) -> Settings:
    """Use SQLite alone."""
    return make_settings(database_url=sqlite, port=free_port())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Tell where the database is."""
    return tmp_path / "reach.sqlite3"


async def test_a_log_that_is_removed_loses_nothing(
    settings: Settings, file: Path, told: Callable[[], str]
) -> None:
    """Of what was acknowledged; two processes go on with it, and a third that comes later."""
    names: list[str] = []
    async with running_api(settings), client(settings) as http, opened(settings) as database:

        async def both_write() -> None:
            for _ in range(2):
                assert await signed_up(http, f"a{len(names)}") == 202
                names.append(f"a{len(names)}@example.com")
                await sign_up(database, settings, f"a{len(names)}@example.com")
                names.append(f"a{len(names)}@example.com")

        await both_write()
        for times, kinds in enumerate((("-wal",), ("-shm",), ("-wal", "-shm")), start=1):
            remove(*(Path(f"{file}{kind}") for kind in kinds))
            looks_again = time.monotonic() + 2 * WRITE_LAG_SECONDS
            await eventually(lambda at=looks_again: time.monotonic() > at)  # type: ignore[misc]
            await sign_up(database, settings, f"a{len(names)}@example.com")
            names.append(f"a{len(names)}@example.com")
            assert told().count("write-ahead log removed") == times
            await both_write()
            assert await people_in(database) == names
            async with opened(settings) as late:
                assert await people_in(late) == names
    assert is_whole(file)


@pytest.mark.parametrize("kinds", [("-wal",), ("-shm",), ("-wal", "-shm")])
async def test_nor_does_one_whose_writer_had_just_lost_its_connection(
    make_settings: MakeSettings, sqlite: str, file: Path, kinds: tuple[str, ...]
) -> None:
    """Its readers have the log, and another process too: so closing it saves nothing of it."""
    settings = make_settings(database_url=sqlite, database_seconds=0.5, port=free_port())
    async with running_api(settings), client(settings) as http, opened(settings) as database:
        names = [f"a{number}@example.com" for number in range(4)]
        await sign_up(database, settings, names[0])
        for _ in range(2):
            assert await people_in(database) == names[:1]
        assert await signed_up(http, "a1") == 202
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseUnavailable):
                await sign_up(database, settings, "lost@example.com")
        remove(*(Path(f"{file}{kind}") for kind in kinds))
        await sign_up(database, settings, names[2])
        assert await people_in(database) == names[:3]
        assert await signed_up(http, "a3") == 202
        assert await people_in(database) == names
    assert is_whole(file)


@pytest.mark.parametrize("kinds", [("-wal",), ("-shm",), ("-wal", "-shm")])
@pytest.mark.parametrize("reads", [0, 1])
async def test_nobody_opens_another_log_beside_one_that_was_removed(
    settings: Settings, file: Path, kinds: tuple[str, ...], reads: int
) -> None:
    """Who reads for the first time neither fails, nor makes the log that the others' is not."""
    async with opened(settings) as database:
        await sign_up(database, settings, "ada@example.com")
        for _ in range(reads):
            await people_in(database)
        remove(*(Path(f"{file}{kind}") for kind in kinds))
        for _ in range(2):
            assert await people_in(database) == ["ada@example.com"]
        await sign_up(database, settings, "eve@example.com")
        for _ in range(2):
            assert await people_in(database) == ["ada@example.com", "eve@example.com"]
    assert is_whole(file)


async def test_who_only_reads_makes_a_new_log_too(
    settings: Settings, file: Path, told: Callable[[], str]
) -> None:
    """So a process that comes later, before anybody writes, makes no other: that cost all of it."""
    async with opened(settings) as database:
        await sign_up(database, settings, "ada@example.com")
        for _ in range(3):
            assert await people_in(database) == ["ada@example.com"]
        remove(beside(file)[0])
        with stuck(file):  # it waits for nobody's turn: it has a log to read by
            looks_again = time.monotonic() + LAG_SECONDS
            while time.monotonic() < looks_again:
                assert await people_in(database) == ["ada@example.com"]
            assert await people_in(database) == ["ada@example.com"]
        assert await people_in(database) == ["ada@example.com"]
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("CREATE TABLE note (text)")
        await sign_up(database, settings, "eve@example.com")
        assert await people_in(database) == ["ada@example.com", "eve@example.com"]
    assert told().count("write-ahead log removed") == 1
    assert is_whole(file)


async def test_it_goes_on_where_the_log_went_with_its_last_connection(
    make_settings: MakeSettings, sqlite: str, file: Path
) -> None:
    """An error ended Reach's own connection, and the last was another program's: nothing is wrong.

    Its next log has another number.
    """
    settings = make_settings(database_url=sqlite, database_seconds=0.5)
    async with opened(settings) as database:
        await sign_up(database, settings, "ada@example.com")
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseUnavailable):
                await sign_up(database, settings, "bob@example.com")
            was = {one.stat().st_ino for one in beside(file)}
            for one in beside(file):
                named(one, Path(f"{one}-kept"))  # so that no other file gets its number
        assert not any(one.exists() for one in beside(file))
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("CREATE TABLE note (text)")
            assert not {one.stat().st_ino for one in beside(file)} & was
            assert await people_in(database) == ["ada@example.com"]
            await sign_up(database, settings, "eve@example.com")
    async with opened(settings) as database:
        assert await people_in(database) == ["ada@example.com", "eve@example.com"]
