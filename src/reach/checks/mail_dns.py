"""What DNS says of the domain that emails come from: without it they are taken for junk."""

import asyncio
from collections.abc import Awaitable

from reach.checks.dkim import SUBJECT as DKIM
from reach.checks.dkim import UNSIGNED, check_dkim
from reach.checks.dmarc import SUBJECT as DMARC
from reach.checks.dmarc import check_dmarc
from reach.checks.dns import Dns, NotKnown
from reach.checks.finding import Finding
from reach.checks.spf import SUBJECT as SPF
from reach.checks.spf import check_spf
from reach.mail.dkim import DkimKey
from reach.network.hosts import is_loopback
from reach.settings import BadSettings, Settings
from reach.settings.urls import parse_mailbox

SENDER = "sender"
#: Names that the world's DNS does not have, and is not to have (RFC 6761, 6762, 9476, ICANN).
NOWHERE = (".test", ".example", ".invalid", ".local", ".internal", ".alt", ".onion")
NOT_KNOWN = (
    "Let this machine ask DNS, then check again; REACH_DNS_SERVERS names other servers to ask."
)


async def check_mail_dns(settings: Settings) -> list[Finding]:
    """Whether receivers can know our mail for ours: DKIM, SPF, DMARC, and where answers go."""
    domain = parse_mailbox(settings.mail_from).domain.lower()
    key, dkim = None, UNSIGNED
    try:
        key = DkimKey.of(settings)
    except BadSettings as error:
        dkim = Finding(DKIM, "cannot be used", str(error))
    if (reason := _not_asked(settings, domain)) is not None:
        signs = f"emails are signed as {key.name}" if key else "no email is signed"
        told = Finding(DKIM, f"{signs}; DNS was not asked: {reason}")
        return [dkim if dkim.remedy else told]
    try:
        dns = Dns(settings)
    except NotKnown as unknown:
        return [_not_known("dns", unknown)]
    signer = key.domain if key else ""
    return list(
        await asyncio.gather(
            _known(SENDER, _check_sender(dns, domain)),
            _known(SPF, check_spf(dns, settings, domain)),
            _known(DKIM, check_dkim(dns, key) if key else _told(dkim)),
            _known(DMARC, check_dmarc(dns, domain, signer)),
        )
    )


def _not_asked(settings: Settings, domain: str) -> str | None:
    """Say why nobody in the world would ask DNS about this sender."""
    if settings.smtp is None:
        return "the embedded mailbox of `reach up` takes all"
    if is_loopback(domain) or "." not in domain or f".{domain}".endswith(NOWHERE):
        return f"{domain} is no domain of the world's"
    if domain.startswith("["):
        return f"{domain} is an address"
    return None


async def _known(subject: str, finding: Awaitable[Finding]) -> Finding:
    try:
        return await finding
    except NotKnown as unknown:
        return _not_known(subject, unknown)


def _not_known(subject: str, unknown: NotKnown) -> Finding:
    return Finding(subject, f"not known: {unknown}", NOT_KNOWN)


async def _told(finding: Finding) -> Finding:
    return finding


async def _check_sender(dns: Dns, domain: str) -> Finding:
    """Whether the domain takes mail: many receivers refuse a sender that could not be answered."""
    servers = await dns.mail_servers(domain)
    if servers and any(servers):
        return Finding(SENDER, f"{domain} takes mail at {', '.join(sorted(servers))}")
    if servers:
        advice = "Answers to emails and notices of failure go nowhere; some receivers mind."
        return Finding(SENDER, f"{domain} says that it takes no mail (null MX)", advice=advice)
    if await dns.has_address(domain):
        return Finding(SENDER, f"{domain} has an address and no MX")
    advice = "Many receivers refuse senders whose domain has neither: publish an MX record."
    return Finding(SENDER, f"{domain} has neither MX nor address", advice=advice)
