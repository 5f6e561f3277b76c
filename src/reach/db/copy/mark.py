"""The mark in a target that is not finished: what was copied into it, and from where.

Its revision is held back (``COPYING``), so that no version of Reach starts on it or migrates it;
how far each table is, is written in the transaction that brings it there. Who runs already is kept
from writing as long as the mark is there: see ``Side.guard``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from reach.db.copy import flows
from reach.db.copy.rows import Digest, Row, Shape
from reach.db.copy.side import Side
from reach.db.errors import COPYING
from reach.db.migrate import newest

TABLE = "reach_copy"
VERSION_TABLE = "alembic_version"


@dataclass(slots=True)
class Progress:
    """How far one table is: the key of the last row, and what was copied up to it."""

    last: Row | None = None
    digest: Digest = field(default_factory=Digest)


async def revision(side: Side) -> str | None:
    """The revision that a database says it is at; None if it is not Reach's."""
    if VERSION_TABLE not in await side.tables():
        return None
    found = await side.fetch(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - ours
    return str(found[0][0]) if found else None


async def origin(target: Side) -> tuple[str, str]:
    """Say of what a target is half a copy, and at which revision its schema is."""
    ((source, revision),) = await target.fetch(f"SELECT DISTINCT source, revision FROM {TABLE}")  # noqa: S608 - ours
    return str(source), str(revision)


async def make(target: Side, source: Side, shapes: Sequence[Shape]) -> None:
    """Mark the target, in the caller's transaction; nobody else writes to it from then on."""
    await target.guard([*(shape.name for shape in shapes), flows.SHAPE.name])
    columns = "source text, revision text, last_key text, copied bigint, digest text"
    await target.execute(f"CREATE TABLE {TABLE} (name text PRIMARY KEY, {columns})")
    for shape in shapes:
        await target.execute(
            f"INSERT INTO {TABLE} (name, source, revision) VALUES ($1, $2, $3)",  # noqa: S608 - ours
            shape.name,
            source.identity,
            newest(),
        )
    await target.execute(f"UPDATE {VERSION_TABLE} SET version_num = $1", COPYING)  # noqa: S608


async def remove(target: Side, revision: str) -> None:
    """Say that it is finished, in the caller's transaction: from then on Reach starts on it."""
    await target.unguard()
    await target.execute(f"DROP TABLE {TABLE}")
    await target.execute(f"UPDATE {VERSION_TABLE} SET version_num = $1", revision)  # noqa: S608


async def forget(target: Side, source: Side) -> None:
    """Be at the beginning again, of a copy from ``source``, in the caller's transaction."""
    nothing = "last_key = NULL, copied = NULL, digest = NULL"
    await target.execute(f"UPDATE {TABLE} SET source = $1, {nothing}", source.identity)  # noqa: S608


async def read(target: Side, shape: Shape) -> Progress:
    """How far a table was when the last run ended; another version's may not know the table."""
    statement = f"SELECT last_key, copied, digest FROM {TABLE} WHERE name = $1"  # noqa: S608 - ours
    for last, copied, digest in await target.fetch(statement, shape.name):
        if last is not None:
            found = Digest.written(int(copied or 0), str(digest))
            return Progress(tuple(json.loads(str(last))), found)
    return Progress()


async def write(target: Side, shape: Shape, progress: Progress) -> None:
    """Note how far a table is, in the transaction that brought it there."""
    await target.execute(
        f"UPDATE {TABLE} SET last_key = $1, copied = $2, digest = $3 WHERE name = $4",  # noqa: S608
        json.dumps(progress.last),
        progress.digest.rows,
        str(progress.digest),
        shape.name,
    )
