"""Copying all that Reach keeps from one database into another.

The source is read as it is at one moment. In the target all happens in one transaction, which ends
well only once the counts and checksums of every table are the source's: a copy that is killed,
refused or cut off leaves no row behind.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from reach.auth.audit import audit
from reach.auth.keys import api_keys
from reach.db.counters import counters
from reach.db.errors import REVISION, NoDatabase
from reach.db.migrate import CannotMigrate, migrate_beside
from reach.db.schema import VERSION_TABLE, newest
from reach.events.model import webhook_attempts, webhook_events, webhooks
from reach.idempotency.stored import idempotency_keys
from reach.messages.model import attempts, messages, reports
from reach.messages.recipient_budget import recipient_budgets
from reach.messages.suppressions import suppressions
from reach.people.address_changes import address_changes
from reach.people.antispam import proofs
from reach.people.consent import consent_wordings
from reach.people.link_requests import link_requests
from reach.people.model import people
from reach.people.notices import notices
from reach.people.search_index import blocks, changed, grams
from reach.settings.database_url import DatabaseUrl
from reach.transfer import Watcher
from reach.transfer.databases import CannotCopy, NotThere, PostgresSide, Role, Side, SqliteSide
from reach.transfer.rows import Digest, Row, Shape

#: All that is kept, those that others refer to first; not the counters, which triggers keep.
KEPT = (
    *(people, messages, attempts, api_keys, idempotency_keys, link_requests, proofs),
    *(address_changes, recipient_budgets, notices, audit, consent_wordings, reports, suppressions),
    *(webhooks, webhook_events, webhook_attempts),
)
#: What stays behind: who is signed in at the console signs in again; a breaker is a worker's.
LEFT = ("sessions", "open_breakers")
#: The index that people are searched by: workers make it again, of the people that are there.
MADE_AGAIN = (blocks, grams, changed)
COUNTERS = Shape(counters.name, ("name", "hour", "count"), ("text", "time", "number"))
#: What the counters say that is there now, counted.
COUNT_ROWS = """
    SELECT 'people', count(*) FROM people WHERE email <> '' UNION ALL
    SELECT 'confirmed', count(confirmed_at) FROM people WHERE email <> '' UNION ALL
    SELECT state, count(*) FROM messages WHERE recipient <> '' GROUP BY state
