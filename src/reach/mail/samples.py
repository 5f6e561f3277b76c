"""Sample messages: what `reach check` tries templates with, and what previews and tests show."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import SecretStr

from reach.auth.links import Links
from reach.db.types import new_id
from reach.mail.compose import Composer
from reach.mail.dkim import DkimKey
from reach.messages.budget import BY_OPERATOR
from reach.messages.model import NOTICE, TEST, WEBHOOK_DISABLED, Message
from reach.settings import Settings

#: What a sample's links have in place of a token: who follows one is told that it is none.
IN_PLACE: Final = "this-link-is-a-sample"
NAME = "Sample Name"
#: As long as names may be, and in need of encoding in every part of an email.
LONG_NAME = "Zoë <&> " * 12 + "Zoë!"
TOLD: Mapping[str, Any] = {"total": 1234, "since": "2026-03-04T05:00:00+00:00"}
ONE: Mapping[str, Any] = {
    "email": "sample@example.com",
    "signed_up_at": "2026-03-04T05:06:07+00:00",
}
#: What Reach gives to its own templates: every sort of data that each may get.
DATA: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "welcome": ({"name": NAME}, {"name": LONG_NAME, **BY_OPERATOR}),
    "already-signed-up": (
        {"name": NAME, "confirmed": True},
        {"name": LONG_NAME, "confirmed": False},
    ),
    "changed": (
        {"name": NAME, "fields": ["name", "description"]},
        {"name": LONG_NAME, "fields": ["name"]},
    ),
    "manage-link": ({"name": NAME}, {"name": LONG_NAME}),
    NOTICE: (
        {**TOLD, "count": 1, "person": {**ONE, "name": NAME, "description": "I like tea."}},
        {**TOLD, "count": 1, "person": {**ONE, "name": LONG_NAME, "description": None}},
        {**TOLD, "count": 1, "total": 1, "person": None},
        {**TOLD, "count": 12, "person": None},
    ),
    WEBHOOK_DISABLED: (
        {"webhook": "shop", "id": "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a42", "reason": "failing"},
        {"webhook": LONG_NAME, "id": "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a42", "reason": "gone"},
    ),
    "confirm-address": ({"change": 1},),
    "address-change": (
        {"name": NAME, "new_address": "new@example.com"},
        {"name": LONG_NAME, "new_address": f"{'n' * 64}@{'example.' * 20}com"},
    ),
    "address-changed": ({"name": NAME}, {"name": LONG_NAME}),
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
    """Make what composes samples. Raises BadSettings, as for real ones."""
    return Composer(settings, dkim, SampleLinks(settings))


def unknown_data(composer: Composer, template: str) -> frozenset[str]:
    """Name the data that a template of the operator's uses, and of which nothing is known."""
    return frozenset() if template in DATA else composer.needs(template) - set(OWN_DATA)


def data_of(composer: Composer, template: str) -> Sequence[Mapping[str, Any]]:
    """Make up data of every sort that a template may get."""
    stand_ins = dict.fromkeys(unknown_data(composer, template), Whatever("sample"))
    return DATA.get(template) or [stand_ins | dict(OWN_DATA)]


def sample(
    settings: Settings,
    template: str,
    data: Mapping[str, Any],
    recipient: str = "sample@example.com",
    language: str | None = None,
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
        language=language,
    )


def filled(message: Message, composer: Composer) -> Message:
    """Fill a test in with sample data, as if it were somebody's; any other message stays as it is.

    Its links are of nobody: they lead to the right pages, which say so.
    """
    if message.person_id is not None or not message.data.get(TEST):
        return message
    return replace(
        message,
        person_id=message.id,
        data=data_of(composer, message.template)[0],
        language=message.data.get("language"),
        links_version=0,
        is_confirmed=True,
    )
