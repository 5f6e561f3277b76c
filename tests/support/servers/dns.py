"""A real DNS server, over UDP and TCP, that says what a test has it say.

    with DnsServer() as dns:
        dns.say("example.org", "TXT", "v=spf1 -all")
        dns.fail("_dmarc.example.org")            # SERVFAIL
        dns.keep_silent()                         # no answer, whatever is asked
        …
        assert dns.asked[0] == ("udp", "example.org", "TXT")

A name of which nothing was said does not exist.
"""

import threading
from collections import defaultdict
from types import TracebackType
from typing import Self

from dnslib import QTYPE, RCODE, RR, DNSError, DNSRecord
from dnslib.server import DNSHandler, DNSLogger, DNSServer

from tests.support.processes.ports import free_port

#: What fits into a datagram; beyond it an answer is truncated, and asked for again over TCP.
DATAGRAM_BYTES = 512
POLL_SECONDS = 0.02
TTL_SECONDS = 60
TXT_STRING_CHARACTERS = 255


class DnsServer:
    """Listens on 127.0.0.1, at ``port``."""

    def __init__(self) -> None:
        self.port = free_port()
        #: What was asked so far: over what, for which name and type.
        self.asked: list[tuple[str, str, str]] = []
        self._said: dict[str, list[RR]] = defaultdict(list)
        self._failing: set[str] = set()
        self._is_silent = False
        self._servers = [
            DNSServer(
                self,
                "127.0.0.1",
                self.port,
                tcp=is_tcp,
                logger=DNSLogger(logf=lambda _: None),
            ).server
            for is_tcp in (False, True)
        ]
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,))
            for server in self._servers
        ]

    @property
    def address(self) -> str:
        """What REACH_DNS_SERVERS would be for it."""
        return f"127.0.0.1:{self.port}"

    def say(self, name: str, kind: str, *values: str) -> None:
        """Have these records of a name and type, in place of any others of that type."""
        self._said[name] = [one for one in self._said[name] if QTYPE[one.rtype] != kind]
        for value in values:
            data = _quoted(value) if kind == "TXT" else value
            self.publish(f"{name}. {TTL_SECONDS} IN {kind} {data}")

    def publish(self, line: str) -> None:
        """Have one more record, as a zone file has it."""
        (record,) = RR.fromZone(line, ttl=TTL_SECONDS)
        self._said[str(record.rname).rstrip(".").lower()].append(record)

    def fail(self, *names: str) -> None:
        """Answer SERVFAIL for these names."""
        self._failing.update(names)

    def keep_silent(self) -> None:
        """Answer nothing any more."""
        self._is_silent = True

    def forget(self) -> None:
        """Know nothing, and be well, as at the start."""
        self.asked.clear()
        self._said.clear()
        self._failing.clear()
        self._is_silent = False

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        """Answer one question; dnslib calls it."""
        name, kind = str(request.q.qname).rstrip(".").lower(), QTYPE[request.q.qtype]
        self.asked.append((handler.protocol, name, kind))
        if self._is_silent:
            raise DNSError("silent")
        reply = request.reply()
        if name in self._failing:
            reply.header.rcode = RCODE.SERVFAIL
        elif name not in self._said:
            reply.header.rcode = RCODE.NXDOMAIN
        reply.add_answer(*(one for one in self._said.get(name, []) if one.rtype == request.q.qtype))
        if handler.protocol == "udp" and len(reply.pack()) > DATAGRAM_BYTES:
            reply = request.reply()
            reply.header.tc = 1
        return reply

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


def _quoted(text: str) -> str:
    """Write a TXT record's data in strings that are short enough for one."""
    starts = range(0, len(text), TXT_STRING_CHARACTERS)
    return " ".join(f'"{text[n : n + TXT_STRING_CHARACTERS]}"' for n in starts)
