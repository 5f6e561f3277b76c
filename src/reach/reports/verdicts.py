"""Which of a report's verdicts is on our recipient: each message of ours has one."""

from collections.abc import Callable, Sequence

from reach.reports.model import Category, Kind, Verdict

_TO_LOWER = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
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
    key = address_key(recipient)
    own = [one for one in verdicts if one.original_recipient and _is(one.original_recipient, key)]
    own = own or [one for one in verdicts if one.recipient and _is(one.recipient, key)]
    if not own and is_sure:
        own = [one for one in verdicts if not one.original_recipient] or list(verdicts)
    if not own:
        return None
    kind = min((one.kind for one in own), key=BEST.index)
    least: Callable[[Verdict], int] = lambda one: LEAST.index(one.category)  # noqa: E731
    return min((one for one in own if one.kind == kind), key=least)


def _is(address: str, key: str) -> bool:
    return address_key(address) == key
