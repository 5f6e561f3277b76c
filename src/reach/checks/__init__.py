"""`reach check`: the effective configuration, and whether what it names answers."""

from collections.abc import AsyncIterator, Awaitable, Callable

from reach.checks import alone, servers
from reach.checks.addresses import check_addresses
from reach.checks.configuration import configuration
from reach.checks.finding import Finding, Line
from reach.checks.mail_dns import check_mail_dns
from reach.checks.sent import send_sample
from reach.checks.smtputf8 import check_smtputf8
from reach.checks.templates import check_templates
from reach.settings import Settings

CHECKS: tuple[Callable[[Settings], Awaitable[Finding]], ...] = (
    alone.check_variables,
    alone.check_exposure,
    check_templates,
    alone.check_domains,
    servers.check_database,
    servers.check_direct_database,
    servers.check_outbox,
    servers.check_redis,
    servers.check_smtp,
    check_smtputf8,
    check_addresses,
    alone.check_traces,
)


async def check_all(
    settings: Settings,
    print_line: Callable[[Line], None],
    *,
    shows_all: bool = False,
    to: str | None = None,
) -> int:
    """Print the configuration and every finding; returns the exit code that these come to.

    ``shows_all``: also the settings that are as by default. ``to``: an address (see
    ``people.address``) that one real message is sent to.
    """
    for line in configuration(settings, shows_all=shows_all):
        print_line(line)
    code = 0
    async for finding in findings(settings, to):
        for line in finding.lines():
            print_line(line)
        code = max(code, finding.exit_code)
    return code


async def findings(settings: Settings, to: str | None = None) -> AsyncIterator[Finding]:
    """Check one thing after another, and give what each comes to."""
    for check in CHECKS:
        yield await check(settings)
    for finding in await check_mail_dns(settings):
        yield finding
    if to is not None:
        yield await send_sample(settings, to)
