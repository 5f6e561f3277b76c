"""What can be checked without asking anybody: settings, the files that they name, templates."""

from collections.abc import Iterable, Iterator

from reach.checks import samples
from reach.checks.report import Finding
from reach.mail.compose import CannotCompose, Composer
from reach.mail.templates import Fault, Templates
from reach.people.antispam import DisposableDomains
from reach.settings import BadSettings, Settings, unknown_variables
from reach.telemetry import traces

#: What is wrong with a template whatever its data are; other kinds may come of our stand-ins.
CERTAIN = (
    *("TemplateSyntaxError", "TemplateAssertionError", "TemplateNotFound", "TemplatesNotFound"),
    *("UndefinedError", "SecurityError", "CannotLink", "UnicodeDecodeError", "IsADirectoryError"),
)


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


async def check_templates(settings: Settings) -> Finding:
    """Whether every template can be read and rendered with sample data, and makes an email."""
    try:
        composer = samples.composer(settings)
        faults = dict.fromkeys(_faults(settings, composer))
        advice = "\n".join(_needs(composer))
    except BadSettings as error:
        return Finding("templates", "cannot be used", str(error))
    except CannotCompose as error:
        return Finding("templates", "no email can be composed", str(error))
    except OSError as error:
        remedy = f"REACH_TEMPLATES_DIR must be a folder that Reach may read ({error.strerror})."
        return Finding("templates", "cannot be read", remedy)
    if faults:
        where = settings.templates_dir or "Reach's own templates"
        remedy = f"Correct it in {where}: until then its emails fail."
        return Finding("templates", "; ".join(faults), remedy, advice)
    return Finding("templates", ", ".join(sorted(composer.templates)), advice=advice)


def _faults(settings: Settings, composer: Composer) -> Iterator[str]:
    """Say what is wrong, each fault as often as it is met. Raises CannotCompose, OSError."""
    found = list(Templates(settings.templates_dir).faults())
    for template in sorted(composer.templates):
        for data in samples.DATA.get(template, ()):
            found += composer.faults(samples.sample(settings, template, data))
        if template not in samples.DATA:
            found += _faults_of_own(settings, composer, template)
    return (fault.words for fault in found)


def _faults_of_own(settings: Settings, composer: Composer, template: str) -> Iterable[Fault]:
    """What is wrong with a template of the operator's, whose data we cannot know."""
    unknown = composer.needs(template) - set(samples.OWN_DATA)
    data = dict.fromkeys(unknown, samples.Whatever("sample")) | dict(samples.OWN_DATA)
    found = composer.faults(samples.sample(settings, template, data))
    return [fault for fault in found if not unknown or fault.kind in CERTAIN]


def _needs(composer: Composer) -> Iterator[str]:
    """Say which data the operator's own templates need of those who send them."""
    for template in sorted(composer.templates - set(samples.DATA)):
        if unknown := sorted(composer.needs(template) - set(samples.OWN_DATA)):
            yield (
                f"{template} uses {', '.join(unknown)}: who sends it must give that as data "
                "(POST /v1/messages), or its emails fail."
            )
