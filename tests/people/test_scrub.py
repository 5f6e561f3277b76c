"""What was deleted leaves SQLite's files too, whatever is in the way, and nobody waits for that."""

import sqlite3
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest

from reach.people.indexing import Indexing
from reach.people.search_index import BLOCK
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import add_old_people
from tests.support.people import add, operator
from tests.support.processes.reach import Reach, running_reach

#: Far longer than an answer takes, far shorter than a writer waits for a lock.
AT_ONCE = 10
PATIENCE = 30


@pytest.fixture
def patient(make_settings: Callable[..., Settings], sqlite: str) -> Settings:
    """Settings for SQLite, where Reach waits long for locks."""
    return make_settings(database_url=sqlite, database_seconds=PATIENCE)


@pytest.fixture
async def on_sqlite(patient: Settings) -> AsyncIterator[Reach]:
    """Reach on SQLite."""
    async with running_reach(patient) as running:
        yield running


def log_of(reach: Reach) -> bytes:
    """What the write-ahead log holds."""
    return Path(f"{reach.settings.database.url.database}-wal").read_bytes()


def files_with(reach: Reach, text: bytes) -> list[str]:
    """The files of the database that hold this."""
    file = Path(reach.settings.database.url.database or "")
    return [path.name for path in file.parent.glob(f"{file.name}*") if text in path.read_bytes()]


@contextmanager
def reading(reach: Reach) -> Iterator[None]:
    """Hold a reader's transaction open."""
    file = reach.settings.database.url.database or ""
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM people").fetchall()
        yield


def put_copy_in_place(reach: Reach) -> None:
    """Do as who restores a backup does."""
    file = Path(reach.settings.database.url.database or "")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("VACUUM INTO ?", [f"{file}-copy"])
    Path(f"{file}-copy").rename(file)


def mode(reach: Reach) -> str:
    """How the file is written to."""
    with closing(sqlite3.connect(reach.settings.database.url.database or "")) as other:
        return str(other.execute("PRAGMA journal_mode").fetchone()[0])


async def test_a_reader_keeps_nobody_waiting(on_sqlite: Reach, told: Callable[[], str]) -> None:
    """A 204 while somebody reads, sign-ups go on, and the log is emptied when they are done."""
    http = await operator(on_sqlite)
    urls = [
        (await add(http, email=f"erase-me{n}@example.com")).headers["location"] for n in range(3)
    ]
    with reading(on_sqlite), anyio.fail_after(AT_ONCE):
        for url in urls:
            assert (await http.delete(url)).status_code == 204
        assert (await on_sqlite.sign_up("bob@example.com")).status_code == 202
        assert b"erase-me" in log_of(on_sqlite)
    await eventually(lambda: b"erase-me" not in log_of(on_sqlite))
    assert told().count("stays in the write-ahead log") == 1
    assert (await http.get(urls[0])).status_code == 404


async def test_what_cannot_be_emptied_is_deleted_all_the_same(patient: Settings) -> None:
    """The answer is about the person; and stopping finishes what is left."""
    async with running_reach(patient) as reach:
        http = await operator(reach)
        url = (await add(http, email="erase-me@example.com")).headers["location"]
        with reading(reach):
            assert (await http.delete(url)).status_code == 204
        assert files_with(reach, b"erase-me") != []
    assert files_with(reach, b"erase-me") == []


async def test_it_needs_no_connection_that_is_open(on_sqlite: Reach) -> None:
    """Another program's write, and a Reach that has not written yet."""
    file = on_sqlite.settings.database.url.database or ""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE others (a)")
        assert log_of(on_sqlite)
        await on_sqlite.database.scrub()
        assert not log_of(on_sqlite)


async def test_a_copy_put_in_place_keeps_a_log_again(on_sqlite: Reach) -> None:
    """`VACUUM INTO` makes a copy without one; a reader in the way does no harm."""
    put_copy_in_place(on_sqlite)
    assert mode(on_sqlite) == "delete"
    with reading(on_sqlite), anyio.fail_after(AT_ONCE):
        await on_sqlite.database.scrub()
    assert mode(on_sqlite) == "delete"
    put_copy_in_place(on_sqlite)
    assert (await on_sqlite.sign_up()).status_code == 202
    assert mode(on_sqlite) == "wal"


async def test_who_was_indexed_leaves_the_index_too(on_sqlite: Reach) -> None:
    """No file says any more which three characters somebody of such a name had."""
    people = [{"email": f"ada{n}@example.com"} for n in range(BLOCK - 1)]
    *_, erased = await add_old_people(
        on_sqlite.database, *people, {"email": "erase-me@example.com", "name": "Qwxyz"}
    )
    await Indexing(on_sqlite.database).keep()
    #: A row of the index: three characters, the block's number, which is 0, and compressed bits.
    row = b"qwx" + zlib.compress(b"", 1)[:2]
    assert files_with(on_sqlite, row) != []
    http = await operator(on_sqlite)
    assert (await http.delete(f"/v1/people/{erased}")).status_code == 204
    assert files_with(on_sqlite, row) == []
    assert files_with(on_sqlite, erased.bytes) == []
