"""How many messages a mail server, or the servers of a domain, are given in a time."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from reach.network.hosts import is_host

UNIT_SECONDS = {"s": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
RATE = re.compile(r"([0-9]{1,7})\s*/\s*([a-z]+)", re.IGNORECASE)
#: One domain with its rate; every other domain is ``*``.
DOMAIN_RATE = re.compile(r"(?P<domain>[^\s=,;]+)\s*=\s*(?P<rate>[0-9]+\s*/\s*[A-Za-z]+)")
NAME = re.compile(
    r"\.?(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
#: Every domain that no other rate is for.
OTHERS = "*"
MOST_DOMAINS = 1000
#: What may stand behind a mail server's host. A ? of a password has an @ behind it.
SMTP_PARAMETERS = re.compile(r"\?([^@?]*)$")
SMTP_END = (
    "must end after the port, or in ?rate=10/s, ?name=mail.example.org or both with & between"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages in so many seconds, evenly."""

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read ``10/s``, ``100/min`` or ``5000/h``. Raises ValueError."""
        found = RATE.fullmatch(text.strip())
        seconds = UNIT_SECONDS.get(found[2].lower()) if found else None
        if found is None or seconds is None or not int(found[1]):
            raise ValueError("must be a rate like 10/s, 100/min or 5000/h")
        return cls(int(found[1]), seconds)

    @property
    def interval_seconds(self) -> float:
        """How long after one message the next one may follow."""
        return self.seconds / self.count

    def __str__(self) -> str:
        """Write it as settings do."""
        unit = next(name for name, seconds in UNIT_SECONDS.items() if seconds == self.seconds)
        return f"{self.count}/{unit}"


def smtp_parameters(text: str) -> dict[str, str]:
    """Read ``rate=10/s&name=mail.example.org``. Raises ValueError."""
    given = dict(part.partition("=")[::2] for part in text.split("&"))
    if not given.keys() <= {"rate", "name"} or len(given) < len(text.split("&")):
        raise ValueError(SMTP_END)
    if "name" in given and not is_host(given["name"]):
        raise ValueError(SMTP_END)
    return given


@dataclass(frozen=True, slots=True)
class DomainRates:
    """The rates of receiving domains, by name: ``.example.org`` is all below it, ``*`` others."""

    rates: Mapping[str, Rate]

    @classmethod
    def parse(cls, text: str) -> "DomainRates":
        """Read ``gmail.com=5/s, .example.org=60/min, *=20/s``. Raises ValueError."""
        found: dict[str, Rate] = {}
        rest = DOMAIN_RATE.sub("", text)
        for part in DOMAIN_RATE.finditer(text):
            domain = part["domain"].lower()
            if domain != OTHERS and not NAME.fullmatch(domain):
                raise ValueError("must name domains like gmail.com, .example.org, or * for others")
            if domain in found:
                raise ValueError("names one domain twice")
            found[domain] = Rate.parse(part["rate"])
        if rest.strip(" \t\r\n,;"):
            raise ValueError("must be like gmail.com=5/s, .example.org=60/min, *=20/s")
        if len(found) > MOST_DOMAINS:
            raise ValueError(f"may name {MOST_DOMAINS} domains at most")
        return cls(found)

    def __bool__(self) -> bool:
        """Whether any domain has a rate."""
        return bool(self.rates)

    def of(self, recipient: str) -> tuple[str, Rate] | None:
        """Find whose rate counts for an address, and which it is; None if none does.

        All domains below ``.example.org`` share its rate; of the others (``*``) each has its own.
        """
        domain = _domain_of(recipient)
        if (rate := self.rates.get(domain)) is not None:
            return domain, rate
        below = domain
        while (dot := below.find(".")) >= 0:
            if (rate := self.rates.get(below[dot:])) is not None:
                return below[dot:], rate
            below = below[dot + 1 :]
        rate = self.rates.get(OTHERS)
        return None if rate is None else (domain, rate)


@lru_cache(maxsize=1024)
def _domain_of(recipient: str) -> str:
    """Give an address's domain as DNS has it, in lower case."""
    domain = recipient.rpartition("@")[2].lower()
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain
