"""Which column of a list is which of our fields: by the names that other products give them."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

#: ``given``, ``middle`` and ``family`` are parts of a name. ``status`` and ``left_at`` say whether
#: somebody still is a subscriber where the list is from.
Field = Literal[
    "email",
    "name",
    "given",
    "middle",
    "family",
    "description",
    "language",
    "status",
    "left_at",
    "consented_at",
    "confirmed_at",
]
FIELDS: tuple[Field, ...] = get_args(Field)
#: Those that ``--map`` takes.
MAPPED: tuple[Field, ...] = (
    *("email", "name", "description", "language", "status", "consented_at", "confirmed_at"),
)

#: Of these ``--map`` may say that no column is meant, whatever it is called.
NEEDLESS: frozenset[Field] = frozenset(MAPPED) - {"email", "name"}

#: Names of columns in small letters; of several that are there the first counts, but for ``EACH``.
#: Notes are not among them: what an operator noted about somebody is not what they say themselves.
KNOWN: Mapping[Field, Sequence[str]] = {
    "email": (
        *("email", "email address", "e-mail", "e-mail address", "e-mail 1 - value"),
        *("email_address", "emailaddress", "mail"),
    ),
    "name": ("name", "full name", "full_name", "display name"),
    "given": ("first name", "given name", "first_name", "firstname", "fname"),
    "middle": ("middle name", "additional name"),
    "family": ("last name", "family name", "last_name", "lastname", "lname", "surname"),
    "description": ("description",),
    "language": ("language", "lang"),
    "status": ("status", "subscription_status", "subscription status"),
    "left_at": ("unsub_time", "clean_time", "unsubscribed_at", "bounced_at"),
    "consented_at": ("consented_at", "optin_time", "opt-in time", "subscribed_at"),
    "confirmed_at": ("confirmed_at", "confirm_time", "confirm time"),
}
#: Of these each column counts that is there: one alone may say that somebody has left.
EACH: frozenset[Field] = frozenset(("status", "left_at"))
#: Between the columns of ``--map name=First+Last``.
AND = "+"


class BadColumns(Exception):
    """The list has not the columns that it must have."""


def parse_map(texts: Sequence[str]) -> dict[Field, str]:
    """Read what ``--map`` says: ``field=Column``, or ``field=`` for none. Raises ValueError."""
    found: dict[Field, str] = {}
    for text in texts:
        name, equals, column = text.partition("=")
        field = next((one for one in FIELDS if one == name.strip() and one in MAPPED), None)
        if field is None or not equals:
            raise ValueError(f"Write field=Column; fields are {', '.join(MAPPED)}.")
        if not column.strip() and field not in NEEDLESS:
            raise ValueError(f"{field} needs a column: write {field}=Column.")
        if field in found:
            raise ValueError(f"{field} is given twice.")
        found[field] = column.strip()
    return found


#: For each field the columns that it is made of.
Columns = Mapping[Field, tuple[str, ...]]


def choose(names: Sequence[str], chosen: Mapping[Field, str], *, are_all: bool = True) -> Columns:
    """Say which of the columns ``names`` is which field. Raises BadColumns.

    Unless they ``are_all`` that the list has, one that is chosen may be missing among them.
    """
    by_name: dict[str, str] = {}
    for name in names:
        by_name.setdefault(name.strip().casefold(), name)
    found: dict[Field, tuple[str, ...]] = {}
    for field, known in KNOWN.items():
        matches = tuple(by_name[name] for name in known if name in by_name)
        if matches:
            found[field] = matches if field in EACH else matches[:1]
    for field, text in chosen.items():
        if text:
            found[field] = _named(text, by_name, are_all=are_all)
        else:
            found.pop(field, None)
    if "name" in chosen:
        for part in ("given", "middle", "family"):
            found.pop(part, None)
    return found


def require_email(columns: Columns, names: Sequence[str]) -> None:
    """Raise BadColumns unless some column has the addresses."""
    if "email" not in columns:
        shown = ", ".join(names[:20]) or "none"
        raise BadColumns(
            "No column is known to have the addresses: say which, by --map email=Column. "
            f"Columns are: {shown}."
        )


def _named(text: str, by_name: Mapping[str, str], *, are_all: bool) -> tuple[str, ...]:
    """Find the column of this name; or those that it joins by a plus sign."""
    there: tuple[str, ...] = ()
    for parts in ([text], text.split(AND)):
        wanted = [part.strip().casefold() for part in parts]
        there = tuple(by_name[name] for name in wanted if name in by_name)
        if len(there) == len(wanted):
            return there
    if not are_all:
        return there
    raise BadColumns(f"There is no column {text}. Columns are: {', '.join(by_name.values())}.")
