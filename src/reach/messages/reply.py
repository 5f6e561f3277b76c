"""What the mail server says, and what it means when it says nothing usable.

NoReply
├── Lost     the connection ended
├── Silent   no reply in time
└── Garbage  a reply that is not SMTP, or makes no sense
"""

import re
from typing import NamedTuple, TypeVar

from reach.messages.outcome import Outcome

T = TypeVar("T", bound=Outcome)

#: Longest text kept of what a server said.
TEXT_CHARACTERS = 500
#: Longest reply read: a real EHLO is a few hundred bytes.
REPLY_BYTES = 1 << 16

REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?\r?\n", re.DOTALL)
ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])")
#: What a text column cannot hold, or a page should not: controls and lone surrogates.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class NoReply(Exception):  # noqa: N818 - an expected end of a dialogue
    """The server gave no usable reply. The connection is closed already."""


class Lost(NoReply):
    """The connection ended."""


class Silent(NoReply):
    """No reply in time."""


class Garbage(NoReply):
    """The reply is not SMTP, or makes no sense at this stage."""


class Reply(NamedTuple):
    """A reply's code, and its lines' texts joined by spaces."""

    code: int
    text: str


def parse(buffer: bytes | bytearray) -> tuple[Reply | None, int]:
    """Read a whole reply from the start of ``buffer``: it, and how many bytes it took.

    None if more is to come. Raises Garbage.
    """
    start, code, texts = 0, b"", []
    while end := buffer.find(b"\n", start) + 1:
        line = REPLY_LINE.fullmatch(buffer, start, end)
        if line is None or code not in (b"", line[1]):
            raise Garbage(f"not an SMTP reply: {bytes(buffer[start:end])!r}")
        code, more, text = line.groups(b"")
        texts.append(text.decode("utf-8", "replace").strip())
        if more != b"-":
            return Reply(int(code), " ".join(texts)), end
        start = end
    if len(buffer) > REPLY_BYTES:
        raise Garbage("a reply without end")
    return None, 0


def outcome(kind: type[T], stage: str, said: Reply | str) -> T:
    """Make an outcome of what the server said (or did) at ``stage``, fit to be stored."""
    code, text = (None, said) if isinstance(said, str) else said
    enhanced = None if code is None else ENHANCED.match(text)
    words = UNPRINTABLE.sub("\ufffd", f"{stage}: {text}")[:TEXT_CHARACTERS]
    return kind(words, code, enhanced.group() if enhanced else None)
