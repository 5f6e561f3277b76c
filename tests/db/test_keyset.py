"""Long lists by parts: all that fits is on one of them, and none looks at more than so much."""

import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, text, update

from reach.auth import audit
from reach.auth.audit import Actor, Filter
from reach.db import keyset
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.messages import filters
from reach.messages.model import messages
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.database.plans import explained
from tests.support.database.stored import addresses, sign_up
from tests.support.trail import trail

ADA, GRACE = (Actor("key", name, "api") for name in ("ada", "grace"))
ROWS, LOOKED_AT = 60, 7


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A trail of what two did: one of them everything that only they do, long ago."""
    chance = random.Random(1)

    def fill(tx: Transaction) -> None:
        for n in range(ROWS):
            actor = ADA if n < 2 * LOOKED_AT else chance.choice([ADA, GRACE])
            rare = n < LOOKED_AT and actor is ADA
            audit.note(tx, actor, "key.revoke" if rare else "person.add")

    async with opened(settings) as database:
        await database.write(fill)
        yield database


async def parts(database: Database, chosen_by: Filter, limit: int) -> list[list[str]]:
    """Each part of a list: the ids on it."""
    found, before = [], None
    while True:
        part, before = await database.read(audit.page, chosen_by, limit=limit, before=before)
        found.append([str(entry.id) for entry in part])
        if before is None:
            return found


@pytest.mark.parametrize(
    "chosen_by",
    [
        Filter(),
        Filter(actor="grace"),
        Filter(actor="ada", action="person.add"),
        Filter(actor="ada", action="key.revoke"),
        Filter(actor="grace", action="key.revoke"),
    ],
    ids=str,
)
@pytest.mark.parametrize("limit", [1, 3, LOOKED_AT, ROWS])
async def test_each_row_that_fits_is_on_one_part(
    database: Database, chosen_by: Filter, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, also where few of those fit that the index gives, or none; none is too long."""
    wanted = [
        str(entry.id)
        for entry in await trail(database)
        if chosen_by.actor in (None, entry.actor.id) and chosen_by.action in (None, entry.action)
    ]
    monkeypatch.setattr(keyset, "MOST_LOOKED_AT", LOOKED_AT)
    monkeypatch.setattr(keyset, "FURTHER", 2)
    monkeypatch.setattr(keyset, "FIRST", 2)
    found = await parts(database, chosen_by, limit)
    assert [id_ for part in found for id_ in part] == wanted
    assert max(map(len, found)) <= limit


async def test_no_part_looks_at_more_than_so_much(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is rare and long ago is on none of the first parts, which go on all the same."""
    monkeypatch.setattr(keyset, "MOST_LOOKED_AT", LOOKED_AT)
    found = await parts(database, Filter(actor="ada", action="key.revoke"), ROWS)
    of_ada = len(await trail(database, Filter(actor="ada")))
    assert len(found) >= of_ada // LOOKED_AT > 2
    assert not any(found[: of_ada // LOOKED_AT - 1])


async def test_a_count_ends_and_says_whether_it_is_of_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many, or so long: it is never more than what there is."""

    async def counted(chosen_by: Filter, most: int = ROWS) -> tuple[int, bool]:
        return await database.read(
            keyset.count, select(audit.audit), chosen_by.conditions(), most=most
        )

    adds = Filter(actor="ada", action="person.add")
    all_of_them = len(await trail(database, adds))
    monkeypatch.setattr(keyset, "COUNTED_STEP", LOOKED_AT)
    assert await counted(Filter()) == (ROWS, True)
    assert await counted(Filter(), most=5) == (6, False)
    assert await counted(adds) == (all_of_them, True)
    assert await counted(adds, most=all_of_them) == (all_of_them, True)
    assert await counted(adds, most=5) == (6, False)
    monkeypatch.setattr(keyset, "COUNT_SECONDS", 0.0)
    first, is_all = await counted(adds)
    assert 0 < first <= LOOKED_AT
    assert not is_all


async def test_a_few_that_failed_are_found_among_many(settings: Settings) -> None:
    """By their state, and not by going through all that have their template."""
    async with opened(settings) as database:
        await sign_up(database, settings, *addresses(2000))

        def fail(tx: Transaction) -> None:
            few = select(messages.c.id).limit(3).scalar_subquery()
            tx.execute(update(messages).values(state="sent").where(messages.c.id.not_in(few)))
            tx.execute(update(messages).values(state="failed").where(messages.c.state == "queued"))
            if not settings.database.is_sqlite:
                tx.execute(text("ANALYZE messages"))

        def look(tx: Transaction) -> None:
            failed = filters.Filter(state="failed", template="welcome")
            assert len(filters.page(tx, failed, limit=50)[0]) == 3
            assert len(filters.retryable(tx, failed)) == 3

        await database.write(fail)
        with explained() as plans:
            await database.read(look)
    assert len(plans) == 3
    for plan in plans.values():
        assert "ix_messages_state" in str(plan), plan
