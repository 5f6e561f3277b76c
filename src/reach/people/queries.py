"""Every statement about people."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Executable,
    Float,
    Integer,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from reach.db.prepared import Prepared
from reach.db.transaction import Transaction
from reach.db.types import (
    CLOCKS_SECONDS,
    Key,
    among,
    beside,
    encode,
    new_id,
    now,
    rows,
)
from reach.messages.model import IS_SENT, State, messages
from reach.messages.suppressions import has_bounced
from reach.people import search_index
from reach.people.consent import Evidence
from reach.people.model import IS_CONFIRMED, Person, Welcome, people

if TYPE_CHECKING:  # it brings the web along, of which a worker needs nothing
    from reach.people.schemas import SignUp


class Known(NamedTuple):
    """Somebody whose address came in again.

    ``welcome`` is what became of their newest one; None if they never had any. ``is_strangers``:
    nobody but strangers has a hand in their record. ``is_due``: they were not told in the time
    asked for that they are signed up already. ``has_bounced``: nothing is
    sent to them since a bounce.
    """

    id: UUID
    email_key: str
    name: str
    description: str | None
    language: str | None
    email: str
    confirmed: bool
    welcome: State | None
    is_strangers: bool
    is_due: bool
    has_bounced: bool


class Again(NamedTuple):
    """What a sign-up of somebody known changes: see ``note_again``. ``told``: they are told so."""

    person_id: UUID
    name: str
    description: str | None
    language: str | None
    is_changed: bool
    told: bool
    consent: Mapping[str, str] | None = None


_newest = messages.alias("newest")
#: A person's newest welcome: correlated, so that it costs one index look-up a person.
WELCOME_ID = (
    select(_newest.c.id)
    .where(_newest.c.person_id == people.c.id, beside(_newest.c.template == "welcome"))
    .order_by(_newest.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
#: What a ``Person`` is made of, in its order; the last two are the welcome's.
_PERSON = select(
    people.c.id,
    people.c.email,
    people.c.name,
    people.c.description,
    people.c.confirmed_at,
    people.c.created_at,
    people.c.updated_at,
    people.c.version,
    people.c.language,
    messages.c.state,
    case((IS_SENT, messages.c.finished_at)).label("sent_at"),
).select_from(people.outerjoin(messages, messages.c.id == WELCOME_ID))
_PERSON_OF: Callable[..., Person] = Person
_LINKS_VERSION = select(people.c.links_version).where(people.c.id == bindparam("person_id"))
_ONE_PERSON = _PERSON.where(people.c.id == bindparam("person_id"))
#: What ``add_if_new`` writes of each person.
_NEW = [people.c[name] for name in ("id", "email", "email_key", "name", "description", "language")]
_NEW += [people.c.typed_version, people.c.consent]


@Prepared
def _add_if_new(dialect: str) -> Executable:
    """One statement for any number of people; sorted, so that groups lock in one order."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = rows(dialect, *_NEW)
    source = (
        select(*(given.c[c.name] for c in _NEW), literal(0), now(), now(), literal(1))
        # Without a WHERE, SQLite takes ON CONFLICT for a join's ON.
        .where(given.c.id.is_not(None))
        .order_by(given.c.email_key)
    )
    names = [c.name for c in _NEW]
    names += ["links_version", "created_at", "updated_at", "version"]
    return (
        insert(people)
        .from_select(names, source)
        .on_conflict_do_nothing(index_elements=["email_key"])
        .returning(people.c.email_key)
    )


def add_if_new(
    tx: Transaction,
    forms: "Iterable[SignUp]",
    *,
    typed_version: int | None,
    evidence: Mapping[str, Evidence],
) -> dict[str, UUID]:
    """Add those whose address nobody has; returns the ids of those that were added, by its key.

    ``typed_version``: 1 if a stranger typed what the form says, else None. ``evidence`` of their
    consent is by that key, too.
    """
    given: list[dict[str, object]] = []
    ids: dict[str, UUID] = {}
    for form in forms:
        ids[form.email.key] = id_ = new_id()
        known = evidence.get(form.email.key)
        person: dict[str, object] = {
            "id": id_,
            "email": form.email.typed,
            "email_key": form.email.key,
            "name": form.name,
            "description": form.description or None,
            "language": form.language,
            "typed_version": typed_version,
            "consent": known and known.stored(),
        }
        given.append(person)
    values = {"rows": encode(tx.dialect.name, given)}
    added = _add_if_new.rows(tx, values)
    return {key: ids[key] for (key,) in added}


_welcome_state = (
    select(_newest.c.state)
    .where(_newest.c.person_id == people.c.id, beside(_newest.c.template == "welcome"))
    .order_by(_newest.c.id.desc())
    .limit(1)
    .correlate(people)
    .scalar_subquery()
)


