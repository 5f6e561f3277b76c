"""Counters stay few: their rows are folded, and old hourly counts go; what they say stays true."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import anyio.to_thread
from sqlalchemy import insert, select

from reach.db import counters
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.delivery.cleanup import fold_for_ever, sweep_for_ever
from reach.people.address import parse_address
from reach.people.link_requests import answer_some
from reach.people.links import request_links_all
from reach.people.schemas import LINK_ON_ITS_WAY, LinkRequest, Submission
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import addresses, sign_up
from tests.support.database.walks import LONG_AGO, OTHERS, are_true, current, hourly, row_count


async def test_a_worker_keeps_them_few(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """On Postgres each statement adds rows; what is folded is one row each, and true.

    Two workers who fold at the same time lose nothing.
    """
    settings = make_settings(database_url=postgres)
    async with opened(settings) as database:
        for address in addresses(20):
            await sign_up(database, settings, address)
        assert await database.read(row_count) >= 60
        async with anyio.create_task_group() as group:
            group.start_soon(fold_for_ever, database)
            group.start_soon(fold_for_ever, database)
            await eventually(lambda: is_folded(database))
            group.cancel_scope.cancel()
        assert await are_true(database)
        assert await database.read(hourly) == {"sign_ups": 20}


async def is_folded(database: Database) -> bool:
    """Whether there is about one row for people, for queued, and for this hour's sign-ups."""
    return await database.read(row_count) <= 4  # the hour may end meanwhile


async def test_folding_much_takes_each_row_once(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """However many have piled up while no worker ran."""
    # To insert 10,001 rows and to fold 5,000 takes a second or two, and longer on a busy machine.
    settings = make_settings(database_url=postgres, database_seconds=60)
    rows = [{"name": "queued", "hour": counters.CURRENT, "count": 1}] * (2 * counters.FOLD_ROWS + 1)
    async with opened(settings) as database:
        await database.write(lambda tx: tx.execute(insert(counters.counters), rows))
        assert [await database.write(counters.fold) for _ in range(3)] == [True, True, False]
        assert await database.read(row_count) <= len(("people", *OTHERS)) + 2
        assert (await database.read(current))["queued"] == len(rows)
        before = await database.read(every_row)
        assert not await database.write(counters.fold)
        assert await database.read(every_row) == before


async def test_a_link_for_nobody_leaves_no_row(database: Database, settings: Settings) -> None:
    """Not even one that would be folded: it would say when somebody asked."""
    await sign_up(database, settings, *addresses(2))
    before = await database.read(every_row)
    email = parse_address("nobody@example.com", smtputf8=True)
    asked = [Submission(LinkRequest.model_construct(email=email))]
    assert await database.write(request_links_all, asked, settings) == [LINK_ON_ITS_WAY]
    assert await database.write(answer_some, settings) == 1
    assert await database.read(every_row) == before


def every_row(tx: Transaction) -> list[tuple[object, ...]]:
    """Every row that counters take."""
    return [
        tuple(row) for row in tx.execute(select(counters.counters).order_by(counters.counters.c.id))
    ]


async def test_old_flows_go(database: Database) -> None:
    """After 91 days; counters of now stay."""
    kept = [counters.CURRENT, datetime.now(UTC) - timedelta(days=90)]
    gone = [datetime.now(UTC) - timedelta(days=92), counters.CURRENT + timedelta(hours=1)]
    rows = [{"name": "sign_ups", "hour": hour, "count": 1} for hour in kept + gone]
    await database.write(lambda tx: tx.execute(insert(counters.counters), rows))

    async def is_swept() -> bool:
        found = await database.read(counters.read, LONG_AGO)
        return {hour for name, hour in found if name == "sign_ups"} == set(kept)

    async with anyio.create_task_group() as group:
        group.start_soon(sweep_for_ever, database, 90)
        await eventually(is_swept)
        group.cancel_scope.cancel()
