"""Messages as the bytes that go on the wire.

Bytes are put together here rather than by ``EmailMessage``, which takes ten times as long as
everything else that a worker does for a message.
"""

from base64 import encodebytes
from binascii import b2a_qp
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from reach.auth.links import Links
from reach.auth.return_path import HEADER, ReturnPaths
from reach.languages.catalogues import Catalogues
from reach.languages.templates import TRANSLATIONS
from reach.mail.dkim import DkimKey
from reach.mail.faults import BrokenTemplate, Fault, fault_of
from reach.mail.headers import (
    BadHeader,
    is_too_long,
    mailbox_header,
    message_id_header,
    recipient_header,
    refuse_forbidden,
    text_header,
)
from reach.mail.linking import MessageLinks, lasts
from reach.mail.templates import Rendered, Templates
from reach.messages.model import OF_MAKERS, STRANGERS, Message
from reach.settings import BadSettings, Settings
from reach.settings.smtp import parse_headers
from reach.settings.urls import parse_mailbox

#: What text may hold that is sent as it is: printable ASCII, tabs and line ends (RFC 5322 §2.1.1).
PLAIN = bytes((*b"\t\r\n", *range(0x20, 0x7F)))
#: A line that is a single word, which nobody could fold, may be as long as every mail server takes.
LINE_BYTES, WORD_BYTES = 78, 998
#: Postmark's webhooks repeat no header of an email, but what is said in such ones (*metadata*):
#: https://postmarkapp.com/support/article/1125-custom-metadata-faq.
POSTMARK_HEADER = f"X-PM-Metadata-{HEADER}"
#: What a mail program sends to the address that a mail has for that (RFC 8058 §3.1).
ONE_CLICK = "List-Unsubscribe=One-Click"


class CannotCompose(Exception):
    """This message cannot be put into words; ``args[0]`` says why, fit to be stored.

    Fit to be logged is ``reason``, in words of ours, or else ``fault``, but for its ``words``.
    """

    def __init__(self, why: str | Fault) -> None:
        """Take words of ours, or what is wrong with a template."""
        self.fault = why if isinstance(why, Fault) else None
        self.reason = why if isinstance(why, str) else None
        super().__init__(why.words if isinstance(why, Fault) else why)


@dataclass(frozen=True, slots=True)
class Mail:
    """The bytes of one email and its envelope.

    ``content`` has CRLF line ends, is not dot-stuffed, and is ASCII, but for the ``To`` of a
    recipient whose local part is not: that one needs SMTPUTF8 (RFC 6531) to be sent.
    ``envelope_id`` names it for those who report what became of it (RFC 3461 §4.4), if not empty.
    """

    sender: str = field(repr=False)
    recipient: str = field(repr=False)
    content: bytes = field(repr=False)
    envelope_id: str = field(default="", repr=False)


