"""Whether templates make emails: rendered with samples in every language; one can be sent."""

from collections.abc import Iterator

from reach.checks.report import Finding
from reach.languages.catalogues import Catalogues
from reach.mail.compose import CannotCompose, Composer
from reach.mail.samples import DATA, data_of, sample, sample_composer, unknown_data
from reach.settings import BadSettings, Settings
from reach.web.templates import Pages

#: What is wrong with a template whatever its data are; other kinds may come of our stand-ins.
CERTAIN = (
    *("TemplateSyntaxError", "TemplateAssertionError", "TemplateNotFound", "TemplatesNotFound"),
    *("UndefinedError", "SecurityError", "CannotLink", "UnicodeDecodeError", "IsADirectoryError"),
)

#: How the address of such a link is known.
LINK = "/unsubscribe?token="


async def check_pages(settings: Settings) -> Finding:
    """Whether the pages' templates and the catalogues can be used, as at the start."""
    try:
        catalogues = Catalogues(settings)
        Pages(settings, catalogues)
    except BadSettings as error:
        return Finding("pages", "cannot be used", str(error))
    return Finding("pages", f"in {', '.join(catalogues.languages)}")


async def check_templates(settings: Settings) -> Finding:
    """Whether every template can be read and rendered with sample data, and makes an email."""
    try:
        composer = sample_composer(settings)
        faults = dict.fromkeys(_faults(settings, composer))
        advice = "\n".join((*_needs(composer), *_cannot_be_stopped(settings, composer)))
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
    yield from (fault.words for fault in composer.broken_files())
    for template in sorted(composer.templates):
        # Of an operator's own, whose data we cannot know, some faults may come of our stand-ins.
        is_certain = not unknown_data(composer, template)
        for data in data_of(composer, template):
            for language in composer.languages:
                message = sample(settings, template, data, language=language)
                found = composer.faults(message)
                yield from (f.words for f in found if is_certain or f.kind in CERTAIN)


def _cannot_be_stopped(settings: Settings, composer: Composer) -> Iterator[str]:
    """Say which templates that people may stop are not there, or show no link for it."""
    for template in settings.stoppable:
        if template not in composer.templates:
            files = f"{template}.subject, {template}.txt, {template}.html"
            fault = f"names {template}, and there is no such template ({files})"
            yield f"REACH_UNSUBSCRIBE_TEMPLATES {fault}."
            continue
        message = sample(settings, template, data_of(composer, template)[0])
        try:
            _, *parts = composer.render(message)
        except CannotCompose:
            continue  # that is said elsewhere
        if not all(LINK in part for part in parts):
            yield (
                f'{template} shows no link("unsubscribe") in both its .txt and .html: not every '
                "mail program has a button for its headers."
            )


def _needs(composer: Composer) -> Iterator[str]:
    """Say which data the operator's own templates need of those who send them."""
    for template in sorted(composer.templates - set(DATA)):
        if unknown := sorted(unknown_data(composer, template)):
            yield (
                f"{template} uses {', '.join(unknown)}: who sends it must give that as data "
                "(POST /v1/messages), or its emails fail."
            )
