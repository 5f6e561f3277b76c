"""Who may be meant by a search: read from the index of people (see ``search_index``)."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from uuid import UUID

from sqlalchemy import Column, Executable, Integer, LargeBinary, bindparam, func, select

from reach.db.transaction import Transaction
from reach.db.types import Key, among, encode, rows
from reach.people import search
from reach.people.model import people
from reach.people.search_index import (
    BLOCK,
    CHANGED,
    ID_BYTES,
    NOBODY,
    blocks,
    grams,
    id_at,
    unpack,
)

#: So many who are in no block are looked at by a search, and no more.
MOST_UNINDEXED = 4 * BLOCK
#: Of a block so many are read one by one, by places.
FEW_PLACES = 50


@dataclass(frozen=True, slots=True)
class Found:
    """Who may be meant by a search: by block, those who are in it, and others whose ids lie there.

    ``count`` is how many there may be at most.
    """

    bits: Mapping[int, int]
    others: Mapping[int, Sequence[UUID]]
    #: The last id of each block; above all of them are those who are in none.
    last_ids: Sequence[UUID]

    @property
    def count(self) -> int:
        """How many there may be."""
        return sum(map(len, self.others.values())) + sum(map(int.bit_count, self.bits.values()))

    def between(self, first: UUID | None, beyond: UUID | None) -> "Found":
        """Leave out the blocks in which nobody has an id from ``first`` on, up to ``beyond``.

        The blocks at both ends are kept whole.
        """
        lowest = 0 if first is None else bisect_left(self.last_ids, first)
        highest = len(self.last_ids) if beyond is None else bisect_left(self.last_ids, beyond)
        bits = {n: those for n, those in self.bits.items() if lowest <= n <= highest}
        others = {n: those for n, those in self.others.items() if lowest <= n <= highest}
        return replace(self, bits=bits, others=others)

    def ids(
        self, tx: Transaction, *, descending: bool = False, after: UUID | None = None, step: int
    ) -> Iterator[Sequence[UUID]]:
        """List them in the order of their ids, from after one on, some ``step`` at a time.

        They are of whole blocks, of as many as it takes: to ask for each block by itself would be
        hundreds of questions where a few are in each.
        """
        part = self
        if after is not None:
            part = self.between(None, after) if descending else self.between(after, None)
        some: dict[int, int] = {}
        found: set[UUID] = set()
        count = 0
        for number in sorted(part.bits.keys() | part.others.keys(), reverse=descending):
            some[number] = part.bits.get(number, 0)
            found.update(part.others.get(number, ()))
            count += some[number].bit_count()
            if count + len(found) >= step:
                yield _in_order(found.union(_ids_of(tx, some)), after, descending=descending)
                some, found, count = {}, set(), 0
        if some:
            yield _in_order(found.union(_ids_of(tx, some)), after, descending=descending)


def find(tx: Transaction, words: Sequence[str]) -> Found | None:
    """Find who may be meant by a search of these words.

    None if too many are in no block, or have changed: no worker is at work.
    """
    last_ids = tx.execute(_LAST_IDS).scalars().all()
    after = last_ids[-1] if last_ids else NOBODY
    unindexed = tx.execute(_UNINDEXED, {"after": after, "most": MOST_UNINDEXED + 1}).all()
    if len(unindexed) > MOST_UNINDEXED:
        return None
    others: dict[int, list[UUID]] = defaultdict(list)
    others[len(last_ids)] = [
        row.id for row in unindexed if search.is_match(words, search.text_of(*row[1:]))
    ]
    of_late = tx.execute(CHANGED, {"most": MOST_UNINDEXED + 1}).scalars().all()
    if len(of_late) > MOST_UNINDEXED:
        return None
    for person_id in of_late:
        others[bisect_left(last_ids, person_id)].append(person_id)
    return Found(_bits(tx, words) if last_ids else {}, others, last_ids)


def _bits(tx: Transaction, words: Sequence[str]) -> Mapping[int, int]:
    """Say who has every gram of these words, by block."""
    wanted = search.wanted_grams(words)
    encoded = encode(tx.dialect.name, [{"gram": gram} for gram in wanted])
    found: dict[int, list[int]] = defaultdict(list)
    for block, packed in tx.execute(_having(tx.dialect.name), {"rows": encoded}):
        found[block].append(unpack(packed))
    all_of: dict[int, int] = {}
    for block, of_grams in found.items():
        bits = of_grams[0] if len(of_grams) == len(wanted) else 0
        for one in of_grams[1:]:
            bits &= one
        if bits:
            all_of[block] = bits
    return all_of


def _in_order(ids: Iterable[UUID], after: UUID | None, *, descending: bool) -> Sequence[UUID]:
    if after is not None:
        ids = [id_ for id_ in ids if (id_ < after if descending else id_ > after)]
    return sorted(ids, key=attrgetter("int"), reverse=descending)


def _ids_of(tx: Transaction, bits: Mapping[int, int]) -> Iterator[UUID]:
    """Read whose bits are set, by block."""
    dialect = tx.dialect.name
    runs = {
        (number, places[0]): places
        for number, those in bits.items()
        for places in _runs(list(_places(those)), dialect)
    }
    wanted = [
        {"number": number, "place": first, "length": places[-1] + 1 - first}
        for (number, first), places in runs.items()
    ]
    for number, first, ids in tx.execute(_cut_out(dialect), {"rows": encode(dialect, wanted)}):
        for place in runs[number, first]:
            yield UUID(bytes=id_at(ids, place - first))


def _runs(places: Sequence[int], dialect: str) -> Iterable[Sequence[int]]:
    """Say what is read of a block: each place, or if they are many, from the first to the last.

    Postgres reads parts of a long value. SQLite reads all of it for each.
    """
    if not places:
        return ()
    is_few = dialect == "postgresql" and len(places) <= FEW_PLACES
    return [[place] for place in places] if is_few else [places]


@cache
def _cut_out(dialect: str) -> Executable:
    place, length = (Column(name, Integer) for name in ("place", "length"))
    given = rows(dialect, blocks.c.number, place, length)
    cut = func.substr(
        blocks.c.ids, given.c.place * ID_BYTES + 1, given.c.length * ID_BYTES, type_=LargeBinary
    )
    found = select(blocks.c.number, given.c.place, cut)
    return found.where(blocks.c.number == given.c.number)


@cache
def _having(dialect: str) -> Executable:
    given = rows(dialect, grams.c.gram)
    return select(grams.c.block, grams.c.people).where(among(grams.c.gram, select(given.c.gram)))


def _places(bits: int) -> Iterator[int]:
    """List which bits are set."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


#: Numbers begin with 0, and none is left out: so a number is a place in this.
_LAST_IDS = select(blocks.c.last_id).order_by(blocks.c.number)
_UNINDEXED = (
    select(people.c.id, people.c.email, people.c.email_key, people.c.name)
    .where(people.c.id > bindparam("after", type_=Key))
    .order_by(people.c.id)
    .limit(bindparam("most", type_=Integer))
)
