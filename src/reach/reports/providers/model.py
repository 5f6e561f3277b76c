"""What all providers have in common: what arrives, what is read out of it, and how it is refused.

A provider's JSON has fields that we do not know, and gets new ones: they are passed over.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reach.problems import Unauthorised, Unprocessable
from reach.reports.classify import category
from reach.reports.model import TEXT_CHARACTERS, Category, Clues, Kind, Report, Verdict
from reach.web.body import JSON_TYPES, MOST_BYTES

#: An address of more characters is none (RFC 5321 §4.5.3.1.3), nor is such a Message-ID ours.
MOST_CHARACTERS = 320
#: Headers that name a message, in what is reported: the surest first.
NAMING = ("x-reach-message", "message-id")
#: ``550 5.1.1 …``, ``smtp; 550-5.1.1 …``: a reply's code, and the enhanced one behind it.
SMTP_CODE = re.compile(r"(?:smtp\s*;\s*)?([245][0-9][0-9])(?![0-9.])", re.ASCII | re.IGNORECASE)
ENHANCED_CODE = re.compile(r"(?<![0-9.])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])", re.ASCII)
FIRST_CODE, LAST_CODE = 200, 599
#: How far what a provider says of the time may be ahead of our clock.
AHEAD_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came: the names of ``headers`` in lower case, the ``body`` to the byte."""

    headers: Mapping[str, str]
    body: bytes


class NotVerified(Unauthorised):
    """The request does not prove that the provider sent it. ``detail`` is what it lacks."""

    def __init__(self, detail: str, challenge: str | None = None) -> None:
        """Take what it lacks, in words of ours, and the challenge if it is not the usual one."""
        super().__init__(detail)
        if challenge is not None:
            self.headers["WWW-Authenticate"] = challenge


class Malformed(Unprocessable):
    """What the provider sent is not as its documentation says; nothing was stored."""


class Provider(ABC):
    """A provider that is set up here.

    ``types`` are the content types that it sends, ``most_bytes`` its longest body.
    """

    name: ClassVar[str]
    types: ClassVar[tuple[str, ...]] = JSON_TYPES
    most_bytes: ClassVar[int] = MOST_BYTES

    @abstractmethod
    async def reports(self, received: Received) -> Sequence[Report]:
        """Verify what came, and say in our words what it reports.

        That is nothing, if it does not concern us. Raises NotVerified; BadRequest and Malformed for
        what is verified and cannot be read; ServiceUnavailable if that cannot be told now.
        """


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Give an object of JSON as it is. Raises Malformed."""
    if not isinstance(value, dict):
        raise Malformed(f"There should be an object: {what}.")
    return value


def inner(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give an object within another one; an empty one, if there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def items(value: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Give a list within an object; an empty one, if there is none."""
    found = value.get(name)
    return found if isinstance(found, list) else ()


def text(value: Any, most: int = TEXT_CHARACTERS) -> str:
    """Give a text as one printable line, cut to ``most`` characters; empty if it is no text."""
    if not isinstance(value, str):
        return ""
    line = " ".join(value[: 4 * most].split())
    return "".join(one if one.isprintable() else "?" for one in line)[:most]


def address(value: Any) -> str | None:
    """Give an address, None if it is none."""
    found = text(value, MOST_CHARACTERS + 1)
    return found if "@" in found and len(found) <= MOST_CHARACTERS else None


def number(value: Any) -> int | None:
    """Give the code of a reply, None if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])
    is_code = isinstance(value, int) and not isinstance(value, bool)
    return value if is_code and FIRST_CODE <= value <= LAST_CODE else None


def enhanced(value: Any) -> str | None:
    """Give an enhanced code, None if it is none."""
    found = ENHANCED_CODE.fullmatch(text(value))
    return found[1] if found else None


def verdict(  # noqa: PLR0913 - what there is to say of a recipient
    kind: Kind,
    recipient: Any,
    said: Any = "",
    *,
    code: Any = None,
    status: Any = None,
    otherwise: Category = "undetermined",
    is_certain: bool = False,
) -> Verdict:
    """Say what became of one recipient.

    ``said`` is the mail server's reply, or what the provider says in its place; ``code`` and
    ``status`` are what the provider read out of it. ``otherwise`` is the category by the provider's
    own words; if that ``is_certain``, no reply is asked: see ``category_of``.
    """
    words = text(said)
    reply = SMTP_CODE.match(words)
    smtp_code = number(code) or (int(reply[1]) if reply else None)
    found = ENHANCED_CODE.search(words)
    enhanced_code = enhanced(status) or (found[1] if found else None)
    about: Category | None = None
    if kind in ("bounced", "delayed"):
        by_reply = None if is_certain else category_of(smtp_code, enhanced_code, words)
        about = by_reply or otherwise
    return Verdict(kind, about, address(recipient), None, smtp_code, enhanced_code, words)


def category_of(smtp_code: int | None, enhanced_code: str | None, said: str) -> Category | None:
    """Say whose fault it is by the mail server's reply; None if that does not tell."""
    found = category(smtp_code, said, enhanced_code)
    return None if found == "undetermined" else found


def clues(ids: Iterable[Any] = (), *, provider_id: Any = None, return_path: Any = None) -> Clues:
    """Gather what may name the message: ``ids`` that are texts, the surest first, each once."""
    found = [text(one, MOST_CHARACTERS) for one in ids]
    return Clues(
        return_path=address(return_path),
        ids=tuple(dict.fromkeys(one for one in found if one)),
        provider_id=text(provider_id, MOST_CHARACTERS) or None,
    )


def named(headers: Sequence[Any]) -> list[Any]:
    """Find what names the message among headers as ``{"name": …, "value": …}``."""
    found: dict[str, Any] = {}
    for one in headers:
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            found.setdefault(one["name"].lower(), one.get("value"))
    return [found.get(name) for name in NAMING]
