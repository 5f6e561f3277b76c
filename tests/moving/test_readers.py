"""Postgres alone: who else is connected to the target while a copy is at work."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from reach.db.copy.postgres import SESSION
from reach.db.copy.side import CannotCopy
from reach.db.migrate import newest
from tests.conftest import migrate
from tests.moving.test_copy import ADA, LAST
from tests.support.eventually import eventually
from tests.support.moving.copied import Noted, Place, copied
from tests.support.moving.filled import counts

TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgname = 'reach_copy_guard'"
DROPS = "DROP FUNCTION reach_copy_guard() CASCADE"
HAS_LOOKED = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'reach db copy' "
    "AND datname = current_database() AND state = 'idle' AND query LIKE '%pg_stat_activity%'"
)


@pytest.fixture
def postgres(new_postgres: Callable[[], Place]) -> Place:
    """A migrated database."""
    place = new_postgres()
    migrate(place.url)
    return place


@asynccontextmanager
async def reading(place: Place) -> AsyncIterator[None]:
    """Have somebody read a table, and then do nothing."""
    connection = await asyncpg.connect(place.url, timeout=20)
    try:
        await connection.execute("BEGIN; SELECT count(*) FROM people")
        yield
    finally:
        await connection.close()


class Writer(Noted):
    """Writes to the target, once all rows are there."""

    def __init__(self, place: Place) -> None:
        """Write nothing yet."""
        super().__init__()
        self._place = place
        self.refusals: list[str] = []

    def begin(self, what: str, rows: int) -> None:
        """Write at one of the steps."""
        super().begin(what, rows)
        if what == "verifying people":
            with pytest.raises(asyncpg.CannotConnectNowError) as refused:
                self._place.run(ADA.format(LAST, now="now()"))
            self.refusals.append(str(refused.value))


async def test_who_reads_is_in_nobodys_way(source: Place, postgres: Place) -> None:
    """The copy ends well; of the triggers that are left then it says how they go.

    They do nothing, until a copy needs them again.
    """
    lines = Noted()
    async with reading(postgres):
        found = await asyncio.to_thread(copied, source, postgres, watching=lines)
    assert found == counts(source.file)
    assert postgres.revision == newest()
    assert [line for line in lines.noted if DROPS in line]
    assert postgres.run(TRIGGERS) != [(0,)]
    postgres.run(ADA.format(LAST, now="now()"))
    assert postgres.count("people") == 311
    postgres.run(f"TRUNCATE {', '.join(found)}, counters")
    writer = Writer(postgres)
    assert await asyncio.to_thread(copied, source, postgres, watching=writer) == found
    assert writer.refusals
    assert not [line for line in writer.noted if DROPS in line]
    assert postgres.run(TRIGGERS) == [(0,)]


async def test_who_has_just_left_is_in_nobodys_way(source: Place, postgres: Place) -> None:
    """Of a Reach that was killed the server may know a moment later: it is looked again."""
    left = {"application_name": "reach"}
    connection = await asyncpg.connect(postgres.url, timeout=20, server_settings=left)
    try:
        copying = asyncio.create_task(asyncio.to_thread(copied, source, postgres))
        await eventually(lambda: copying.done() or postgres.run(HAS_LOOKED))
    finally:
        await connection.close()
    assert await copying == counts(source.file)


async def test_who_must_be_waited_for_is_named(
    source: Place, postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reads half a copy is in the way of removing it."""
    postgres.on_adding("people", 300, "UPDATE people SET name = 'x' WHERE name = 'Zoë 300'")
    with pytest.raises(CannotCopy, match="differs"):
        await asyncio.to_thread(copied, source, postgres)
    postgres.be_well("people")
    async with reading(postgres):
        monkeypatch.setitem(SESSION, "lock_timeout", "200ms")
        with pytest.raises(CannotCopy, match="Somebody has the target's tables open"):
            await asyncio.to_thread(copied, source, postgres, starts_over=True)
    assert await asyncio.to_thread(copied, source, postgres, starts_over=True)
    assert postgres.run(TRIGGERS) == [(0,)]
