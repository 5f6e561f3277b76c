"""A copy from its beginning, or from where it was interrupted, to its end."""

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from sqlalchemy import Table

from reach.db.copy import flows, mark
from reach.db.copy.postgres import PostgresSide, is_same
from reach.db.copy.rows import Digest, Row, Shape
from reach.db.copy.side import CannotCopy, Role, Side
from reach.db.copy.sqlite import SqliteSide
from reach.db.copy.target import begin_anew, migrated, prepare, require_current
from reach.db.migrate import newest
from reach.settings.urls import DatabaseUrl

UNSETTLED = (
    "The target could not be told to count anew (ANALYZE): it does so itself, in some minutes. "
    "Until then it may be slow."
)
UNTIDY = (
    "The triggers that kept others from writing to the target are still there, and do nothing: "
    "somebody has its tables open, or it is away. `DROP FUNCTION reach_copy_guard() CASCADE` "
    "removes them."
)
SAME = "The source and the target are one and the same database."


class Watcher(Protocol):
    """Whoever wants to see how far it is."""

    def note(self, text: str) -> None:
        """Be told something that happened."""

    def begin(self, what: str, rows: int) -> None:
        """Be told what is done now, with how many rows."""

    def advance(self, rows: int) -> None:
        """Be told that so many more are done."""


async def copy(
    source_url: DatabaseUrl,
    target_url: DatabaseUrl,
    tables: Sequence[Table],
    watcher: Watcher,
    *,
    starts_over: bool = False,
) -> Mapping[str, int]:
    """Copy every row of ``tables`` and the flows, and compare; how many rows there are of each.

    Before that is done, no process of Reach starts on the target, and those that run already
    cannot write to it. Raises CannotCopy, DatabaseUnavailable.
    """
    if _is_same_file(source_url, target_url):
        raise CannotCopy(SAME)
    shapes = [Shape.of(table) for table in tables]
    names = [*(shape.name for shape in shapes), flows.SHAPE.name]
    async with AsyncExitStack() as stack:
        source, target = _side("source", source_url), _side("target", target_url)
        stack.push_async_callback(source.close)
        stack.push_async_callback(target.close)
        await source.open()
        await require_current(source)
        await (target.open() if target.exists else migrated(target, watcher.note))
        await _require_two(source, target)
        goes_on = await prepare(target, source, shapes, watcher.note, starts_over=starts_over)
        await source.hold(names)
        if goes_on:
            await _check_what_is_there(source, target, shapes, watcher)
        copied = {shape.name: await _copy(source, target, shape, watcher) for shape in shapes}
        await _verify(target, shapes, copied, watcher)
        async with target.transaction():
            await flows.copy(source, target)
            await mark.remove(target, newest())
        await _if_it_can(target.tidy(), UNTIDY, watcher)
        await _if_it_can(target.record(names), UNSETTLED, watcher)
    return {name: digest.rows for name, digest in copied.items()}


async def _if_it_can(work: Awaitable[None], otherwise: str, watcher: Watcher) -> None:
    """Do what may be left undone: everything is there, whatever is in the way now."""
    try:
        await work
    except CannotCopy:
        watcher.note(otherwise)


def _is_same_file(one: DatabaseUrl, other: DatabaseUrl) -> bool:
    if not (one.is_sqlite and other.is_sqlite):
        return False
    files = [Path(url.url.database or "") for url in (one, other)]
    return all(file.exists() for file in files) and files[0].samefile(files[1])


def _side(role: Role, url: DatabaseUrl) -> Side:
    return SqliteSide(role, url) if url.is_sqlite else PostgresSide(role, url)


async def _require_two(source: Side, target: Side) -> None:
    """Refuse one database that two addresses lead to. Raises CannotCopy."""
    if isinstance(source, PostgresSide) and isinstance(target, PostgresSide):  # noqa: SIM102
        if await is_same(source, target):
            raise CannotCopy(SAME)


async def _check_what_is_there(
    source: Side, target: Side, shapes: Sequence[Shape], watcher: Watcher
) -> None:
    """Begin anew if the source has changed in what was copied of it."""
    watcher.note("Going on with the copy that was interrupted.")
    for shape in shapes:
        progress = await mark.read(target, shape)
        if progress.last is None:
            continue
        watcher.begin(f"checking {shape.name}", progress.digest.rows)
        if await _digest(source, shape, watcher, upto=progress.last) != progress.digest:
            watcher.note(f"The source has changed since, in {shape.name}: beginning anew.")
            await begin_anew(target, source, shapes)
            return


async def _copy(source: Side, target: Side, shape: Shape, watcher: Watcher) -> Digest:
    """Copy what is left of a table, a batch a transaction."""
    progress = await mark.read(target, shape)
    ((rows,),) = await source.fetch(f'SELECT count(*) FROM "{shape.name}"')  # noqa: S608 - ours
    watcher.begin(f"copying {shape.name}", int(rows or 0))
    watcher.advance(progress.digest.rows)
    async for batch in source.rows(shape, after=progress.last):
        progress.digest.add(shape, batch)
        progress.last = shape.key_of(batch[-1])
        async with target.transaction():
            await target.add(shape, batch)
            await mark.write(target, shape, progress)
        watcher.advance(len(batch))
    return progress.digest


async def _verify(
    target: Side, shapes: Sequence[Shape], copied: Mapping[str, Digest], watcher: Watcher
) -> None:
    """Read all of it back. Raises CannotCopy if it is not what was read from the source."""
    wrong = []
    for shape in shapes:
        expected = copied[shape.name]
        watcher.begin(f"verifying {shape.name}", expected.rows)
        async with target.transaction():
            found = await _digest(target, shape, watcher)
        if found != expected:
            wrong.append(f"{shape.name} ({found.rows:,} rows, the source has {expected.rows:,})")
    if wrong:
        raise CannotCopy(
            f"The copy differs from the source in {', '.join(wrong)}: somebody else has written "
            "to the target, or a disk has failed. Find out, then run this with --start-over."
        )


async def _digest(side: Side, shape: Shape, watcher: Watcher, *, upto: Row | None = None) -> Digest:
    digest = Digest()
    async for batch in side.rows(shape, upto=upto):
        digest.add(shape, batch)
        watcher.advance(len(batch))
    return digest
