"""Whether templates make emails: rendered with samples, of which one can be sent."""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import SecretStr

from reach.auth.links import Links
from reach.checks.report import Finding
from reach.db.types import new_id
from reach.mail.compose import CannotCompose, Composer
from reach.mail.dkim import DkimKey
from reach.mail.templates import Fault, Templates
from reach.messages.budget import BY_OPERATOR
from reach.messages.model import Message
from reach.settings import BadSettings, Settings

#: What a sample's links have in place of a token: who follows one is told that it is none.
IN_PLACE: Final = "this-link-is-a-sample"
NAME = "Sample Name"
#: As long as names may be, and in need of encoding in every part of an email.
LONG_NAME = "Zoë <&> " * 12 + "Zoë!"
#: What Reach gives to its own templates: every sort of data that each may get.
DATA: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "welcome": ({"name": NAME}, {"name": LONG_NAME, **BY_OPERATOR}),
    "already-signed-up": (
        {"name": NAME, "confirmed": False},
        {"name": LONG_NAME, "confirmed": True},
    ),
    "changed": (
        {"name": NAME, "fields": ["name"]},
        {"name": LONG_NAME, "fields": ["description", "name"]},
    ),
    "manage-link": ({"name": NAME}, {"name": LONG_NAME}),
}
#: … and to those of operators, which have what the API was given besides.
OWN_DATA: Mapping[str, Any] = {"name": NAME, **BY_OPERATOR}


class SampleLinks(Links):
    """Links that lead to the right page and open nothing there."""

    def __init__(self, settings: Settings) -> None:
        """Take a key of the moment: no secret key is needed, or made, for samples."""
        super().__init__(
            settings.model_copy(update={"secret_key": SecretStr(secrets.token_hex(32))})
        )

    def mint(self, *_: object, **__: object) -> str:
        """Say that it is a sample, where a token would be."""
        return IN_PLACE


class Whatever(str):
    """Stands for data that nobody knows: it has every attribute, can be called and gone through."""

    __slots__ = ()

    def __getattr__(self, name: str) -> "Whatever":
        """Be what is asked for."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> "Whatever":
        """Have every item."""
        return self

    def __call__(self, *_: object, **__: object) -> "Whatever":
        """Answer every call."""
        return self


def sample_composer(settings: Settings, dkim: DkimKey | None = None) -> Composer:
    """Make what composes  Raises BadSettings, as for real ones."""
    return Composer(settings, dkim, SampleLinks(settings))


def sample(
    settings: Settings,
    template: str,
    data: Mapping[str, Any],
    recipient: str = "sample@example.com",
) -> Message:
    """Make a message that no database knows."""
    id_, now = new_id(), datetime.now(UTC)
    return Message(
        id=id_,
        person_id=id_,
        template=template,
        data=data,
        recipient=recipient,
        state="queued",
        due_at=now,
        lease=1,
        recorded_lease=0,
        attempts=0,
        failures=0,
        first_failed_at=None,
        message_id=f"<{id_}@{settings.mail_domain}>",
        created_at=now,
        finished_at=None,
        last_error=None,
        trace_context=None,
        links_version=0,
        is_confirmed=True,
    )


#: What is wrong with a template whatever its data are; other kinds may come of our stand-ins.
CERTAIN = (
    *("TemplateSyntaxError", "TemplateAssertionError", "TemplateNotFound", "TemplatesNotFound"),
    *("UndefinedError", "SecurityError", "CannotLink", "UnicodeDecodeError", "IsADirectoryError"),
)


async def check_templates(settings: Settings) -> Finding:
    """Whether every template can be read and rendered with sample data, and makes an email."""
    try:
        composer = sample_composer(settings)
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
        for data in DATA.get(template, ()):
            found += composer.faults(sample(settings, template, data))
        if template not in DATA:
            found += _faults_of_own(settings, composer, template)
    return (fault.words for fault in found)


def _faults_of_own(settings: Settings, composer: Composer, template: str) -> Iterable[Fault]:
    """What is wrong with a template of the operator's, whose data we cannot know."""
    unknown = composer.needs(template) - set(OWN_DATA)
    data = dict.fromkeys(unknown, Whatever("sample")) | dict(OWN_DATA)
    found = composer.faults(sample(settings, template, data))
    return [fault for fault in found if not unknown or fault.kind in CERTAIN]


def _needs(composer: Composer) -> Iterator[str]:
    """Say which data the operator's own templates need of those who send them."""
    for template in sorted(composer.templates - set(DATA)):
        if unknown := sorted(composer.needs(template) - set(OWN_DATA)):
            yield (
                f"{template} uses {', '.join(unknown)}: who sends it must give that as data "
                "(POST /v1/messages), or its emails fail."
            )
