"""Which of a report's verdicts is on our recipient: each message of ours has one."""

import re
from collections.abc import Callable, Sequence
from unicodedata import normalize

from reach.reports.model import Category, Kind, Verdict

_TO_LOWER = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
#: A local part in quotes that needs none (RFC 5321 §4.1.2): some mail servers quote any.
QUOTED = re.compile(r'"([^\s"\\@<>()\[\],;:]+)"')
#: What counts if an address leads to several mailboxes: what reached one of them has arrived.
BEST: Sequence[Kind] = ("complained", "delivered", "delayed", "bounced")
#: Of bounces of several mailboxes: the one that says the least against the address.
LEAST: Sequence[Category | None] = ("transient", None, "undetermined", "sender", "permanent")


def address_key(address: str) -> str:
    """Write an address as its key: see ``people.address``."""
    return address.strip().strip("<>").translate(_TO_LOWER)


def verdict_on(verdicts: Sequence[Verdict], recipient: str, *, is_sure: bool) -> Verdict | None:
    """Choose what a report says of a message's recipient; None: nothing.

    Those that name the recipient count. If none does, the address may have been passed on to
    others, and then all count: where it is sure that the report is about this message.
    """
    key = _mailbox(recipient)
    own = [one for one in verdicts if _mailbox(one.original_recipient or "") == key]
    own = own or [one for one in verdicts if _mailbox(one.recipient or "") == key]
    if not own and is_sure:
        own = [one for one in verdicts if not one.original_recipient] or list(verdicts)
    if not own:
        return None
    kind = min((one.kind for one in own), key=BEST.index)
    least: Callable[[Verdict], int] = lambda one: LEAST.index(one.category)  # noqa: E731
    return min((one for one in own if one.kind == kind), key=least)


def _mailbox(address: str) -> tuple[str, str]:
    """Read whose mailbox an address is, as a mail server may spell it.

    A domain may come as its U-label where we wrote its A-label (RFC 6533), and end in a dot.
    """
    key = address_key(normalize("NFC", address)).removesuffix(".")
    local, _, domain = key.rpartition("@")
    quoted = QUOTED.fullmatch(local)
    return quoted[1] if quoted else local, ".".join(map(_readable, domain.split(".")))


def _readable(label: str) -> str:
    """Write a label of a domain as people read it: the other way, some of them are mapped."""
    if not label.startswith("xn--"):
        return normalize("NFC", label.lower())
    try:
        return label[4:].encode().decode("punycode")
    except UnicodeError:
        return label
