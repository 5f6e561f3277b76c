"""`reach check`: the effective configuration, and whether what it names answers."""

from collections.abc import AsyncIterator, Awaitable, Callable

from reach.checks import alone, servers
from reach.checks.addresses import check_addresses
from reach.checks.configuration import configuration
from reach.checks.finding import Finding
from reach.checks.mail_dns import check_mail_dns
from reach.settings import Settings

CHECKS: tuple[Callable[[Settings], Awaitable[Finding]], ...] = (
    alone.check_variables,
    alone.check_exposure,
    alone.check_templates,
    alone.check_domains,
    servers.check_database,
    servers.check_outbox,
    servers.check_redis,
    servers.check_smtp,
    check_addresses,
    alone.check_traces,
)


async def check_all(settings: Settings, print_line: Callable[[str], None]) -> bool:
    """Print the configuration and every finding; returns whether all is well."""
    for line in configuration(settings):
        print_line(line)
    is_well = True
    async for finding in findings(settings):
        for line in finding.lines():
            print_line(line)
        is_well = is_well and not finding.remedy
    return is_well


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Check one thing after another, and give what each comes to."""
    for check in CHECKS:
        yield await check(settings)
    for finding in await check_mail_dns(settings):
        yield finding
