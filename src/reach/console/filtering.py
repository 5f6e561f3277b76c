"""What is typed into a list's filters. Days are UTC's, and both the first and the last count."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Generic, TypeVar

from reach.db.keyset import Count
from reach.problems import Unprocessable

T = TypeVar("T")

DAY = timedelta(days=1)
#: Longer than whatever is found: an address, a name, a template.
MOST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Typed:
    """The fields of a filter, as they were typed; empty ones say nothing."""

    def __post_init__(self) -> None:
        """Cut what is too long, and leave out the blanks around it."""
        for name, text in asdict(self).items():
            object.__setattr__(self, name, text.strip()[:MOST_CHARACTERS])

    @property
    def query(self) -> dict[str, str]:
        """What of it says something, by name: as it stands in the list's address."""
        return {name: text for name, text in asdict(self).items() if text}


#: So many are found by a filter that makes no sense.
NONE = Count(0, is_all=True)


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """Part of a list: what is shown of it, the cursor of the next part, and how many all are."""

    shown: Sequence[T] = ()
    next: str | None = None
    count: Count = NONE

    @classmethod
    def of(cls, shown: Sequence[T], next_: str | None, count: Count) -> "Found[T]":
        """Make one: they are at least as many as are shown, however few there was time to count."""
        return cls(shown, next_, count._replace(found=max(count.found, len(shown))))

    @property
    def may_be_any(self) -> bool:
        """Whether there is one, as far as is known."""
        return self.count.found > 0 or not self.count.is_all


class Reading:
    """Reads one field after the other, and says at the end what is wrong with all of them."""

    def __init__(self, typed: Mapping[str, str]) -> None:
        """Take what was typed, by field."""
        self._typed = typed
        self._errors: list[dict[str, str]] = []

    def read(self, name: str, parse: Callable[[str], T]) -> T | None:
        """Read a field; None if nothing was typed, or what makes no sense."""
        text = self._typed.get(name)
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self._errors.append({"parameter": name, "detail": str(error)})
            return None

    def done(self) -> None:
        """Raise Unprocessable if something was wrong."""
        if self._errors:
            raise Unprocessable(errors=self._errors)


def one_of(known: Collection[T]) -> Callable[[str], T]:
    """Read one of several words. Raises ValueError."""

    def read(text: str) -> T:
        found = [one for one in known if one == text]
        if not found:
            raise ValueError("Choose one of the list.")
        return found[0]

    return read


def yes_or_no(text: str) -> bool:
    """Read a choice of two. Raises ValueError."""
    return one_of({"yes", "no"})(text) == "yes"


def first_moment(text: str) -> datetime:
    """Read a day, as when it begins. Raises ValueError."""
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        raise ValueError("It must be a day, such as 2030-12-31.") from None


def moment_after(text: str) -> datetime:
    """Read a day, as when it is over. Raises ValueError; the last one there is has no next."""
    try:
        return first_moment(text) + DAY
    except OverflowError:
        raise ValueError("It must be a day, such as 2030-12-31.") from None


def errors_of(problem: Unprocessable) -> dict[str, str]:
    """Say what is wrong by the name of its field, which is empty for the whole."""
    errors = problem.members.get("errors")
    found: dict[str, str] = {}
    for one in errors if isinstance(errors, list) else []:
        place = one.get("parameter") or one.get("pointer", "").lstrip("/").split("/")[0]
        found.setdefault(place, one["detail"])
    return found
