"""What DNS says of a name, asked within one budget of time."""

import time

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver
from dns.rdatatype import RdataType

from reach.settings import Settings

#: All that is asked takes no longer than this together, and one look-up no longer than that.
BUDGET_SECONDS, LOOKUP_SECONDS = 8.0, 3.0
#: What every name server and every network lets through (dnsflagday.net/2020).
DATAGRAM_BYTES = 1232
RECORD_STRING_BYTES = 255


class NotKnown(Exception):  # noqa: N818 - an expected failure
    """DNS has not said; ``args[0]`` is why."""


class Dns:
    """The name servers that ``settings`` name, or the system's; ask them within the budget."""

    def __init__(self, settings: Settings) -> None:
        """Begin the budget. Raises NotKnown if the system has no name servers."""
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not settings.name_servers)
        except dns.exception.DNSException:
            raise NotKnown("this system names no name servers") from None
        if settings.name_servers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(address, port)
                for address, port in settings.name_servers
            ]
        self._resolver.use_edns(0, 0, DATAGRAM_BYTES)
        self._ends_at = time.monotonic() + BUDGET_SECONDS

    async def texts(self, name: str) -> list[str]:
        """Find the TXT records of a name, each in one piece. Raises NotKnown."""
        answer = await self._ask(name, RdataType.TXT)
        return [_readable(b"".join(record.strings)) for record in answer or ()]

    async def mail_servers(self, name: str) -> list[str]:
        """Find the MX records' servers; one that says "no mail" is empty. Raises NotKnown."""
        answer = await self._ask(name, RdataType.MX)
        return [record.exchange.to_text(omit_final_dot=True).strip(".") for record in answer or ()]

    async def has_address(self, name: str) -> bool:
        """Whether it has an address of either kind. Raises NotKnown."""
        return any([await self._ask(name, kind) for kind in (RdataType.A, RdataType.AAAA)])

    async def _ask(self, name: str, kind: RdataType) -> dns.resolver.Answer | None:
        seconds = min(LOOKUP_SECONDS, self._ends_at - time.monotonic())
        if seconds <= 0:
            raise NotKnown(f"no time was left to ask for {name}")
        try:
            absolute = dns.name.from_text(f"{name}.")
            return await self._resolver.resolve(absolute, kind, lifetime=seconds)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None
        except dns.exception.Timeout:
            raise NotKnown(f"no name server answered for {name} in {seconds:.0f} s") from None
        except dns.resolver.NoNameservers:
            raise NotKnown(f"name servers cannot tell about {name} (SERVFAIL, say)") from None
        except dns.exception.DNSException as error:
            raise NotKnown(f"{name} cannot be asked for ({type(error).__name__})") from None


def _readable(raw: bytes) -> str:
    """Read what a stranger may have published, fit for a terminal."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in raw)  # noqa: PLR2004 - printable ASCII


def tags_of(record: str) -> dict[str, str]:
    """Read ``v=DKIM1; p=…``, names in lower case; the first of each counts."""
    found: dict[str, str] = {}
    for part in record.split(";"):
        name, sign, value = part.partition("=")
        if sign:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def to_publish(name: str, value: str) -> str:
    """Write a TXT record as zone files have it, in strings that are short enough for one."""
    escaped = [f"\\{character}" if character in '"\\' else character for character in value]
    strings = [
        "".join(escaped[n : n + RECORD_STRING_BYTES])
        for n in range(0, len(escaped), RECORD_STRING_BYTES)
    ]
    return f"{name}. TXT " + " ".join(f'"{string}"' for string in strings)
