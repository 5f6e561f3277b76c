"""Domains that a setting lists: some of them exactly, and what lies below others."""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email

#: A domain to look at another one below.
OUTER = ".example"


@dataclass(frozen=True, slots=True)
class Domains:
    """``exact`` names belong to it themselves, and all that lies below a name of ``below``.

    Names are as machines write them: lower case, A-labels (RFC 5890), no dot at either end.
    """

    exact: AbstractSet[str] = frozenset()
    below: AbstractSet[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "Domains":
        """Read ``example.org, .example.org``: commas or blanks between; a dot says "below".

        Raises ValueError.
        """
        return _parse(text)

    def __contains__(self, domain: str) -> bool:
        """Whether ``domain``, as machines write it, is one of these."""
        if domain in self.exact:
            return True
        labels = domain.split(".")
        return any(".".join(labels[n:]) in self.below for n in range(1, len(labels) + 1))

    def __bool__(self) -> bool:
        """Whether it lists any."""
        return bool(self.exact or self.below)

    def without(self, others: "Domains") -> list[str]:
        """List, as they are written, the intranet names where ``others`` has no domain at all."""
        lonely = [name for name in self.exact if is_intranet(name) and name not in others]
        named = {*others.exact, *(f"x.{name}" for name in others.below)}
        for name in self.below:
            one_below = f"x.{name}"
            inside = Domains(below=frozenset({name}))
            if is_intranet(one_below) and one_below not in others:
                lonely += [] if any(other in inside for other in named) else [f".{name}"]
        return sorted(lonely)


#: What lies below the root: every domain.
EVERYWHERE = Domains(below=frozenset({""}))
NOWHERE = Domains()


def is_intranet(domain: str) -> bool:
    """Whether no public mail can reach a domain: a name of special use (RFC 6761), or one label."""
    return _as_machines_do(domain, "") is None


@lru_cache(maxsize=8)
def _parse(text: str) -> Domains:
    exact: set[str] = set()
    below: set[str] = set()
    for part in filter(None, re.split(r"[\s,]+", text)):
        name = _as_machines_do(part.removeprefix("."), OUTER)
        if name is None:
            raise ValueError("must be domains, like example.org, .example.org (all below it)")
        (below if part.startswith(".") else exact).add(name)
    return Domains(frozenset(exact), frozenset(below))


def _as_machines_do(name: str, outer: str) -> str | None:
    """Write a domain in lower case and A-labels; None if it is none, once below ``outer``."""
    try:
        found = validate_email(f"x@{name}{outer}", check_deliverability=False)
    except EmailNotValidError:
        return None
    return found.ascii_domain.lower().removesuffix(outer)
