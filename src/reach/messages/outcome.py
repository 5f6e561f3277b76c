"""What became of an attempt.

Outcome
├── Sent         the mail server has accepted the message
├── Deferred     it said "not now", or fell silent: try again after a while
├── Rejected     it said "never", about this message: failed at once
├── Unknown      it had the whole message, then no answer came: try again, same Message-ID
└── Unavailable  nothing is wrong with the message: the server, or we, cannot send at all
"""

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the mail server said (or did), and what it means for the message.

    ``code`` is the SMTP reply code, ``enhanced`` RFC 3463's ``x.y.z``, both None if the
    server gave none; ``text`` may hold an address, so it is stored but never logged.
    ``name`` is how it is stored and counted.
    """

    name: ClassVar[str]
    text: str = field(repr=False)
    code: int | None = None
    enhanced: str | None = None

    @property
    def words(self) -> str:
        """All that was said, as people read it: ``550 5.1.1 RCPT TO: No such user``."""
        text = self.text.replace(f"{self.enhanced} ", "") if self.enhanced else self.text
        codes = (str(self.code) if self.code else "", self.enhanced or "")
        return " ".join(filter(None, (*codes, text)))


@dataclass(frozen=True, slots=True)
class Sent(Outcome):
    """The mail server has taken responsibility for the message."""

    name = "sent"


@dataclass(frozen=True, slots=True)
class Deferred(Outcome):
    """Not now.

    ``is_suspect``: the reply may be about us, our sender or our login rather than about this
    message. Other messages tell (see ``CircuitBreaker``).
    """

    name = "deferred"
    is_suspect: bool = False


@dataclass(frozen=True, slots=True)
class Rejected(Outcome):
    """Never. ``code`` is None if it was us who could not: a broken template, say."""

    name = "rejected"


@dataclass(frozen=True, slots=True)
class Unknown(Outcome):
    """The server had all of it and did not say what it made of it."""

    name = "unknown"


@dataclass(frozen=True, slots=True)
class Unavailable(Outcome):
    """No message can be sent now: the server does not answer, or refuses us.

    ``was_heard``: it had heard of the message by then, so it may mean that message after all.
    ``is_rate``: we send more than it takes, in a second or a day; never a message's fault.
    """

    name = "unavailable"
    was_heard: bool = False
    is_rate: bool = False
