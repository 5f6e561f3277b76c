"""What ``If-Match`` and ``If-None-Match`` say: see docs/decisions/0007-etag.md."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request

from reach.problems import BadRequest, PreconditionFailed
from reach.shapes import Shape
from reach.web.openapi import takes
from reach.web.routes import fields_of

#: Ours, of which the version counts.
TAG = re.compile(r'"(\d{1,9})\.[a-z]+(-[0-9a-f]+){0,2}"')
#: Anybody's (RFC 9110 §8.8.3): visible characters, and those beyond ASCII, in quotes.
ANY_TAG = r'(?:W/)?"[\u0021\u0023-\u007e\u0080-\u00ff]*"'
TAGS = Shape(
    rf"\*|{ANY_TAG}(?:[ \t]*,[ \t]*{ANY_TAG})*",
    "It must be an ETag with its quotes, several with commas between, or *.",
)
IF_MATCH = takes(
    "If-Match",
    'The ETag of the record as you read it, such as `"3.sent"`; its version counts',
    TAGS,
)
IF_NONE_MATCH = takes("If-None-Match", "The ETag of what you have already", TAGS)
#: For the ``openapi_extra`` of a route that reads both.
CONDITIONS = {"parameters": [*IF_MATCH["parameters"], *IF_NONE_MATCH["parameters"]]}


class Versioned(Protocol):
    """A record with a version, and an ETag that changes with whatever is shown of it."""

    @property
    def version(self) -> int:
        """The version of the record."""

    @property
    def etag(self) -> str:
        """RFC 9110 §8.8.3."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a record must be: of one of ``versions`` (None: of any), and with none of ``etags``."""

    versions: frozenset[int] | None = None
    etags: Sequence[str] = ()

    @property
    def is_any(self) -> bool:
        """Whether nothing is asked."""
        return self.versions is None and not self.etags

    def require_match(self, record: Versioned) -> None:
        """Raise PreconditionFailed unless ``If-Match`` holds."""
        if self.versions is not None and record.version not in self.versions:
            raise PreconditionFailed

    def require(self, record: Versioned) -> None:
        """Raise PreconditionFailed unless both hold, as for a change (RFC 9110 §13.2.2)."""
        self.require_match(record)
        if is_known(record.etag, self.etags):
            raise PreconditionFailed


ANY = Conditions()


def conditions(request: Request) -> Conditions:
    """Read `If-Match` and `If-None-Match`. Raises BadRequest."""
    match, none_match = fields_of(request, "if-match"), fields_of(request, "if-none-match")
    if not match and not none_match:
        return ANY
    return Conditions(read_if_match(match), read_if_none_match(none_match))


def read_tags(name: str, headers: Sequence[str]) -> Sequence[str] | None:
    """Read the tags of a header, None if there is no such header.

    Raises BadRequest for what has no tags in it: without its quotes, an ETag would never fit, and
    its sender be told that the record has changed.
    """
    if not headers:
        return None
    given = ",".join(headers).strip(" \t")
    if not TAGS.fits(given):
        raise BadRequest(f"{name}: {TAGS.said}")
    return [given] if given == "*" else re.findall(ANY_TAG, given)


def read_if_match(headers: Sequence[str]) -> frozenset[int] | None:
    """The versions that ``If-Match`` allows; None if it allows any (RFC 9110 §13.1.1)."""
    given = read_tags("If-Match", headers)
    if given is None or given == ["*"]:
        return None
    tags = map(TAG.fullmatch, given)
    return frozenset(int(tag[1]) for tag in tags if tag)


def read_if_none_match(headers: Sequence[str]) -> Sequence[str]:
    """The tags that ``If-None-Match`` names, whether strong or weak (RFC 9110 §13.1.2)."""
    return [tag.removeprefix("W/") for tag in read_tags("If-None-Match", headers) or ()]


def is_known(etag: str, tags: Sequence[str]) -> bool:
    """Whether ``If-None-Match`` names this version."""
    return any(tag in (etag, "*") for tag in tags)
