"""Times as they are written in bodies and queries."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

#: RFC 3339 §5.6: a date, a time, and how far it is from UTC.
RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
SAID = (
    "It must be a time of RFC 3339 with its offset, such as 2026-03-04T05:06:07Z "
    "(in a query, + is written %2B)."
)


def read_time(value: Any) -> datetime:
    """Read an aware time, to a microsecond. Raises ValueError, in words that do not repeat it.

    Nothing else that looks like a time: 1700000000 may be seconds or milliseconds, and a time
    without an offset is another one in each office.
    """
    if not isinstance(value, str) or not RFC3339.fullmatch(value):
        raise ValueError(SAID)
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # no such day; or no such year, in UTC
        raise ValueError(SAID) from None


Time = Annotated[
    datetime,
    PlainValidator(read_time),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
