"""What the tests of sending mail share: a message, and a sender to a real server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from reach.mail.compose import Mail
from reach.messages.outcome import Outcome
from reach.settings import Settings
from reach.settings.urls import SmtpUrl
from reach.smtp.sender import Sender
from tests.support.mail import MailServer

ADA = Mail("reach@example.org", "ada@example.com", b"Subject: hello\r\n\r\nHello, Ada.\r\n")
LARGE_CONTENT = b"Subject: large\r\n\r\n" + (b"x" * 62 + b"\r\n") * (1 << 18)
#: More than sockets and buffers hold, so that a peer that does not read stops it half-way.
LARGE = Mail(ADA.sender, ADA.recipient, LARGE_CONTENT)
#: A test that waits this long has failed.
LONG_SECONDS = 10
#: A time-out that a test waits for.
SHORT_SECONDS = 0.2
PASSWORD = "correct horse/battery"


def settings_for(url: str, **changes: Any) -> Settings:
    """Settings whose times fail a test that waits for them, unless it changes them."""
    steps = ("greeting", "mail", "rcpt", "data", "final")
    seconds = {f"smtp_{step}_seconds": LONG_SECONDS for step in steps}
    given = {"mail_from": ADA.sender, **seconds, **changes}
    return Settings(smtp_url=url, **given)  # type: ignore[arg-type]  # pydantic checks them


@asynccontextmanager
async def sender_to(server: MailServer | str, **changes: Any) -> AsyncIterator[Sender]:
    """Offer a sender to this server, and close it at the end."""
    url = server if isinstance(server, str) else server.url
    sender = Sender(settings_for(url, **changes), SmtpUrl.parse(url))
    try:
        yield sender
    finally:
        await sender.close()


async def send(sender: Sender, mail: Mail = ADA) -> Outcome:
    """Send it, under a lease that holds."""
    return await sender.send(mail, still_held=lambda: True)
