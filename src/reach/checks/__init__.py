"""`reach check`: the settings that count, and whether what they name answers."""

from collections.abc import AsyncIterator, Callable

from reach.checks import mail, servers, templates
from reach.checks.dns_records import check_mail_dns
from reach.checks.oidc import check_oidc
from reach.checks.report import Finding, Line, configuration
from reach.people.antispam import DisposableDomains
from reach.settings import BadSettings, Settings, unknown_variables
from reach.telemetry import traces


async def check_variables(_: Settings) -> Finding:
    """Variables that nothing reads are misspelt, most likely."""
    if unknown := unknown_variables():
        return Finding("variables", f"not known: {', '.join(unknown)}", "Correct or remove them.")
    return Finding("variables", "all known")


async def check_exposure(settings: Settings) -> Finding:
    """Whether Reach would start with these settings."""
    try:
        settings.require_safe_exposure()
    except BadSettings as error:
        return Finding("exposure", "not safe in the open", str(error))
    words = "may be reached from outside" if settings.is_exposed else "this machine only"
    try:
        settings.require_safe_exposure(has_mailbox=False, binds=False)
    except BadSettings as error:
        return Finding("exposure", words, advice=f"`reach worker` would not start: {error}")
    return Finding("exposure", words)


async def check_domains(settings: Settings) -> Finding:
    """Whether the file of disposable domains can be used."""
    try:
        found = DisposableDomains.read(settings.disposable_domains_file)
    except BadSettings as error:
        return Finding("domains", "cannot be used", str(error))
    return Finding("domains", f"{len(found)} whose addresses cannot sign up")


async def check_traces(_: Settings) -> Finding:
    """Whether traces can be begun, and where they go; nothing is sent there."""
    try:
        traces.configure()
        where = traces.endpoint()
    except BadSettings as error:
        return Finding("traces", "cannot be used", str(error))
    finally:
        traces.stop()
    return Finding("traces", "off" if where is None else f"on, to {where}")


CHECKS = (
    check_variables,
    check_exposure,
    templates.check_templates,
    templates.check_pages,
    check_domains,
    servers.check_database,
    servers.check_direct_database,
    servers.check_outbox,
    servers.check_redis,
    mail.check_smtp,
    mail.check_smtputf8,
    servers.check_addresses,
    check_oidc,
    check_traces,
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
        yield await mail.send_sample(settings, to)
