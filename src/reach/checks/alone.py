"""What can be checked without asking anybody: the settings themselves, and files that they name."""

from reach.checks.finding import Finding
from reach.people.antispam import DisposableDomains
from reach.settings import BadSettings, Settings, unknown_variables
from reach.telemetry import traces


async def check_variables(_: Settings) -> Finding:
    """Variables that nothing reads are misspelt, most likely."""
    unknown = unknown_variables()
    if unknown:
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
