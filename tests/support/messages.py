"""Messages to compose, to sign and to send, and mails as those who get them read them."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.message import Message as OldMessage
from functools import cache
from typing import Any
from uuid import UUID

import dkim
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from reach.mail.compose import Composer, Mail
from reach.mail.dkim import DkimKey
from reach.messages.model import Message
from reach.messages.outcome import Outcome
from reach.settings import Settings
from reach.settings.urls import SmtpUrl
from reach.smtp.sender import Sender
from tests.support.servers.mail import MailServer

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


LINK_LINE = re.compile(rb"\S*https?://[\w.:-]+/\w+\?token=[\w.-]+\S*")
LINK = re.compile(r"https?://[\w.:-]+/(\w+)\?token=([\w.-]+)")


def parse(mail: Mail) -> EmailMessage:
    """Read a mail as its reader's program would. Fails if anything about it is wrong."""
    read = message_from_bytes(mail.content, policy=policy.default)
    assert isinstance(read, EmailMessage)
    assert [part.defects for part in read.walk()] == [[]] * 3
    assert [header.defects for part in read.walk() for header in part.values()] == [
        () for part in read.walk() for _ in part.values()
    ]
    return read


def contents(mail: Mail) -> list[str]:
    """Give both parts as they are read, text first."""
    return [part.get_content().replace("\r\n", "\n") for part in parse(mail).iter_parts()]


def lines(mail: Mail) -> list[bytes]:
    """Give the lines of a mail. Fails if one ends in anything but CRLF."""
    found = mail.content.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in found)
    assert found.pop() == b""
    return found


def foldable(mail: Mail) -> list[bytes]:
    """Give the lines of a mail but for links, which nobody could fold."""
    return [line for line in lines(mail) if not LINK_LINE.fullmatch(line)]


def links_in(part: str) -> list[tuple[str, str]]:
    """Give the scope and the token of each link in a part, in order."""
    found: list[tuple[str, str]] = LINK.findall(part)
    return found


def parse_old(mail: Mail) -> OldMessage:
    """Read a mail as an older program would: headers unfolded, and not decoded."""
    read = message_from_bytes(mail.content, policy=policy.compat32)
    for name, value in read.items():
        read.replace_header(name, value.replace("\r\n", ""))
    return read


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


SELECTOR = "reach1"


@cache
def pem(number: int = 0, bits: int = 2048) -> str:
    """Make an RSA key as ``openssl genrsa`` does; one for each number."""
    assert number >= 0
    key = rsa.generate_private_key(65537, bits)
    form = PrivateFormat.TraditionalOpenSSL if number % 2 else PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def pem_of_mersenne_primes(one: int, other: int) -> str:
    """Make the key whose primes are 2 to these powers, less one: of any length, at once."""
    p, q, e = 2**one - 1, 2**other - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    parts = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    numbers = rsa.RSAPrivateNumbers(p, q, d, *parts, rsa.RSAPublicNumbers(e, p * q))
    # That they are primes is known, and takes a second to be tested.
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def pem_of_another_kind(kind: str) -> str:
    """Make what is no plain RSA private key: with a password, of another algorithm, or public."""
    key = rsa.generate_private_key(65537, 2048)
    match kind:
        case "encrypted":
            secret = BestAvailableEncryption(b"password")
            return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret).decode()
        case "public":
            form = PublicFormat.SubjectPublicKeyInfo
            return key.public_key().public_bytes(Encoding.PEM, form).decode()
        case _:
            other = ec.generate_private_key(ec.SECP256R1())
            return other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def signing(**settings: Any) -> dict[str, Any]:
    """Give the settings of a sender who signs."""
    usual = {
        "mail_from": "Reach <hello@example.org>",
        "dkim_selector": SELECTOR,
        "dkim_private_key": pem(),
    }
    return usual | settings


def a_key(**settings: Any) -> DkimKey:
    """Make the key that these settings name."""
    key = DkimKey.of(Settings(**signing(**settings)))
    assert key is not None
    return key


def is_believed(content: bytes, key: DkimKey) -> bool:
    """Whether a receiver, who finds the key's record in DNS, takes the mail for ours."""

    def texts(name: bytes, timeout: float = 5) -> bytes:  # noqa: ARG001 - dkimpy names it
        return key.record.encode() if name == f"{key.name}.".encode() else b""

    return bool(dkim.verify(content, dnsfunc=texts))
