"""`reach check`: the effective configuration, and whether what it names answers."""

from collections.abc import Awaitable, Callable

from reach.checks import alone, servers
from reach.checks.configuration import configuration
from reach.checks.finding import Finding
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
    alone.check_traces,
)


async def check_all(settings: Settings, print_line: Callable[[str], None]) -> bool:
    """Print the configuration and every finding; returns whether all is well."""
    for line in configuration(settings):
        print_line(line)
    is_well = True
    for check in CHECKS:
        finding = await check(settings)
        for line in finding.lines():
            print_line(line)
        is_well = is_well and not finding.remedy
    return is_well
