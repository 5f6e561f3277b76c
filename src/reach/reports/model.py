"""The words for what is reported of a message after it was sent, by any source.

Report
├── delivered   a mail server said that it put the message into the mailbox, or passed it on. Not
│               that somebody read it, or that it is not among the spam.
├── delayed     a mail server could not yet pass it on, and goes on trying. Not that it is lost.
├── bounced     a mail server gave it up. Not that the address is dead: see ``Category``.
└── complained  the recipient marked it as spam, and their provider said so. Not that it was spam.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["delivered", "delayed", "bounced", "complained"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Whose fault a bounce is. ``permanent``: the address takes no mail, and will not by itself.
#: ``transient``: it takes none now (a full mailbox, a server that did not answer for days).
#: ``sender``: it is about us: our reputation, our domain's records, our content, its size.
#: ``undetermined``: what was said does not tell.
Category = Literal["permanent", "transient", "sender", "undetermined"]
CATEGORIES: tuple[Category, ...] = get_args(Category)

#: The longest text that is kept of a report.
TEXT_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a report says of one recipient.

    ``recipient`` and ``original_recipient`` are addresses as the reporter writes them, after and
    before it was passed on to another one; None if it does not say. ``category`` is that of a
    bounce or a delay, else None. ``text`` is what the mail server said, printable, or empty: it may
    hold an address, so it is stored but never logged.
    """

    kind: Kind
    category: Category | None = None
    recipient: str | None = field(default=None, repr=False)
    original_recipient: str | None = field(default=None, repr=False)
    smtp_code: int | None = None
    enhanced_code: str | None = None
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Clues:
    """What in a report says which message it is about; the first that leads to one counts.

    ``return_path`` is the address that the report was sent to. ``ids`` are texts that may be, or
    hold, a ``Message-ID`` of ours, the surest first: of our own header or the returned message's
    ``Message-ID``, then of ``References`` and ``In-Reply-To``, then the envelope id (RFC 3461).
    ``provider_id`` is what a provider calls the message, as in its reply when it took it.
    """

    return_path: str | None = field(default=None, repr=False)
    ids: tuple[str, ...] = field(default=(), repr=False)
    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What somebody reports of one message: a verdict for each recipient that is named.

    ``source`` is who says so, in a word that is counted: ``dsn``, ``feedback-report``, ``bounce``
    (an email that is none of these), or a provider's name.
    """

    source: str
    clues: Clues
    verdicts: tuple[Verdict, ...]
