"""What ``If-Match`` and ``If-None-Match`` say: see docs/decisions/0007-etag.md."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reach.people.model import Person
from reach.problems import PreconditionFailed

TAG = re.compile(r'"(\d{1,9})\.[a-z]+(-[0-9a-f]+)?"')


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a record must be: of one of ``versions`` (None: of any), and with none of ``etags``."""

    versions: frozenset[int] | None = None
    etags: Sequence[str] = ()

    @property
    def is_any(self) -> bool:
        """Whether nothing is asked."""
        return self.versions is None and not self.etags

    def require_match(self, person: Person) -> None:
        """Raise PreconditionFailed unless ``If-Match`` holds."""
        if self.versions is not None and person.version not in self.versions:
            raise PreconditionFailed

    def require(self, person: Person) -> None:
        """Raise PreconditionFailed unless both hold, as for a change (RFC 9110 §13.2.2)."""
        self.require_match(person)
        if is_known(person.etag, self.etags):
            raise PreconditionFailed


ANY = Conditions()


def read_if_match(headers: Sequence[str]) -> frozenset[int] | None:
    """The versions that ``If-Match`` allows; None if it allows any (RFC 9110 §13.1.1)."""
    given = ",".join(headers).strip()
    if not headers or given == "*":
        return None
    tags = (TAG.fullmatch(tag.strip()) for tag in given.split(","))
    return frozenset(int(tag[1]) for tag in tags if tag)


def is_known(etag: str, headers: Sequence[str]) -> bool:
    """Whether ``If-None-Match`` names this version, strong or weak (RFC 9110 §13.1.2)."""
    tags = (tag.strip().removeprefix("W/") for tag in ",".join(headers).split(","))
    return any(tag in (etag, "*") for tag in tags)
