"""Messages as the outbox hands them to the composer."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from reach.mail.compose import Composer
from reach.messages.model import Message
from reach.settings import Settings

ID = UUID("0199e5a1-3f6b-7c3e-9d4a-2b1c0d9e8f70")
CREATED_AT = datetime(2026, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)
ORIGIN = "https://signup.example.org"


def usual_settings(**settings: Any) -> Settings:
    """Make usual settings, but for those given."""
    usual = {
        "mail_from": "Reach <hello@example.org>",
        "public_url": ORIGIN,
        "secret_key": "a-key-that-is-long-enough-for-tests",
    }
    return Settings(**(usual | settings))


def a_composer(**settings: Any) -> Composer:
    """Make a composer with usual settings, but for those given."""
    return Composer(usual_settings(**settings))


def a_message(
    template: str = "welcome",
    data: Any = None,
    *,
    recipient: str = "ada@example.com",
    message_id: str = f"<{ID}@example.org>",
    created_at: datetime = CREATED_AT,
) -> Message:
    """Make a message: Ada's welcome, but for what is given."""
    return Message(
        id=ID,
        person_id=ID,
        template=template,
        data={"name": "Ada"} if data is None else data,
        recipient=recipient,
        state="queued",
        due_at=created_at,
        lease=1,
        recorded_lease=0,
        attempts=0,
        failures=0,
        first_failed_at=None,
        message_id=message_id,
        created_at=created_at,
        finished_at=None,
        last_error=None,
        trace_context=None,
        links_version=0,
    )


def a_welcome(name: str) -> Message:
    """Make the welcome of someone of this name."""
    return a_message(data={"name": name})
