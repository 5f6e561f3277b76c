"""`reach check`: the settings that count, and whether what they name answers."""

from collections.abc import AsyncIterator, Callable

from reach.checks import local, servers
from reach.checks.dns_records import check_mail_dns
from reach.checks.report import Finding, Line, configuration
from reach.settings import Settings

CHECKS = (
    local.check_variables,
    local.check_exposure,
    local.check_templates,
    local.check_domains,
    servers.check_database,
    servers.check_direct_database,
    servers.check_outbox,
    servers.check_redis,
    servers.check_smtp,
    servers.check_smtputf8,
    servers.check_addresses,
    local.check_traces,
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
        yield await servers.send_sample(settings, to)
