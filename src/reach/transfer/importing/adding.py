"""Adding a list: a part at a time, each in a transaction of its own, while the next is read.

What was added stays, whatever becomes of the rest: the same command again goes on, for who is
known is passed over. See docs/decisions/0067-lists.md.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from uuid import UUID

from reach.db.database import Database
from reach.db.sqlite_connection import enlarge_cache
from reach.db.transaction import Transaction
from reach.people import actions
from reach.people.actions import Import
from reach.people.newcomers import Newcomer
from reach.transfer.importing.checking import Checker, Fault
from reach.transfer.importing.columns import require_email
from reach.transfer.importing.reading import Reader
from reach.transfer.importing.rejects import Rejects

#: So many rows a transaction: it is over before a sign-up that waits for it would notice.
BATCH_ROWS = 2000
#: So many rows at most are read before they are added in the order of their addresses: those of one
#: transaction are neighbours then in the index of addresses, and far fewer of its pages are
#: written. It begins with one transaction's, and doubles: of a short list, or a slow one, something
#: is added soon.
SORTED_ROWS = 50_000


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
    """Some rows of a list: who is to be added, by address; and where in the file they are."""

    newcomers: Sequence[Newcomer]
    rows: int
    repeated: int
    rejected: int
    begin: int
    end: int

    def place(self, done: int) -> float:
        """Say where in the file it would be by now, were they added in the file's order."""
        return self.begin + (self.end - self.begin) * done / len(self.newcomers)


async def add_list(  # noqa: PLR0913, PLR0917 - a list, what is done with it, and who is told
    database: Database | None,
    reader: Reader,
    checker: Checker,
    rejects: Rejects,
    of: Import,
    counts: Counts,
    advance: Callable[[float], None] = lambda _place: None,
) -> None:
    """Add everybody on a list; without a database, only look at all of it.

    ``counts`` is always what is on the disk, whatever is raised: BadFile, BadColumns, Unavailable.
    ``advance`` is told how much of the file is done.
    """
    if reader.format == "csv":
        require_email(checker.columns(reader.names), reader.names)
    read = partial(next, _parts(reader, checker, rejects), None)
    part = await asyncio.to_thread(read)
    while part is not None:
        adding = None
        if database is not None:
            adding = asyncio.create_task(_add(database, part, of, counts, advance))
        try:
            part_after = await asyncio.to_thread(read)
        except asyncio.CancelledError:  # Ctrl-C
            if adding is not None:
                adding.cancel()
            raise
        finally:  # also where the list cannot be read on
            counts.rows += part.rows if adding is None else part.repeated + part.rejected
            counts.repeated += part.repeated
            counts.rejected += part.rejected
            if adding is not None:
                of = await adding
        advance(part.end)
        part = part_after


async def _add(
    database: Database, part: _Part, of: Import, counts: Counts, advance: Callable[[float], None]
) -> Import:
    """Add a part, in transactions of some rows each; returns it with the entry's id."""
    for first in range(0, len(part.newcomers), BATCH_ROWS):
        some = part.newcomers[first : first + BATCH_ROWS]
        adding = asyncio.create_task(database.write(_add_some, some, of))
        try:
            await asyncio.wait({adding})
        finally:  # who is interrupted still knows what became of it
            added, entry_id = await adding
            of = replace(of, entry_id=entry_id)
            counts.rows += len(some)
            counts.added += added
            counts.known += len(some) - added
        advance(part.place(first + len(some)))
    return of


def _add_some(tx: Transaction, newcomers: Sequence[Newcomer], of: Import) -> tuple[int, UUID]:
    enlarge_cache(tx)  # each time: the connection may be a new one
    return actions.add_list(tx, newcomers, of)


def _parts(reader: Reader, checker: Checker, rejects: Rejects) -> Iterator[_Part]:
    """Read and check a list, some rows at a time. Raises BadFile, BadColumns."""
    columns = checker.columns(reader.names) if reader.format == "csv" else None
    rows, most = iter(reader), BATCH_ROWS
    while True:
        newcomers: dict[str, Newcomer] = {}
        count = repeated = 0
        before, begin = rejects.count, reader.position
        for row in islice(rows, most):
            count += 1
            found = checker.check(row, columns or checker.columns(tuple(row.cells)))
            if isinstance(found, Fault):
                rejects.add(row, found)
            elif newcomers.setdefault(found.email.key, found) is not found:
                repeated += 1
        if not count:
            return
        checker.require_told()
        in_order = checker.judged(newcomers[key] for key in sorted(newcomers))
        rejected = rejects.count - before
        yield _Part(in_order, count, repeated, rejected, begin, reader.position)
        most = min(2 * most, SORTED_ROWS)
