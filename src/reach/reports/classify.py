"""Decides what a bounce is about: by a server's words, then by its enhanced code, then its code."""

import re
from collections.abc import Sequence

from reach.reports.enhanced_codes import category_of
from reach.reports.model import Category
from reach.reports.rules import RULES, Rule

#: What only looks like a server's words: a mailbox may be called ``spam``, and a host ``full``.
NAMES = re.compile(
    r"https?://\S{1,500}"
    r"|<?[^\s<>@,;:]{1,128}@[^\s<>@,;]{1,255}>?"
    r"|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])"
    r"|(?<![\w.])(?:[a-z0-9_-]{1,63}\.){2,8}[a-z]{2,24}(?![\w.])"
    r"|(?<=using )(?:[a-z0-9_-]{1,63}\.){1,8}[a-z]{2,24}"
)
#: So much of what was said is looked at.
LOOKED_AT = 2000

#: Reply codes that mean something by themselves.
CODES: dict[int, Category] = {
    521: "permanent",  # RFC 7504: the host takes no mail
    556: "permanent",  # RFC 7504: the domain takes no mail
    530: "sender",  # RFC 4954: authentication required
    535: "sender",
    538: "sender",
    552: "transient",  # RFC 5321 §4.2.3: exceeded storage allocation
    571: "sender",  # blocked, by servers that write 5.7.1 so
}
TRANSIENT_CODES = range(400, 500)


def category(code: int | None, text: str, *enhanced: str | None) -> Category:
    """Say what a bounce is about. ``enhanced``: codes that were said, the surest first."""
    codes = [one for one in enhanced if one]
    first = codes[0] if codes else ""
    if (rule := rule_of(code, first, text)) is not None:
        return rule.category
    return _by_codes(code, codes)


def rule_of(
    code: int | None, enhanced: str, text: str, rules: Sequence[Rule] = RULES
) -> Rule | None:
    """Find the rule for what was said; None if no rule knows it."""
    plain = NAMES.sub(" ", text[:LOOKED_AT])
    said = "" if code is None else str(code)
    return next((rule for rule in rules if rule.fits(said, enhanced, plain)), None)


def _by_codes(code: int | None, enhanced: Sequence[str]) -> Category:
    """Let the first enhanced code decide that says more than "failed", if its class is the reply's.

    A 4yz with 5.y.z beside it is transient: a server's reply is what it said.
    """
    is_4yz = code in TRANSIENT_CODES
    found = (category_of(f"4{one[1:]}" if is_4yz else one) for one in enhanced)
    told = next((one for one in found if one != "undetermined"), None)
    if told is not None:
        return told
    if is_4yz:
        return "transient"
    return CODES.get(code, "undetermined") if code is not None else "undetermined"
