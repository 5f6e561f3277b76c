"""Email addresses: what was typed, whose mailbox it is, and how to write it on an envelope."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from reach.network.hosts import EVERYWHERE, NOWHERE, Domains
from reach.texts import N_

#: Octets of a whole address, of what stands before the @ (RFC 5321 §4.5.3.1), and of its domain:
#: of UTF-8 and of A-labels, as they are on the wire. email-validator lets longer local parts by.
LONGEST, LOCAL_LENGTH, DOMAIN_LENGTH = 254, 64, 253

#: The addresses nearly everybody has. Anything else takes the long way, through
#: email-validator; a test holds the two to the same answers.
ORDINARY = re.compile(
    r"(?P<local>[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*)"
    r"@(?P<domain>(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63})",
    re.ASCII | re.IGNORECASE,
)
SPECIAL_DOMAINS = frozenset(SPECIAL_USE_DOMAIN_NAMES)
TOO_LONG = N_(
    "An email address may have at most 254 bytes: letters and digits of English are one each, "
    "others are more."
)
LOCAL_TOO_LONG = N_(
    "An email address may have at most 64 bytes before the @: letters and digits of English are "
    "one each, others are more."
)
NO_ADDRESS = N_("This is not an email address that mail can be sent to.")
LAST_LABELS = frozenset(name.rpartition(".")[2] for name in SPECIAL_DOMAINS)

_TO_LOWER = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """An address that mail can be sent to.

    ``typed`` is as it was given; ``recipient`` has its domain as an A-label (RFC 5890);
    ``key`` is the same for every spelling of one mailbox: its ASCII letters lower-cased, and
    no others, for case-folding would merge ``straße@`` and ``strasse@``.
    """

    typed: str = field(repr=False)
    recipient: str = field(repr=False)
    key: str = field(repr=False)

    @property
    def domain(self) -> str:
        """Where the mailbox is: lower case, A-labels."""
        return self.key.rpartition("@")[2]


def parse_address(
    text: str, *, smtputf8: bool = False, intranet: Domains = NOWHERE
) -> EmailAddress:
    """Read an address. Raises ValueError, in words that do not repeat it.

    Without ``smtputf8`` a local part must be ASCII (RFC 6531 is not everywhere). Domains where no
    public mail gets must be in ``intranet``.
    """
    typed = text.strip(" \t")
    if len(typed) > LONGEST:
        raise ValueError(TOO_LONG)
    local, domain = _split_ordinary(typed) or _split(typed, smtputf8=smtputf8, intranet=intranet)
    recipient = f"{local}@{domain}"
    if len(local.encode()) > LOCAL_LENGTH:
        raise ValueError(LOCAL_TOO_LONG)
    if len(recipient.encode()) > LONGEST:
        raise ValueError(TOO_LONG)
    key = f"{local.translate(_TO_LOWER)}@{domain.lower()}"
    return EmailAddress(typed=typed, recipient=recipient, key=key)


def _read(value: Any, info: ValidationInfo) -> EmailAddress:
    """Read what stands in a form, by the settings that ``web.body.validate`` was given."""
    settings = (info.context or {})["settings"]
    if isinstance(value, str):
        return parse_address(value, smtputf8=settings.smtputf8, intranet=settings.intranet)
    raise ValueError("Input should be a valid string")


#: An address as a field of a form.
Address = Annotated[
    EmailAddress,
    PlainValidator(_read),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": LONGEST}),
]


def stored_recipient(typed: str) -> str:
    """Write an address that was taken once as it goes on an envelope.

    Whatever the settings admit today: what is owed to it goes out. One that is too long, or that
    no rule of today admits, was taken by earlier versions. It is not for a change of a record, or
    for a worker, to fail of it: the message does, where operators see it.
    """
    try:
        local, domain = _split_ordinary(typed) or _split(typed, smtputf8=True, intranet=EVERYWHERE)
    except ValueError:
        return typed
    return f"{local}@{domain}"


def key_prefix(text: str) -> str:
    """How the keys of addresses begin that begin with ``text``, in whatever spelling."""
    try:
        return parse_address(text, smtputf8=True, intranet=EVERYWHERE).key
    except ValueError:  # not a whole address
        return text.strip().translate(_TO_LOWER)


def _split_ordinary(typed: str) -> tuple[str, str] | None:
    """Take an ordinary address apart; None if it needs a closer look."""
    match = ORDINARY.fullmatch(typed)
    if match is None or len(match["local"]) > LOCAL_LENGTH or len(match["domain"]) > DOMAIN_LENGTH:
        return None
    domain = below = match["domain"].lower()
    while below:
        label, _, rest = below.partition(".")
        if label[2:4] == "--" or below in SPECIAL_DOMAINS:
            return None
        below = rest
    return match["local"], domain


def _split(typed: str, *, smtputf8: bool, intranet: Domains = NOWHERE) -> tuple[str, str]:
    found = _validate(typed, smtputf8=smtputf8)
    if found is None and intranet:
        found = _validate_intranet(typed, smtputf8=smtputf8)
        if found is not None and found[1] not in intranet:
            found = None
    if found is None or not (smtputf8 or found[0].isascii()):
        raise ValueError(NO_ADDRESS)
    return found


def _validate(typed: str, *, smtputf8: bool, is_public: bool = True) -> tuple[str, str] | None:
    try:
        found = validate_email(
            typed,
            check_deliverability=False,
            allow_smtputf8=smtputf8,
            allow_empty_local=False,
            globally_deliverable=is_public,
        )
    except EmailNotValidError:
        return None
    return found.local_part, found.ascii_domain.lower()


def _validate_intranet(typed: str, *, smtputf8: bool) -> tuple[str, str] | None:
    """Take an address apart whose domain has one label, or a name of special use.

    email-validator refuses the latter, whatever it is asked: so a word of the same length, which
    means nothing, stands in for the last label.
    """
    last = typed.rpartition("@")[2].rpartition(".")[2]
    if last.lower() not in LAST_LABELS:
        return _validate(typed, smtputf8=smtputf8, is_public=False)
    found = _validate(f"{typed[: -len(last)]}{'x' * len(last)}", smtputf8=smtputf8, is_public=False)
    return found and (found[0], found[1][: -len(last)] + last.lower())