@Prepared
def _lock_known(dialect: str) -> Executable:
    """Lock before deciding what they are sent, in one order over all processes."""
    given = rows(dialect, people.c.email_key)
    is_due = or_(
        people.c.greeted_at.is_(None),
        people.c.greeted_at <= now(-bindparam("quiet_seconds", type_=Float)),
        people.c.greeted_at > now(CLOCKS_SECONDS),  # of a clock that was ahead, and is set right
    )
    is_strangers = and_(
        people.c.confirmed_at.is_(None),
        people.c.typed_version.is_not(None),
        people.c.typed_version == people.c.version,
    )
    return (
        select(
            *(people.c[name] for name in ("id", "email_key", "name", "description", "language")),
            people.c.email,
            people.c.confirmed_at.is_not(None).label("confirmed"),
            _welcome_state.label("welcome"),
            is_strangers.label("is_strangers"),
            is_due.label("is_due"),
            has_bounced(people.c.email_key).label("has_bounced"),
        )
        .join_from(people, given, people.c.email_key == given.c.email_key)
        .order_by(people.c.email_key)
        .with_for_update(of=people)
    )


def lock_known(tx: Transaction, keys: Iterable[str], *, hours: float = 0) -> Sequence[Known]:
    """Find the people with these keys; they stay as they are until the transaction ends.

    Due are those who were not told in the last ``hours`` that they are signed up already.
    """
    given = encode(tx.dialect.name, [{"email_key": key} for key in keys])
    wanted = {"rows": given, "quiet_seconds": hours * 3600}
    return list(map(Known._make, _lock_known.rows(tx, wanted)))


_AGAIN = (
    Column("person_id", Key),
    people.c.name,
    people.c.description,
    people.c.language,
    Column("is_changed", Boolean),
    Column("told", Boolean),
    people.c.consent,
)


@Prepared
def _note_again(dialect: str) -> Executable:
    given = rows(dialect, *_AGAIN)
    as_it_was: ColumnElement[Any] = people.c.greeted_at
    if dialect == "sqlite":
        # It writes and syncs nothing for an UPDATE that changes no byte: this moves it by 1 µs.
        as_it_was = func.coalesce(type_coerce(people.c.greeted_at, BigInteger), 0) + 1
    is_new = given.c.consent.is_not(None)
    typed = {
        "name": given.c.name,
        "description": given.c.description,
        "language": given.c.language,
        "updated_at": now(),
        "version": people.c.version + 1,
        "typed_version": people.c.version + 1,
    }
    return (
        update(people)
        .where(people.c.id == given.c.person_id)
        .values(
            greeted_at=case((given.c.told, now()), else_=as_it_was),
            consent=case((is_new, given.c.consent), else_=people.c.consent),
            consented_at=case((is_new, now()), else_=people.c.consented_at),
            **{
                name: case((given.c.is_changed, value), else_=people.c[name])
                for name, value in typed.items()
            },
        )
    )


def note_again(tx: Transaction, again: Iterable[Again]) -> None:
    """Write down what sign-ups of people who are locked change of their records.

    Every row is written, changed or not: else a missing fsync would tell a stranger that the
    address is known.
    """
    given = encode(tx.dialect.name, list(map(Again._asdict, again)))
    _note_again.rows(tx, {"rows": given})


def find(tx: Transaction, person_id: UUID) -> Person | None:
    """Find a person, with what became of their welcome."""
    row: Any = tx.execute(_ONE_PERSON, {"person_id": person_id}).one_or_none()
    return None if row is None else _PERSON_OF(*row[:-2], Welcome(*row[-2:]))


def find_by_key(tx: Transaction, email_key: str) -> Person | None:
    """Find the person whose address has this key, in whatever spelling they typed it."""
    statement = _PERSON.where(people.c.email_key == email_key)
    row: Any = tx.execute(statement).one_or_none()
    return None if row is None else _PERSON_OF(*row[:-2], Welcome(*row[-2:]))


@Prepared
def _find_all(dialect: str) -> Executable:
    given = rows(dialect, people.c.id)
    return _PERSON.where(among(people.c.id, select(given.c.id)))


def find_all(tx: Transaction, ids: Iterable[UUID]) -> dict[UUID, Person]:
    """Find several people by one statement."""
    given = encode(tx.dialect.name, [{"id": id_} for id_ in ids])
    found = _find_all.rows(tx, {"rows": given})
    return {row[0]: _PERSON_OF(*row[:-2], Welcome(*row[-2:])) for row in found}