"""
SAME = "The source and the target are one and the same database."
NOT_REACHS = "The target is not empty: it holds tables of something else."
SNAPSHOT = (
    "The source is read as it is at {:%H:%M:%S} UTC: what is written to it later stays there."
)
WRITTEN_TO = (
    "Warning: the source was written to meanwhile, and what was written is not in the target. Was "
    "all of Reach stopped? If not, stop it, make the target empty, and run the same command again."
)
EQUAL = "Counts and checksums are the source's."


async def copy(
    source_url: DatabaseUrl, target_url: DatabaseUrl, watcher: Watcher
) -> Mapping[str, int]:
    """Copy every row, and compare; how many rows there are of each table.

    Raises CannotCopy, DatabaseUnavailable: then the target has no row. If the connection to it is
    lost while it commits, it has all of them, or none.
    """
    if _is_same_file(source_url, target_url):
        raise CannotCopy(SAME)
    shapes = [Shape.of(table) for table in KEPT]
    names = [*(shape.name for shape in shapes), COUNTERS.name]
    async with AsyncExitStack() as stack:
        source, target = _side("source", source_url, names), _side("target", target_url, names)
        stack.push_async_callback(source.close)
        stack.push_async_callback(target.close)
        await source.open()
        await _require_current(source)
        watcher.note(SNAPSHOT.format(datetime.now(UTC)))
        await _open_target(target, watcher)
        await target.own()
        await _require_empty(target, shapes)
        for table in MADE_AGAIN:
            await target.fetch(f'DELETE FROM "{table.name}"')
        copied = {shape.name: await _copy(source, target, shape, watcher) for shape in shapes}
        await _verify(target, shapes, copied, watcher)
        await _copy_hourly_counts(source, target)
        await target.analyse()
        await _look_at_source_again(source, watcher)
        watcher.note(EQUAL)
        await target.commit()
    return {name: digest.rows for name, digest in copied.items()}


def _is_same_file(one: DatabaseUrl, other: DatabaseUrl) -> bool:
    if not (one.is_sqlite and other.is_sqlite):
        return False
    files = [Path(url.url.database or "") for url in (one, other)]
    return all(file.exists() for file in files) and files[0].samefile(files[1])


def _side(role: Role, url: DatabaseUrl, ours: Sequence[str]) -> Side:
    return (SqliteSide if url.is_sqlite else PostgresSide)(role, url, ours)


async def _revision(side: Side) -> str | None:
    """The revision that a database says it is at; None if it says nothing."""
    if VERSION_TABLE not in await side.tables():
        return None
    found = await side.fetch(f"SELECT version_num FROM {VERSION_TABLE}")
    return str(found[0][0]) if found else None


async def _require_current(side: Side) -> None:
    """Refuse a database that this version of Reach cannot copy from or into. Raises CannotCopy."""
    found, role = await _revision(side), side.role
    if found is None:
        raise NotThere(f"The {role}, {side.url}, is no database of Reach.")
    if not REVISION.fullmatch(found):
        raise NotThere(f"The {role}, {side.url}, is another program's database.")
    if found < newest():
        raise CannotCopy(
            f"The {role}'s schema ({found}) is older than this version's ({newest()}): "
            "run `reach migrate` on it first."
        )
    if found > newest():
        raise CannotCopy(
            f"The {role}'s schema ({found}) is newer than this version's ({newest()}): "
            "copy with the version of Reach that it is of."
        )


async def _open_target(target: Side, watcher: Watcher) -> None:
    """Have the target open, with tables of this version: made, where there is nothing.

    Raises CannotCopy, DatabaseUnavailable.
    """
    if target.exists:
        await target.open()
        if there := await target.tables():
            if VERSION_TABLE not in there:
                raise NotThere(NOT_REACHS)
            await _require_current(target)
            return
        await target.close()
    try:
        await migrate_beside(target.url, say=watcher.note)
    except NoDatabase as reason:
        raise NotThere(f"The target cannot be made at {target.url}. {reason.detail}") from reason
    except CannotMigrate as reason:
        raise CannotCopy(*reason.args) from None
    await target.open()


async def _require_empty(target: Side, shapes: Sequence[Shape]) -> None:
    """Refuse a target in which there is anything. Raises CannotCopy."""
    full = [
        shape.name
        for shape in shapes
        if await target.fetch(f'SELECT 1 FROM "{shape.name}" LIMIT 1')
    ]
    if full:
        raise CannotCopy(
            f"The target is not empty: it has rows in {', '.join(full)}. Name an empty database. "
            "If the connection was lost at the very end of a copy into it, that copy is whole."
        )


async def _copy(source: Side, target: Side, shape: Shape, watcher: Watcher) -> Digest:
    """Copy a table; what was read from the source."""
    ((rows,),) = await source.fetch(f'SELECT count(*) FROM "{shape.name}"')
    watcher.begin(f"copying {shape.name}", int(rows or 0))
    digest = Digest()
    async for batch in source.rows(shape):
        digest.add(shape, batch)
        await target.add(shape, batch)
        watcher.advance(len(batch))
    return digest


async def _verify(
    target: Side, shapes: Sequence[Shape], copied: Mapping[str, Digest], watcher: Watcher
) -> None:
    """Read all of the target back. Raises CannotCopy if it is not what the source has."""
    wrong = []
    for shape in shapes:
        expected, found = copied[shape.name], Digest()
        watcher.begin(f"verifying {shape.name}", expected.rows)
        async for batch in target.rows(shape):
            found.add(shape, batch)
            watcher.advance(len(batch))
        if not found.is_of_same_rows(expected):
            wrong.append(f"{shape.name} ({found.rows:,} rows, the source has {expected.rows:,})")
    if wrong:
        raise CannotCopy(
            f"The copy differs from the source in {', '.join(wrong)}, and was undone: something "
            "in the target changes what is written to it (a trigger, say), or a disk fails."
        )


async def _copy_hourly_counts(source: Side, target: Side) -> None:
    """Take the source's hourly counts; require that the target's counters are right.

    As rows are added the target's triggers count them, as always: so how many there are now is
    right. What happened in an hour, rows do not tell (deliveries; sign-ups of people who have
    left): of that the source's counts are taken, in place of what the triggers have made.
    """
    counts = await _hourly_counts(source)
    await target.fetch(f"DELETE FROM {COUNTERS.name} AS t WHERE {_hour(target)} > 0")
    await target.add(COUNTERS, counts)
    rows = {name: count for name, count in await target.fetch(COUNT_ROWS) if count}
    if await _hourly_counts(target) != counts or await _counts_now(target) != rows:
        raise CannotCopy(
            "The target's counters are wrong, though it was empty; nothing was copied."
        )


async def _hourly_counts(side: Side) -> list[Row]:
    hour = _hour(side)
    return await side.fetch(
        f"SELECT t.name, {hour}, CAST(sum(t.count) AS bigint) FROM {COUNTERS.name} AS t "
        f"WHERE {hour} > 0 GROUP BY 1, 2 HAVING sum(t.count) <> 0 ORDER BY 2, 1"
    )


async def _counts_now(side: Side) -> Mapping[object, object]:
    found = await side.fetch(
        f"SELECT t.name, CAST(sum(t.count) AS bigint) FROM {COUNTERS.name} AS t "
        f"WHERE {_hour(side)} = 0 GROUP BY 1 HAVING sum(t.count) <> 0"
    )
    return {row[0]: row[1] for row in found}


def _hour(side: Side) -> str:
    return side.column("hour", "time")


async def _look_at_source_again(source: Side, watcher: Watcher) -> None:
    """Warn if the source has changed since: who signed up there was told that it is kept."""
    before = await _hourly_counts(source), await _counts_now(source)
    await source.close()
    await source.open()
    if (await _hourly_counts(source), await _counts_now(source)) != before:
        watcher.note(WRITTEN_TO)
