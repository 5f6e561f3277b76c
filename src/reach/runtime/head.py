"""What a request's line and headers may say, where the parser (llhttp) takes too much."""

import re
from collections.abc import Iterable, Sequence

from reach.problems import BadRequest
from reach.runtime.refusals import Refused, UnknownCoding, UnknownVersion

#: What RFC 9110 §7.2 calls a host, and perhaps a port. It may be empty.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?")
#: A target in absolute form: its authority, and the rest.
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(.*)", re.DOTALL)
_VERSIONS = ("1.1", "1.0")
_CODINGS: tuple[tuple[bytes, ...], ...] = ((), (b"chunked",))

Fields = Sequence[tuple[bytes, bytes]]


def check(version: str, hosts: Sequence[bytes], codings: Sequence[bytes]) -> None:
    """Refuse what RFC 9112 §2.3, §3.2 and §6.1 refuse. Raises Refused.

    ``hosts`` and ``codings`` are the values of ``Host`` and ``Transfer-Encoding``, one a line.
    """
    if version not in _VERSIONS:
        raise Refused(UnknownVersion)
    if codings and version == "1.0":
        raise Refused(BadRequest)
    if codings not in _CODINGS:
        raise Refused(UnknownCoding)
    if len(hosts) != 1 and (hosts or version == "1.1"):
        raise Refused(BadRequest)
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise Refused(BadRequest)


def parts_of_target(target: bytes) -> tuple[bytes, bytes] | None:
    """Give host, and path with query, of a target in absolute form; None for the others.

    Such a target's host counts, whatever ``Host`` says (RFC 9112 §3.2.2). Raises Refused.
    """
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        return None
    host, rest = found.groups()
    if not host or not _HOST.fullmatch(host):
        raise Refused(BadRequest)
    return host, rest if rest.startswith(b"/") else b"/" + rest


def estimated_bytes(target: bytes, fields: Fields) -> int:
    """Estimate how long a head is, but for the rest of its first line."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in fields)


def written(method: bytes, target: bytes, version: str, fields: Iterable[Sequence[bytes]]) -> bytes:
    """Write a head, to be read again."""
    line = b" ".join((method, target, f"HTTP/{version}".encode()))
    return b"\r\n".join((line, *map(b": ".join, fields), b"", b""))