class Composer:
    """Makes mails of messages; the same bytes of the same message, but for links and signature.

    Links are minted each time: they are stored nowhere, and those of a late email work longer. The
    signature, of ``dkim`` if that is given, holds the time. ``links`` mints instead of the usual.

    Raises BadSettings if there is no folder at ``templates_dir``, or what the settings put
    into headers cannot stand there.
    """

    def __init__(
        self, settings: Settings, dkim: DkimKey | None = None, links: Links | None = None
    ) -> None:
        self._dkim = dkim
        folder = settings.templates_dir
        if folder and not folder.is_dir():
            raise BadSettings("REACH_TEMPLATES_DIR: there is no such folder")
        self._settings = settings
        self.catalogues = Catalogues(settings)
        self._templates: dict[str, Templates] = {}
        self._needs_confirmation = settings.confirm == "required"
        self._links = links
        if links is None and settings.secret_keys:
            self._links = Links(settings)
        self._return_paths = ReturnPaths(settings) if settings.secret_keys else None
        self._names = [HEADER]
        if settings.bounces_postmark_secret.get_secret_value():
            self._names.append(POSTMARK_HEADER)
        mail_from = parse_mailbox(settings.mail_from)
        self._sender = settings.envelope_from
        reply_to = parse_mailbox(settings.reply_to) if settings.reply_to else None
        for mailbox in filter(None, (mail_from, reply_to)):
            if is_too_long(mailbox.addr_spec):
                raise BadSettings("REACH_MAIL_FROM, REACH_REPLY_TO: an address is too long")
        if is_too_long(self._sender):
            raise BadSettings("REACH_ENVELOPE_SENDER: the address is too long")
        #: Not signed: providers take out those that are for them.
        headers = parse_headers(settings.mail_headers)
        self._extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
        try:
            refuse_forbidden(settings.brand_name)
            self._from = mailbox_header("From", mail_from)
            self._reply_to = mailbox_header("Reply-To", reply_to) if reply_to else ""
        except BadHeader as error:
            raise BadSettings(f"REACH_BRAND_NAME, REACH_MAIL_FROM: {error}") from None

    @property
    def languages(self) -> Sequence[str]:
        """The languages that emails can be in, the default first."""
        return self.catalogues.languages

    def language_of(self, asked: str | None) -> str | None:
        """Find one of them by its code; the default one for None, and None if there is no such."""
        return self.catalogues.default if asked is None else self.catalogues.known(asked)

    @property
    def templates(self) -> frozenset[str]:
        """The templates that can be composed now: the built-in ones and those of the folder."""
        return self._in(None).names

    def broken_files(self) -> list[Fault]:
        """Say what is wrong with files that cannot even be read; in every language."""
        found = (fault for language in self.languages for fault in self._in(language).faults())
        return list(dict.fromkeys(found))

    def render(self, message: Message) -> Rendered:
        """Say what a message's three files come to. Raises CannotCompose, whatever goes wrong."""
        with _explained():
            return self._in(message.language).render(message.template, self._values(message))

    def compose(self, message: Message) -> Mail:
        """Put a message into words. Raises CannotCompose, whatever goes wrong."""
        with _explained():
            content = self._content(message)
            if self._dkim is not None:
                content = self._dkim.signed(content)
            return self._mail(message, content)

    async def compose_beside(self, message: Message) -> Mail:
        """Do so on an event loop, which goes on while the signature is made."""
        with _explained():
            content = self._content(message)
            if self._dkim is not None:
                content = await self._dkim.signed_beside(content)
            return self._mail(message, content)

    def _mail(self, message: Message, content: bytes) -> Mail:
        """Put content into its envelope: with a return path of its own, if there is one."""
        if self._return_paths is None or (own := self._return_paths.of(message.id)) is None:
            return Mail(self._sender, message.recipient, content)
        return Mail(own, message.recipient, content, self._return_paths.token(message.id))

    def faults(self, message: Message) -> list[Fault]:
        """Say what is wrong with each file of a message's template; with the whole, if with none.

        That is what `reach check` wants to know: ``compose`` stops at the first. Raises
        CannotCompose if it is no fault of the template.
        """
        templates = self._in(message.language)
        found = templates.faults_of(message.template, self._values(message))
        if not found:
            try:
                self.compose(message)
            except CannotCompose as error:
                if error.fault is None:
                    raise
                found = [error.fault]
        return found

    def needs(self, template: str) -> frozenset[str]:
        """Name what a template uses that Reach does not give to every one: its message's data."""
        return self._in(None).variables_of(template) - {"recipient", "link"}

    def _in(self, language: str | None) -> Templates:
        """Give the templates of a language; of the default one, if it is none of ours."""
        code = self.catalogues.known(language) or self.catalogues.default
        if (found := self._templates.get(code)) is None:
            constants = self._constants(code)
            found = self._templates[code] = Templates(self._settings.templates_dir, code, constants)
        return found

    def _constants(self, language: str) -> Mapping[str, Any]:
        """What is the same in every message of a language, by the names that templates know."""
        settings, said = self._settings, self.catalogues.of(language)
        return {
            "brand": settings.brand,
            "brand_name": settings.brand_name,
            "public_url": settings.origin,
            "link_lasts": lasts(settings.link_seconds, said),
            "language": language,
            "direction": said.pgettext("direction of writing", "ltr"),
            TRANSLATIONS: said,
        }

    def _values(self, message: Message) -> dict[str, object]:
        """All that a message's template may use beside the constants, by name."""
        is_stoppable = message.template in self._settings.stoppable
        link = MessageLinks(self._links, message, is_stoppable=is_stoppable)
        ours = {"recipient": message.recipient, "link": link}
        return {**message.data, **ours}

    def _content(self, message: Message) -> bytes:
        if not isinstance(message.data, Mapping):
            raise CannotCompose("the message's data are not names with values")
        # Promises ask too; but this one may be older than the setting.
        is_held_back = self._needs_confirmation and not message.is_confirmed
        if is_held_back and message.template not in (*STRANGERS, *OF_MAKERS):
            raise CannotCompose("the person has not confirmed their address (REACH_CONFIRM)")
        is_stoppable = message.template in self._settings.stoppable
        if is_stoppable and message.is_unsubscribed:  # this one too
            raise CannotCompose("the person has unsubscribed from such emails")
        templates, values = self._in(message.language), self._values(message)
        subject, text, html = templates.render(message.template, values)
        plain, rich = _part(b"plain", text), _part(b"html", html)
        boundary = _boundary(message, plain + rich)
        head = (
            f"{message_id_header(message.message_id)}"
            f"Date: {_date(message.created_at.replace(microsecond=0))}\r\n"
            f"{self._from}"
            f"{recipient_header(message.recipient)}"
            f"{self._reply_to}"
            f"{self._list_headers(values) if is_stoppable else ''}"
            f"{text_header('Subject', subject)}"
            f"Content-Language: {templates.language}\r\n"
            f"Auto-Submitted: auto-generated\r\n{self._extra}"
            f"{self._named(message)}"
            "MIME-Version: 1.0\r\n"
            f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n'
        )
        line = b"\r\n--" + boundary.encode()
        return line.join((head.encode(), b"\r\n" + plain, b"\r\n" + rich, b"--\r\n"))

    def _named(self, message: Message) -> str:
        """Name the message in a header, for reports that have lost its return path."""
        if self._return_paths is None:
            return ""
        token = self._return_paths.token(message.id)
        return "".join(f"{name}: {token}\r\n" for name in self._names)

    def _list_headers(self, values: Mapping[str, Any]) -> str:
        """Say where a mail program can unsubscribe, and that one request does it (RFC 8058).

        That is true of https alone (§3.1); over http it is an address to be opened (RFC 2369).
        """
        header = f"List-Unsubscribe: <{values['link']('unsubscribe')}>\r\n"
        if self._settings.is_https:
            header += f"List-Unsubscribe-Post: {ONE_CLICK}\r\n"
        return header


