"""Times as they are written in bodies and queries."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

#: RFC 3339 §5.6: a date, a time, and how far it is from UTC.
RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:)(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
#: There is one only at the end of a day, of UTC's.
LEAP_SECOND, LAST_MINUTE = "60", (23, 59)
MOST_CHARACTERS = 64
SAID = (
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
    if found is None or len(value) > MOST_CHARACTERS:
        raise ValueError(SAID)
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
        raise ValueError(SAID) from None
    try:
        here = time.astimezone(UTC)
        if is_leap and (here.hour, here.minute) != LAST_MINUTE:
            raise ValueError(SAID)
        return here + timedelta(seconds=is_leap)
    except OverflowError:
        return FIRST if time.year == FIRST.year else LAST


FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
Time = Annotated[
    datetime,
    PlainValidator(read_time),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": MOST_CHARACTERS}),
]
