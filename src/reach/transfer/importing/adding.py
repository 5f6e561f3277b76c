"""Adding a list: a part at a time, each in a transaction of its own, while the next is read.

What was added stays, whatever becomes of the rest: the same command again goes on, for who is
known is passed over. See docs/decisions/0067-lists.md.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from reach.db.database import Database
from reach.people import actions
from reach.people.actions import Import
from reach.people.newcomers import Newcomer
from reach.transfer.importing.checking import Checker, Fault
from reach.transfer.importing.columns import require_email
from reach.transfer.importing.reading import Reader
from reach.transfer.importing.rejects import Rejects

#: So many rows a transaction: it is over before a sign-up that waits for it would notice.
BATCH_ROWS = 2000


@dataclass(slots=True)
class Counts:
    """What became of a list's rows, so far.

    ``known`` had an address that is here already; ``repeated`` one that the list has before, not
    far from it. ``added`` are on the disk.
    """

    rows: int = 0
    added: int = 0
    known: int = 0
    repeated: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class _Part:
    newcomers: Sequence[Newcomer]
    rows: int
    repeated: int
    rejected: int


async def add_list(  # noqa: PLR0913, PLR0917 - a list, what is done with it, and who is told
    database: Database | None,
    reader: Reader,
    checker: Checker,
    rejects: Rejects,
    of: Import,
    counts: Counts,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Add everybody on a list; without a database, only look at all of it.

    ``counts`` is always what is on the disk, whatever is raised: BadFile, BadColumns, Unavailable.
    """
    if reader.format == "csv":
        require_email(checker.columns(reader.names), reader.names)
    parts = _parts(reader, checker, rejects)
    read = partial(next, parts, None)
    part = await asyncio.to_thread(read)
    while part is not None:
        adding = None
        if database is not None:
            adding = asyncio.create_task(database.write(actions.add_list, part.newcomers, of))
        try:
            part_after = await asyncio.to_thread(read)
        finally:  # also where the list cannot be read on, or Ctrl-C was pressed
            if adding is not None:
                added, entry_id = await adding
                of = replace(of, entry_id=entry_id)
                counts.added += added
                counts.known += len(part.newcomers) - added
            counts.rows += part.rows
            counts.repeated += part.repeated
            counts.rejected += part.rejected
        advance()
        part = part_after


def _parts(reader: Reader, checker: Checker, rejects: Rejects) -> Iterator[_Part]:
    """Read and check a list, some rows at a time. Raises BadFile, BadColumns."""
    newcomers: dict[str, Newcomer] = {}
    count = repeated = before = 0
    columns = checker.columns(reader.names) if reader.format == "csv" else None
    for row in reader:
        count += 1
        found = checker.check(row, columns or checker.columns(tuple(row.cells)))
        if isinstance(found, Fault):
            rejects.add(row, found)
        elif newcomers.setdefault(found.email.key, found) is not found:
            repeated += 1
        if count == BATCH_ROWS:
            checker.require_told()
            those = checker.judged(newcomers.values())
            yield _Part(those, count, repeated, rejects.count - before)
            newcomers, count, repeated, before = {}, 0, 0, rejects.count
    if count:
        checker.require_told()
        those = checker.judged(newcomers.values())
        yield _Part(those, count, repeated, rejects.count - before)
