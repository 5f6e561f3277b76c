"""What ``If-Match`` and ``If-None-Match`` say: see docs/decisions/0007-etag.md."""

import re
from collections.abc import Sequence

TAG = re.compile(r'"(\d{1,9})\.[a-z]+(-[0-9a-f]+)?"')


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
