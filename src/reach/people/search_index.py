"""The index that people are searched by: which of them have which three characters.

It is of blocks of 4,096 people, in the order of their ids. Of each block and each *gram* (three
characters, or how a word begins: see ``search``) a row says by a bit for each of them who has it.
Workers make a block once there are so many people for it, and keep it true: so who signs up pays
nothing for the search, and those who are in no block yet are few enough to be looked at.

Whose name or address changes, and who is deleted, is noted by a trigger if there is a block of
theirs. An erasure removes every bit of theirs in its own transaction: see
docs/decisions/0068-search.md.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    Column,
    Index,
    Insert,
    Integer,
    LargeBinary,
    Table,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from reach.db.transaction import Transaction
from reach.db.types import (
    Key,
    OrderedText,
    earliest_id,
    metadata,
    now,
)
from reach.people import search
from reach.people.model import people

#: How many people a block has.
BLOCK = 4096
ID_BYTES = 16
NOBODY = UUID(int=0)
#: Who comes later than this after their id was made is found missing (see ``incomplete``). Longer,
#: and in a rush too many would be in no block.
LATE_SECONDS = 30
#: How many changes are taken up in one transaction.
MOST_CHANGES = 100

#: ``ids`` are the people's, one after the other; of who is gone, zeros.
blocks = Table(
    "search_blocks",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("last_id", Key, nullable=False),
    Column("ids", LargeBinary, nullable=False),
)
Index("uq_search_blocks_last_id", blocks.c.last_id, unique=True)
#: ``people`` is a number in which the bits of those are set who have the gram; compressed.
grams = Table(
    "search_grams",
    metadata,
    Column("gram", OrderedText, primary_key=True),
    Column("block", Integer, primary_key=True, autoincrement=False),
    Column("people", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
Index("ix_search_grams_block", grams.c.block)
#: Who has changed, or is gone, since their block was made or last set right.
changed = Table("search_changed", metadata, Column("person_id", Key, primary_key=True))

_PERSON = (people.c.id, people.c.version, people.c.email, people.c.email_key, people.c.name)
_LAST = select(blocks.c.number, blocks.c.last_id).order_by(blocks.c.number.desc()).limit(1)
CHANGED = select(changed.c.person_id).limit(bindparam("most", type_=Integer))
_HAS_EMAIL = people.c.email != ""


class Indexed(NamedTuple):
    """Somebody who is to be in a block, as they were read."""

    id: UUID
    version: int
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """A block to be written: its number, who is in it, and the bits of each gram.

    It has everybody whose id comes after ``after``, up to ``last_id``.
    """

    number: int
    after: UUID
    last_id: UUID
    people: Sequence[Indexed]
    bits: Mapping[str, int]


def next_block(tx: Transaction) -> Block | None:
    """Read those of whom the next block is to be made; None if they are too few.

    Whose transaction is not over yet, or whose clock is late, may still come: the newest are left
    out.
    """
    last = tx.execute(_LAST).one_or_none()
    after = NOBODY if last is None else last.last_id
    told = tx.execute(select(now())).scalar_one()
    until = earliest_id(told.timestamp() - LATE_SECONDS)
    nth = tx.execute(_NTH, {"after": after, "last": until}).scalar_one_or_none()
    return nth and _read(tx, 0 if last is None else last.number + 1, after, nth)


def incomplete(tx: Transaction, number: int) -> Block | None:
    """Read a block's people again if it lacks one: their id was made by a clock that was wrong."""
    block = tx.execute(_ONE, {"number": number}).one_or_none()
    if block is None:
        return None
    before = tx.execute(_ONE, {"number": number - 1}).one_or_none()
    after = NOBODY if before is None else before.last_id
    known = sum(map(any, (id_at(block.ids, n) for n in range(len(block.ids) // ID_BYTES))))
    there = tx.execute(_HOW_MANY, {"after": after, "last": block.last_id}).scalar_one()
    return _read(tx, number, after, block.last_id) if there > known else None


def _read(tx: Transaction, number: int, after: UUID, last_id: UUID) -> Block:
    found = [
        Indexed(row.id, row.version, search.text_of(row.email, row.email_key, row.name))
        for row in tx.execute(_BETWEEN, {"after": after, "last": last_id})
    ]
    return Block(number, after, last_id, found, {})


def with_bits(block: Block) -> Block:
    """Work out the bits of a block: that takes some time, and no transaction."""
    bits: dict[str, int] = defaultdict(int)
    for place, person in enumerate(block.people):
        bit = 1 << place
        for gram in search.grams_of(person.text):
            bits[gram] |= bit
    return replace(block, bits=bits)


def add(tx: Transaction, block: Block, *, again: bool = False) -> bool:
    """Write a block; False, and nothing is written, if somebody has changed, or another was first.

    Those in it are locked, so that anybody who changes them afterwards sees that there is a block.
    It waits for nobody who has one of them: sign-ups lock people in the order of their addresses,
    so that could be in a circle.
    ``again``: it takes the place of the one that is there.
    """
    locked = tx.execute(_LOCKED, {"after": block.after, "last": block.last_id}).all()
    if [tuple(row) for row in locked] != [(person.id, person.version) for person in block.people]:
        return False
    ids = b"".join(person.id.bytes for person in block.people)
    made: Insert | Update
    if again:
        made = update(blocks).where(blocks.c.number == block.number).values(ids=ids)
    else:
        insert_ = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
        values = {"number": block.number, "last_id": block.last_id, "ids": ids}
        made = insert_(blocks).values(values).on_conflict_do_nothing()
    if tx.execute(made.returning(blocks.c.number)).one_or_none() is None:
        return False
    tx.execute(delete(grams).where(grams.c.block == block.number))
    given = [
        {"gram": gram, "block": block.number, "people": _pack(bits)}
        for gram, bits in sorted(block.bits.items())
    ]
    tx.execute(insert(grams), given)
    return True


def count(tx: Transaction) -> int:
    """Count the blocks."""
    return int(tx.execute(select(func.count()).select_from(blocks)).scalar_one())


def is_any_changed(tx: Transaction) -> bool:
    """Whether somebody's bits are to be set right."""
    return tx.execute(CHANGED, {"most": 1}).one_or_none() is not None


def set_right(tx: Transaction) -> int:
    """Set the bits right of some who have changed, or are gone; how many they were."""
    taken = tx.execute(_TAKE, {"most": MOST_CHANGES}).scalars().all()
    apply(tx, taken)
    return len(taken)


def apply(tx: Transaction, ids: Iterable[UUID]) -> None:
    """Make the index say of some people what is true of them now, and nothing else."""
    by_block: dict[int, list[UUID]] = defaultdict(list)
    for person_id in ids:
        number = tx.execute(_BLOCK_OF, {"person_id": person_id}).scalar_one_or_none()
        if number is not None:
            by_block[number].append(person_id)
            tx.execute(delete(changed).where(changed.c.person_id == person_id))
    for number, theirs in sorted(by_block.items()):
        _apply_in(tx, number, theirs)


def _apply_in(tx: Transaction, number: int, ids: Sequence[UUID]) -> None:
    """Clear all bits of some people in their block, then set those of their texts of now."""
    packed = tx.execute(_IDS.with_for_update(), {"number": number}).scalar_one()
    places = {id_: place for id_ in ids if (place := _place_of(packed, id_)) is not None}
    there = select(*_PERSON).where(people.c.id.in_(places), _HAS_EMAIL)
    now_there = {
        row.id: search.text_of(row.email, row.email_key, row.name) for row in tx.execute(there)
    }
    bits: dict[str, int] = defaultdict(int)
    for id_, text in now_there.items():
        for gram in search.grams_of(text):
            bits[gram] |= 1 << places[id_]
    mask = sum(1 << place for place in places.values())
    was = {gram: unpack(old) for gram, old in tx.execute(_OF_BLOCK, {"block": number})}
    for gram in was.keys() | bits.keys():
        old = was.get(gram, 0)
        new = (old & ~mask) | bits.get(gram, 0)
        if new != old:
            _write(tx, gram, number, old, new)
    gone = [place for id_, place in places.items() if id_ not in now_there]
    if gone:
        kept = bytearray(packed)
        for place in gone:
            kept[place * ID_BYTES : (place + 1) * ID_BYTES] = bytes(ID_BYTES)
        tx.execute(update(blocks).where(blocks.c.number == number).values(ids=bytes(kept)))


def _write(tx: Transaction, gram: str, number: int, old: int, new: int) -> None:
    row = (grams.c.gram == gram) & (grams.c.block == number)
    if not old:
        tx.execute(insert(grams).values(gram=gram, block=number, people=_pack(new)))
    elif new:
        tx.execute(update(grams).where(row).values(people=_pack(new)))
    else:
        tx.execute(delete(grams).where(row))


def _pack(bits: int) -> bytes:
    return zlib.compress(bits.to_bytes((bits.bit_length() + 7) // 8, "little"), 1)


def unpack(packed: bytes) -> int:
    """Read a number as it is stored."""
    return int.from_bytes(zlib.decompress(packed), "little")


def id_at(ids: bytes, place: int) -> bytes:
    """Cut the id of a place out of many."""
    return ids[place * ID_BYTES : (place + 1) * ID_BYTES]


def _place_of(ids: bytes, person_id: UUID) -> int | None:
    """Find somebody's place in a block. It is not sorted: those who are gone have left zeros."""
    at = ids.find(person_id.bytes)
    while at % ID_BYTES and at >= 0:
        at = ids.find(person_id.bytes, at + 1)
    return None if at < 0 else at // ID_BYTES


_IDS = select(blocks.c.last_id).order_by(blocks.c.number)
_IDS = select(blocks.c.ids).where(blocks.c.number == bindparam("number"))
_BLOCK_OF = (
    select(blocks.c.number)
    .where(blocks.c.last_id >= bindparam("person_id", type_=Key))
    .order_by(blocks.c.last_id)
    .limit(1)
)
_OF_BLOCK = select(grams.c.gram, grams.c.people).where(grams.c.block == bindparam("block"))
_ONE = select(blocks.c.last_id, blocks.c.ids).where(blocks.c.number == bindparam("number"))
_IS_BETWEEN = (
    people.c.id > bindparam("after", type_=Key),
    people.c.id <= bindparam("last", type_=Key),
    _HAS_EMAIL,
)
_BETWEEN = select(*_PERSON).where(*_IS_BETWEEN).order_by(people.c.id)
_LOCKED = _BETWEEN.with_only_columns(people.c.id, people.c.version).with_for_update(
    read=True, skip_locked=True
)
_HOW_MANY = select(func.count()).where(*_IS_BETWEEN)
#: The last one of the next block, if there are enough people for it.
_NTH = select(people.c.id).where(*_IS_BETWEEN).order_by(people.c.id).offset(BLOCK - 1).limit(1)
_chosen = (
    select(changed.c.person_id)
    .order_by(changed.c.person_id)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
    .cte("chosen")
    .prefix_with("MATERIALIZED")
)
_TAKE = (
    delete(changed)
    .where(changed.c.person_id.in_(select(_chosen.c.person_id)))
    .returning(changed.c.person_id)
)
