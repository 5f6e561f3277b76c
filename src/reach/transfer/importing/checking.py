"""Looking at a row: somebody to be added, or what is wrong with it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from reach.people.address import parse_address
from reach.people.cells import unguarded
from reach.people.newcomers import Newcomer
from reach.people.schemas import LANGUAGE
from reach.people.text import clean_description, clean_name
from reach.settings import Settings
from reach.transfer.importing.columns import EACH, BadColumns, Columns, Field, choose
from reach.transfer.importing.reading import Row

#: What other products call those who get no emails any more, or never did. To write to them would
#: be against their word, or against the mail servers that refuse them.
GONE = frozenset(
    (
        *("unsubscribed", "unsubscribe", "cleaned", "bounced", "blocklisted", "blacklisted"),
        *("blocked", "disabled", "complained", "complaint", "spam", "deleted", "removed"),
        *("archived", "inactive", "non-subscribed", "nonsubscribed", "transactional"),
        *("suppressed", "opted-out", "opted out", "optout", "hard bounce", "hardbounced"),
        *("cancelled", "canceled", "junk", "unreachable", "undeliverable", "invalid"),
    )
)
#: And those who were asked, and have not said yes.
ASKED = frozenset(("pending", "unconfirmed", "unverified", "not confirmed"))
#: And those who get emails. Any other word may mean, in some language, that they do not want any.
GETS = frozenset(
    (
        *("", "subscribed", "subscriber", "active", "enabled", "confirmed", "verified"),
        *("opted-in", "opted in", "opt-in", "optin", "single opt-in", "double opt-in"),
    )
)
NO_STATUS = (
    "It is not known whether “{}” means that they get emails. If the column says something else, "
    "leave it out: --map status="
)
MOST_SHOWN = 40
SAYS_MORE = frozenset(("status", "left_at"))
PARTS: tuple[Field, ...] = ("given", "middle", "family")
#: Google's contacts have several values in one cell.
SEVERAL = " ::: "
#: A clock elsewhere may be ahead by so much.
AHEAD = timedelta(days=1)
#: Of NDJSON each row may have other names; so many sets of them are remembered.
MOST_SHAPES = 100
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a row, and in which field, if in one."""

    field: str
    reason: str


class Checker:
    """Looks at rows, by the rules of a sign-up."""

    def __init__(
        self, settings: Settings, chosen: Mapping[Field, str], *, confirmed: bool, guarded: bool
    ) -> None:
        """Take what ``--map`` says; whether all are ``confirmed`` of whom nothing else is said.

        ``guarded``: cells may have an apostrophe that keeps spreadsheets from running them.
        """
        self._settings = settings
        self._chosen = chosen
        self._confirmed = confirmed
        self._guarded = guarded
        self._columns: dict[tuple[str, ...], Columns] = {}
        #: Fields that some row so far has a column for.
        self.told: set[Field] = set()
        self._latest = datetime.now(UTC) + AHEAD

    def columns(self, names: Sequence[str]) -> Columns:
        """Say which columns are which fields. Raises BadColumns."""
        key = tuple(names)
        found = self._columns.get(key)
        if found is None:
            if len(self._columns) >= MOST_SHAPES:
                self._columns.clear()
            # Each object of NDJSON has names of its own: many leave out what they have no value of.
            found = choose(names, self._chosen, are_all=self._guarded)
            self._columns[key] = found
            self.told.update(field for field, theirs in found.items() if theirs)
        return found

    def require_told(self) -> None:
        """Raise BadColumns if no row so far has a column that ``--map`` names: it is misspelt."""
        for field, text in self._chosen.items():
            if text and field not in self.told:
                raise BadColumns(f"There is no column {text}: no row so far has it.")

    def judged(self, newcomers: Iterable[Newcomer]) -> Sequence[Newcomer]:
        """Take back that those are confirmed who have no time of it, if others on the list have."""
        if "confirmed_at" not in self.told:
            return list(newcomers)
        return [
            replace(one, is_confirmed=False) if one.is_confirmed and not one.confirmed_at else one
            for one in newcomers
        ]

    def check(self, row: Row, columns: Columns) -> Newcomer | Fault:
        """Look at a row."""
        if row.fault is not None:
            return Fault("", row.fault)
        cells = row.cells
        given: dict[Field, str] = {}
        for field, names in columns.items():
            text = ""
            for name in names:
                cell = cells.get(name)
                if cell is None or cell == "":
                    continue
                if not isinstance(cell, str):
                    return Fault(field, "it must be text")
                if self._guarded and cell[0] == "'":
                    cell = unguarded(cell)
                between = "\n" if field in EACH else " "
                text = f"{text}{between}{cell}" if text else cell
            if text:
                given[field] = text
        return self._newcomer(given)

    def _newcomer(self, given: Mapping[Field, str]) -> Newcomer | Fault:
        field: Field = "status"
        try:
            is_asked = bool(given.keys() & SAYS_MORE) and _require_subscriber(given)
            field = "email"
            email = parse_address(
                given.get("email", "").partition(SEVERAL)[0].strip(),
                smtputf8=self._settings.smtputf8,
                intranet=self._settings.intranet,
            )
            field = "name"
            name = clean_name(_name(given))
            field = "description"
            text = given.get("description")
            description = clean_description(text) or None if text else None
            field = "language"
            text = given.get("language")
            language = _language(text) if text else None
            field = "consented_at"
            text = given.get("consented_at")
            consented_at = self._time(text) if text else None
            field = "confirmed_at"
            text = given.get("confirmed_at")
            confirmed_at = self._time(text) if text else None
        except ValueError as error:
            return Fault(field, str(error))
        # Where the list says when people confirmed, who has no such time has not.
        has_confirmed = confirmed_at is not None or "confirmed_at" not in self.told
        is_confirmed = self._confirmed and has_confirmed and not is_asked
        return Newcomer(
            email, name, description, language, consented_at, confirmed_at, is_confirmed
        )

    def _time(self, text: str) -> datetime | None:
        """Read a time; without a zone it is UTC. Raises ValueError."""
        text = text.strip()
        if not text:
            return None
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("This is no time: write 2026-03-04T05:06:07Z.") from None
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
        if not EARLIEST <= time <= self._latest:
            raise ValueError("This time cannot be.")
        return time


def _require_subscriber(given: Mapping[Field, str]) -> bool:
    """Refuse who gets no emails where the list is from; say whether they have yet to say yes."""
    words = {text.strip().casefold(): text.strip() for text in given.get("status", "").splitlines()}
    said = words.keys()
    if gone := said & GONE:
        raise ValueError(f"They get no emails where this list is from: {', '.join(sorted(gone))}.")
    if unknown := said - ASKED - GETS:
        raise ValueError(NO_STATUS.format(words[min(unknown)][:MOST_SHOWN]))
    if given.get("left_at", "").strip():
        raise ValueError("They get no emails where this list is from: they left, or it bounced.")
    return bool(said & ASKED)


def _name(given: Mapping[Field, str]) -> str:
    """Give the name, or the parts of it that there are."""
    whole = given.get("name", "")
    if whole and not whole.isspace():
        return whole
    parts = [given[part].strip() for part in PARTS if part in given]
    return " ".join(filter(None, parts))


def _language(text: str) -> str | None:
    text = text.strip().replace("_", "-")
    return LANGUAGE.read(text) if text else None
