"""What checks of DNS share: a server that says what the test has it say, and a sender."""

from collections.abc import Iterator
from typing import Any

import pytest

from reach.checks.dns_records import check_mail_dns
from reach.checks.report import Finding
from reach.settings import Settings
from tests.support.checks import Checked
from tests.support.messages import signing
from tests.support.servers.dns import DnsServer


@pytest.fixture(scope="session")
def dns_server() -> Iterator[DnsServer]:
    """Run a server for this test process."""
    with DnsServer() as server:
        yield server


@pytest.fixture
def dns(dns_server: DnsServer) -> DnsServer:
    """Offer a server that knows of example.org's mail server alone, and of two more addresses."""
    dns_server.forget()
    dns_server.say("example.org", "MX", "10 mx.example.org.")
    for name in ("mx.example.org", "x.example.org", "mail.example.net"):
        dns_server.say(name, "A", "192.0.2.1")
    return dns_server


@pytest.fixture
def checked(dns: DnsServer) -> Checked:
    """Check the DNS of hello@example.org, who signs, or of the sender whose settings are given."""

    async def check(**changes: Any) -> dict[str, Finding]:
        usual = {"dns_servers": dns.address, "smtp_url": "smtp://127.0.0.1:9"}
        settings = Settings(**signing(**(usual | changes)))
        return {finding.subject: finding for finding in await check_mail_dns(settings)}

    return check
