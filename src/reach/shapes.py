"""How texts in a request must look: one pattern for who reads them, and for the document.

A pattern here is one of JSON Schema (ECMA-262) and of Python alike, and stands for the whole text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

#: What Python takes for blank, and what ``str.strip`` removes: the inside of a class.
BLANK = r"\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
#: What Postgres cannot be asked about, and no other control character either.
UNSEEN = r"\u0000-\u001f\u007f"
#: Not text that people type, whatever Unicode adds: control characters, line and paragraph
#: separators, those that turn the direction of reading (UAX #9), private ones, and what is none
#: (Unicode §23.7). Beyond the first plane no escape is known to all who read patterns.
CONTROL = (
    r"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    r"\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(1, 15))
    + f"{chr(0xF0000)}-{chr(0x10FFFF)}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a text must look; ``said`` tells it to whom it is refused, and ``known_as`` to tools."""

    pattern: str
    said: str
    most_characters: int | None = None
    known_as: str | None = None
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile it once."""
        object.__setattr__(self, "_compiled", re.compile(self.pattern))

    def read(self, text: str) -> str:
        """Give the text as it is. Raises ValueError, in words that do not repeat it."""
        if self.most_characters is not None and len(text) > self.most_characters:
            raise ValueError(f"It may have at most {self.most_characters} characters.")
        if not self.fits(text):
            raise ValueError(self.said)
        return text

    def fits(self, text: str) -> bool:
        """Whether a text looks so."""
        is_short = self.most_characters is None or len(text) <= self.most_characters
        return is_short and self._compiled.fullmatch(text) is not None

    @property
    def keywords(self) -> dict[str, Any]:
        """Say the same in JSON Schema, beside its type."""
        said: dict[str, Any] = {"pattern": f"^(?:{self.pattern})$"}
        if self.most_characters is not None:
            said["maxLength"] = self.most_characters
        if self.known_as is not None:
            said["format"] = self.known_as
        return said

    @property
    def schema(self) -> dict[str, Any]:
        """Say the same in JSON Schema."""
        return {"type": "string", **self.keywords}


#: RFC 9562's text, and no other that Python reads as one.
ID = Shape(
    r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    "Input should be a valid UUID",
    known_as="uuid",
)
#: Sixteen bytes in base64 for addresses; the last character has four bits that mean nothing.
CURSOR = Shape(r"[A-Za-z0-9_-]{21}[AQgw]", "Take it from next_cursor, unchanged.")
TEXT = Shape(f"[^{CONTROL}]*", "It must not hold control or direction characters.")
WHOLE = Shape(r"[0-9]{1,3}", "Input should be a whole number")


def read_id(value: Any) -> UUID:
    """Read an id as it is written everywhere. Raises ValueError."""
    if isinstance(value, UUID):
        return value
    if isinstance(value, str):
        return UUID(ID.read(value))
    raise ValueError(ID.said)


def read_whole(value: Any) -> Any:
    """Read a number of a query: digits, and nothing else that Python would take for a number."""
    return int(WHOLE.read(value)) if isinstance(value, str) else value


def read_bool(value: Any) -> Any:
    """Read a truth value of a query as JSON writes it. Raises ValueError."""
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("Input should be true or false")
        return value == "true"
    return value


def weight_of(parameters: Iterable[str]) -> float:
    """Read ``q=0.5`` among the parameters of what is accepted (RFC 9110 §12.4.2); 1 without it.

    What cannot be read counts for nothing.
    """
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


Id = Annotated[UUID, PlainValidator(read_id), WithJsonSchema(ID.schema)]
#: An id in a path: what is not one names nothing, so its reader answers 404 and not 422.
ID_IN_PATH = Field(json_schema_extra=ID.keywords)


def shaped(shape: Shape) -> tuple[AfterValidator, Any]:
    """Make what annotates a text: ``Annotated[str, *shaped(CURSOR)]``."""
    return AfterValidator(shape.read), Field(json_schema_extra=shape.keywords)


#: RFC 3339 §5.6: a date, a time, and how far it is from UTC.
RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:)(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
#: There is one only at the end of a day, of UTC's.
LEAP_SECOND, LAST_MINUTE = "60", (23, 59)
LONGEST_TIME = 64
NO_TIME = (
    "It must be a time of RFC 3339 with its offset, such as 2026-03-04T05:06:07Z "
    "(in a query, + is written %2B)."
)


def read_time(value: Any) -> datetime:
    """Read an aware time, to a microsecond. Raises ValueError, in words that do not repeat it.

    Nothing else that looks like a time: 1700000000 may be seconds or milliseconds, and a time
    without an offset is another one in each office. One that is before or after all that there
    are (programs write "since ever" so, in their own zone) is the first or the last.
    """
    found = RFC3339.fullmatch(value) if isinstance(value, str) else None
    if found is None or len(value) > LONGEST_TIME:
        raise ValueError(NO_TIME)
    minute, second, fraction, offset = found.groups()
    is_leap = second == LEAP_SECOND
    text = f"{minute}{'59' if is_leap else second}{fraction or ''}{offset}".upper()
    try:
        if text.startswith("0000"):
            # Python's years begin with 1; the year 4 is as long, and as far before all others.
            datetime.fromisoformat(f"0004{text[4:]}")
            return FIRST
        time = datetime.fromisoformat(text)
    except ValueError:  # no such day, or hour
        raise ValueError(NO_TIME) from None
    try:
        here = time.astimezone(UTC)
        if is_leap and (here.hour, here.minute) != LAST_MINUTE:
            raise ValueError(NO_TIME)
        return here + timedelta(seconds=is_leap)
    except OverflowError:
        return FIRST if time.year == FIRST.year else LAST


FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
Time = Annotated[
    datetime,
    PlainValidator(read_time),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": LONGEST_TIME}),
]
