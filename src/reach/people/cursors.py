"""Where a list of people goes on: a place in it, and the cursor that stands for that."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple
from uuid import UUID

from reach.problems import Unprocessable
from reach.shapes import Shape

#: An id, in base64 for addresses; and before it an order that is not the usual one, and behind it
#: what that sorts by.
ID_CHARACTERS = 22
CURSOR = Shape(
    r"(?:oldest\.)?[A-Za-z0-9_-]{21}[AQgw]"
    r"|address\.[A-Za-z0-9_-]{21}[AQgw](?:[A-Za-z0-9_-]{4})*",
    "Take it from next_cursor, unchanged, and ask with the same sort.",
    4000,
)


class Position(NamedTuple):
    """A place in a list: after the person of this id, whose key is the sort's."""

    key: str
    id: UUID


def write_cursor(position: Position, sort: str) -> str:
    """Make the cursor that continues a list: opaque, and of one order."""
    id_ = _base64(position.id.bytes).rstrip("=")
    if sort == "newest":
        return id_
    key = position.key.encode()
    return f"{sort}.{id_}{_base64(key + bytes(-len(key) % 3))}"


def read_cursor(cursor: str | None, sort: str) -> Position | None:
    """Read what ``write_cursor`` made. Raises Unprocessable."""
    if cursor is None:
        return None
    named, _, rest = cursor.rpartition(".")
    if (named or "newest") != sort or not CURSOR.fits(cursor):
        raise Unprocessable(errors=[{"parameter": "cursor", "detail": CURSOR.said}])
    id_, key = rest[:ID_CHARACTERS], rest[ID_CHARACTERS:]
    written = urlsafe_b64decode(key).rstrip(b"\0").decode(errors="replace").replace("\0", "\ufffd")
    return Position(written, UUID(bytes=urlsafe_b64decode(f"{id_}==")))


def _base64(given: bytes) -> str:
    return urlsafe_b64encode(given).decode()
