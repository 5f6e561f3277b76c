"""The target before the first row: empty, migrated and marked, or refused."""

from collections.abc import Callable, Sequence

from reach.db.copy import mark
from reach.db.copy.rows import Shape
from reach.db.copy.side import CannotCopy, NotThere, Side
from reach.db.errors import COPYING, REVISION, NoDatabase
from reach.db.migrate import CannotMigrate, migrate_beside, newest

NOT_REACHS = "The target is not empty: it holds tables of something else."


async def require_current(source: Side) -> None:
    """Refuse a source that this version cannot copy. Raises CannotCopy."""
    found = await mark.revision(source)
    if found is None:
        raise NotThere(f"The source, {source.url}, is no database of Reach.")
    if found == COPYING:
        raise CannotCopy("The source holds half a copy itself.")
    if not REVISION.fullmatch(found):
        raise NotThere(f"The source, {source.url}, is another program's database.")
    if found < newest():
        raise CannotCopy(
            f"The source's schema ({found}) is older than this version's ({newest()}): "
            "run `reach migrate` on it first."
        )
    if found > newest():
        raise CannotCopy(
            f"The source's schema ({found}) is newer than this version's ({newest()}): "
            "copy it with the version of Reach that it is of."
        )


async def prepare(
    target: Side,
    source: Side,
    shapes: Sequence[Shape],
    say: Callable[[str], None],
    *,
    starts_over: bool,
) -> bool:
    """Have the target open and marked; whether a copy is to go on in it. Raises CannotCopy.

    Whoever starts over begins as if nothing had been copied. That alone is removed: rows that no
    copy has written are a reason to refuse.
    """
    found = await mark.revision(target)
    if found == COPYING and starts_over:
        found = await _remove_copy(target, shapes)
    if found == COPYING:
        await _require_same(target, source)
        return True
    there = await target.tables()
    if found is None and there:
        raise NotThere(NOT_REACHS)
    if found is not None and not REVISION.fullmatch(found):
        raise NotThere(NOT_REACHS)
    if found is not None and found > newest():
        raise CannotCopy(f"The target's schema ({found}) is of a newer version of Reach.")
    await _require_empty(target, [shape.name for shape in shapes if shape.name in there])
    if found != newest():
        await migrated(target, say)
    async with target.transaction():
        await mark.make(target, source, shapes)
        # Not before: who was writing when it was made has written.
        await _require_empty(target, [shape.name for shape in shapes])
    return False


async def migrated(target: Side, say: Callable[[str], None]) -> None:
    """Migrate it; nobody may hold it meanwhile. Raises CannotCopy, DatabaseUnavailable."""
    await target.close()
    try:
        await migrate_beside(target.url, say=say)
    except NoDatabase as reason:
        raise NotThere(f"The target cannot be made at {target.url}. {reason.detail}") from reason
    except CannotMigrate as reason:
        raise CannotCopy(*reason.args) from None
    await target.open()


async def begin_anew(target: Side, source: Side, shapes: Sequence[Shape]) -> None:
    """Delete what was copied, and be at the beginning. Raises CannotCopy."""
    async with target.transaction():
        await _require_only_copied(target, shapes)
        await target.empty([shape.name for shape in shapes])
        await mark.forget(target, source)


async def _remove_copy(target: Side, shapes: Sequence[Shape]) -> str:
    """Remove it, whichever version's it is: not every table of ours need be there."""
    tables = await target.tables()
    there = [shape for shape in shapes if shape.name in tables]
    async with target.transaction():
        await _require_only_copied(target, there)
        await target.empty([shape.name for shape in there])
        _, revision = await mark.origin(target)
        await mark.remove(target, revision)
    return revision


async def _require_only_copied(target: Side, shapes: Sequence[Shape]) -> None:
    """Refuse to delete what is there beyond the rows that the mark counts. Raises CannotCopy."""
    for shape in shapes:
        ((found,),) = await target.fetch(f'SELECT count(*) FROM "{shape.name}"')  # noqa: S608 - ours
        copied = (await mark.read(target, shape)).digest.rows
        if int(found or 0) > copied:
            raise CannotCopy(
                f"The target has {found:,} rows in {shape.name}, of which {copied:,} were copied: "
                "somebody else has written the others. Look at them: nothing was removed. "
                "Then name an empty database."
            )


async def _require_same(target: Side, source: Side) -> None:
    identity, revision = await mark.origin(target)
    if identity != source.identity:
        raise CannotCopy(
            f"The target holds half a copy of {identity}: copy that to its end, "
            "or remove it with --start-over."
        )
    if revision != newest():
        raise CannotCopy(
            "The copy in the target was begun by another version of Reach: "
            "go on with that, or remove it with --start-over."
        )


async def _require_empty(target: Side, tables: Sequence[str]) -> None:
    full = [
        table
        for table in tables
        if await target.fetch(f'SELECT 1 FROM "{table}" LIMIT 1')  # noqa: S608 - ours
    ]
    if full:
        raise CannotCopy(
            f"The target is not empty: it has rows in {', '.join(full)}. Name an empty database. "
            "If a copy into it has just been cut off at its very end, it is whole, since half a "
            "copy would say so: compare how many rows each table has in the source and here."
        )