def page(
    tx: Transaction, *, limit: int, before: UUID | None, confirmed: bool | None
) -> Sequence[Person]:
    """List people, newest first, from after ``before`` (a person's id) on, by one statement."""
    asked = _page(is_after=before is not None, confirmed=confirmed)
    found = asked.rows(tx, {"most": limit, "before": before})
    return [_PERSON_OF(*row[:-2], Welcome(*row[-2:])) for row in found]


@cache
def _page(*, is_after: bool, confirmed: bool | None) -> Prepared:
    ids = select(people.c.id).order_by(people.c.id.desc()).limit(bindparam("most", type_=Integer))
    if is_after:
        ids = ids.where(people.c.id < bindparam("before", type_=Key))
    if confirmed is not None:
        ids = ids.where(IS_CONFIRMED if confirmed else ~IS_CONFIRMED)
    # Chosen first: welcomes are then looked up for those who are shown, not for all who match.
    statement = _PERSON.where(people.c.id.in_(ids)).order_by(people.c.id.desc())
    return Prepared(lambda _: statement)


def lock(tx: Transaction, person_id: UUID) -> Person | None:
    """Find a person and keep others from changing the record until the transaction ends."""
    statement = select(people.c.id).where(people.c.id == person_id).with_for_update()
    return find(tx, person_id) if tx.execute(statement).one_or_none() else None


def links_version(tx: Transaction, person_id: UUID) -> int | None:
    """The version that a person's links must have; None if there is nobody."""
    return tx.execute(_LINKS_VERSION, {"person_id": person_id}).scalar_one_or_none()


def lock_links_version(tx: Transaction, person_id: UUID) -> int | None:
    """Read ``links_version`` and lock it, and the record too, until the transaction ends."""
    statement = _LINKS_VERSION.with_for_update()
    return tx.execute(statement, {"person_id": person_id}).scalar_one_or_none()


def void_links(tx: Transaction, person_id: UUID) -> bool:
    """Count the version of a person's links up; False if there is nobody."""
    statement = update(people).where(people.c.id == person_id)
    return tx.execute(statement.values(links_version=people.c.links_version + 1)).rowcount > 0


def stored(tx: Transaction, person_id: UUID) -> Mapping[str, Any] | None:
    """All that a person's row holds; None if there is nobody."""
    row = tx.execute(select(people).where(people.c.id == person_id)).one_or_none()
    return None if row is None else row._asdict()


def email_key(tx: Transaction, person_id: UUID) -> str | None:
    """The key of a person's address; None if there is nobody."""
    found = select(people.c.email_key).where(people.c.id == person_id)
    return tx.execute(found).scalar_one_or_none()


def add_stand_in(tx: Transaction, email_key: str) -> bool:
    """Add somebody of no address, for whom an address's key is kept; False if somebody has it."""
    given = [{"id": new_id(), "email": "", "email_key": email_key, "name": ""}]
    found = _add_if_new.rows(tx, {"rows": encode(tx.dialect.name, given)})
    return bool(found)


def remove_stand_in(tx: Transaction, email_key: str) -> None:
    """Delete who was added by ``add_stand_in``, in the same transaction."""
    tx.execute(delete(people).where(people.c.email_key == email_key, people.c.email == ""))


def move(tx: Transaction, person_id: UUID, email: str, email_key: str) -> None:
    """Give a person an address that said yes just now: every link so far is void."""
    changes = {
        "email": email,
        "email_key": email_key,
        "confirmed_at": now(),
        "links_version": people.c.links_version + 1,
    }
    statement = update(people).where(people.c.id == person_id)
    moved = {**changes, "updated_at": now(), "version": people.c.version + 1}
    tx.execute(statement.values(moved))


def confirm(tx: Transaction, person_id: UUID) -> bool:
    """Note that a person's address is theirs; False if it was before, or there is nobody."""
    statement = update(people).where(people.c.id == person_id, people.c.confirmed_at.is_(None))
    changes = {"confirmed_at": now(), "updated_at": now(), "version": people.c.version + 1}
    return tx.execute(statement.values(changes)).rowcount > 0


def change(tx: Transaction, person_id: UUID, fields: Mapping[str, str | None]) -> None:
    """Set ``fields`` of a person's record and count its version up."""
    statement = update(people).where(people.c.id == person_id)
    tx.execute(statement.values(**fields, updated_at=now(), version=people.c.version + 1))


def erase(tx: Transaction, person_id: UUID) -> bool:
    """Delete a person and by cascade all that is theirs; False if there is nobody.

    They leave the search's index too, which no cascade reaches.
    """
    is_gone = tx.execute(delete(people).where(people.c.id == person_id)).rowcount > 0
    search_index.apply(tx, [person_id])
    return is_gone
