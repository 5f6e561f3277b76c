"""Disposable domains: who signs up with an address there is asked for another one."""

from collections.abc import Iterable
from pathlib import Path

from reach.people.address import EmailAddress, parse_address
from reach.problems import Unprocessable
from reach.settings import BadSettings

VARIABLE = "REACH_DISPOSABLE_DOMAINS_FILE"
DETAIL = "Addresses that are thrown away soon cannot sign up here. Please use a lasting one."


class DisposableDomains:
    """A set of domains; what lies below one belongs to it too."""

    def __init__(self, domains: Iterable[str] = ()) -> None:
        """Take domains as people or as machines write them. Raises ValueError."""
        self._domains = frozenset(map(_as_machines_do, domains))

    @classmethod
    def read(cls, path: Path | None) -> "DisposableDomains":
        """Read a file of domains, one a line; ``#`` begins a comment. None: there are none.

        Raises BadSettings naming the line that is no domain.
        """
        try:
            text = path.read_text(encoding="utf-8-sig") if path else ""
        except (OSError, UnicodeDecodeError) as error:
            raise BadSettings(f"{VARIABLE} cannot be read: {error}") from None
        found = []
        for number, line in enumerate(text.splitlines(), 1):
            domain = line.partition("#")[0].strip()
            try:
                found += [_as_machines_do(domain)] if domain else []
            except ValueError:
                raise BadSettings(f"{VARIABLE}: line {number} is not a domain") from None
        return cls(found)

    def refuse(self, email: EmailAddress) -> None:
        """Raise Unprocessable if an address is at one of these domains.

        It is no robot's secret: a person can have such an address, and use another.
        """
        if email in self:
            raise Unprocessable(errors=[{"pointer": "/email", "detail": DETAIL}])

    def __len__(self) -> int:
        """How many there are."""
        return len(self._domains)

    def __contains__(self, email: EmailAddress) -> bool:
        """Whether an address is at one of these domains, or below it."""
        if not self._domains:
            return False
        labels = email.key.rpartition("@")[2].split(".")
        return any(".".join(labels[n:]) in self._domains for n in range(len(labels)))


def _as_machines_do(domain: str) -> str:
    """Write a domain as an A-label (RFC 5890), as an address's key has it. Raises ValueError."""
    return parse_address(f"x@{domain}").key.removeprefix("x@")