@contextmanager
def _explained() -> Iterator[None]:
    """Raise CannotCompose for whatever goes wrong."""
    try:
        yield
    except CannotCompose:
        raise
    except BrokenTemplate as broken:
        raise CannotCompose(broken.fault) from None
    except Exception as error:  # noqa: BLE001 - of what templates made, anything may be refused
        raise CannotCompose(fault_of(error)) from None


@lru_cache(maxsize=64)
def _date(second: datetime) -> str:
    """Write a ``Date``; emails that were promised in one second are often sent together."""
    return format_datetime(second.astimezone(UTC))


def _boundary(message: Message, content: bytes) -> str:
    """Choose a boundary that is not in the content, and always the same one."""
    number = 0
    while True:
        boundary = f"=_{message.id.hex}_{number}"
        if boundary.encode() not in content:
            return boundary
        number += 1


def _part(subtype: bytes, text: str) -> bytes:
    """Build one body part, in the plainest encoding that carries it through any mail server."""
    lines = text.rstrip("\n")
    if "\r" in lines:
        lines = lines.replace("\r\n", "\n").replace("\r", "\n")
    lines = lines.replace("\n", "\r\n")
    raw = lines.encode() + b"\r\n"
    encoding, body = (b"7bit", raw) if _is_plain(raw) else _encoded(raw)
    return (
        b"Content-Type: text/" + subtype + b'; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body
    )


def _is_plain(raw: bytes) -> bool:
    """Whether whole CRLF lines can be sent as they are."""
    if raw.translate(None, PLAIN):
        return False
    long = [line for line in raw.split(b"\r\n") if len(line) > LINE_BYTES]
    return not any(len(line) > WORD_BYTES or b" " in line or b"\t" in line for line in long)


def _encoded(raw: bytes) -> tuple[bytes, bytes]:
    """Encode whole CRLF lines as is shorter to send and easier to read."""
    # Every byte that is not ASCII takes three in quoted-printable, four thirds in base64. And
    # b2a_qp breaks a line that ends in a blank one character too late (RFC 2045 §6.7, rule 5).
    others = 0 if raw.isascii() else len(raw) - len(raw.decode().encode("ascii", "ignore"))
    if others * 6 > len(raw) or b" \r\n" in raw or b"\t\r\n" in raw:
        return b"base64", encodebytes(raw).replace(b"\n", b"\r\n")
    return b"quoted-printable", b2a_qp(raw, istext=True)
