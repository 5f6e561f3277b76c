"""Slips in addresses: ``ada@gmial.com``. They are asked about, and never corrected."""

from functools import lru_cache

from reach.people.address import EmailAddress

#: Where most people have their addresses; of names long enough to be known in spite of a slip.
WELL_KNOWN = (
    *("gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "yahoo.com", "icloud.com"),
    *("protonmail.com", "t-online.de", "freenet.de", "wanadoo.fr", "laposte.net"),
    *("telefonica.net", "btinternet.com", "comcast.net", "verizon.net"),
)
#: Domains of others that are one slip from these.
NO_SLIPS = frozenset(("mail.com", "ymail.com", "email.com", "fmail.com", "rocketmail.com"))
#: What becomes of ``.com``. Whatever else follows a well-known name may be its owner's, elsewhere.
NEARLY_COM = frozenset(("con", "co", "cm", "om", "cmo", "ocm", "vom", "xom", "comm", "coom"))


def meant(email: EmailAddress) -> str | None:
    """Write the address that somebody may have meant; None if theirs looks as it should."""
    near = _near(email.domain)
    return None if near is None else f"{email.typed.rpartition('@')[0]}@{near}"


@lru_cache(4096)
def _near(domain: str) -> str | None:
    """Find the well-known domain that one is a slip of."""
    if domain in WELL_KNOWN or domain in NO_SLIPS:
        return None
    return next((known for known in WELL_KNOWN if _is_near(domain, known)), None)


def _is_near(domain: str, known: str) -> bool:
    name, _, ending = domain.partition(".")
    known_name, _, known_ending = known.partition(".")
    if name == known_name:
        return known_ending == "com" and ending in NEARLY_COM
    return ending == known_ending and is_one_slip(name, known_name)


def is_one_slip(typed: str, known: str) -> bool:
    """Whether one letter is missing, too many, another one, or has changed places."""
    if typed == known or abs(len(typed) - len(known)) > 1:
        return False
    start = next((n for n, (a, b) in enumerate(zip(typed, known, strict=False)) if a != b), None)
    if start is None:
        return True  # one is a letter longer
    rest, wanted = typed[start:], known[start:]
    swapped = rest[1:2] + rest[:1] + rest[2:]
    return wanted in (swapped, rest[1:]) or rest == wanted[1:] or rest[1:] == wanted[1:]
