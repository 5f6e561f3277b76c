"""Whether every email can be composed: each template is rendered, with sample data."""

from collections.abc import Iterable, Iterator

from reach.checks import samples
from reach.checks.finding import Finding
from reach.mail.compose import CannotCompose, Composer
from reach.mail.templates import Fault, Templates
from reach.settings import BadSettings, Settings

#: What is wrong with a template whatever its data are; other kinds may come of our stand-ins.
CERTAIN = (
    *("TemplateSyntaxError", "TemplateAssertionError", "TemplateNotFound", "TemplatesNotFound"),
    *("UndefinedError", "SecurityError", "CannotLink", "UnicodeDecodeError", "IsADirectoryError"),
)


async def check_templates(settings: Settings) -> Finding:
    """Whether every template can be read and rendered, and makes an email."""
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
    for fault in Templates(settings.templates_dir).faults():
        yield fault.words
    for template in sorted(composer.templates):
        for data in samples.DATA.get(template, ()):
            yield from _words(composer.faults(samples.sample(settings, template, data)))
        if template not in samples.DATA:
            yield from _words(_faults_of_own(settings, composer, template))


def _faults_of_own(settings: Settings, composer: Composer, template: str) -> Iterable[Fault]:
    """What is wrong with a template of the operator's, whose data we cannot know."""
    unknown = composer.needs(template) - set(samples.OWN_DATA)
    data = dict.fromkeys(unknown, samples.Whatever("sample")) | dict(samples.OWN_DATA)
    found = composer.faults(samples.sample(settings, template, data))
    return [fault for fault in found if not unknown or fault.kind in CERTAIN]


def _needs(composer: Composer) -> Iterator[str]:
    """Say which data the operator's own templates need of those who send them."""
    for template in sorted(composer.templates - set(samples.DATA)):
        unknown = sorted(composer.needs(template) - set(samples.OWN_DATA))
        if unknown:
            yield (
                f"{template} uses {', '.join(unknown)}: whoever sends it must give that as data "
                "(POST /v1/messages), or its emails fail."
            )


def _words(faults: Iterable[Fault]) -> Iterator[str]:
    return (fault.words for fault in faults)
