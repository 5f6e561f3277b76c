"""Recorded requests and their answers: how a file of them is written, and what varies in it.

A file is JSON: the ``settings`` of one server, and ``exchanges`` in the order in which they are
made. Each says ``what`` it is about, what is sent (``send``: a list for each request of one
connection, with its lines and then its body, or a text that is sent as it is), what comes back
(``answers``: a list for each, with its lines and then its body), and what the ``log`` tells of it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.root import ROOT

FOLDER = ROOT / "tests" / "web" / "corpus"
#: A longer body is named by its digest: the document of the API, the pages' scripts.
MOST_CHARACTERS = 6000
#: Bytes that are no UTF-8 are kept by this.
ESCAPING = "surrogateescape"

#: All that is replaced, in this order: what is found, and its name in the file. One with ``-N`` is
#: numbered, and the same all through the file; nothing else is replaced in a head or a body, but
#: a ``Content-Length`` where one of these may change it (see ``Names.head``), and a key or a
#: token that was sent.
VARYING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (r"(?<=^date: )\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$", "<date>"),
        (r"(?<=^x-request-id: )[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$", "<request-id>"),
        (r"(?<=^retry-after: )\d+$", "<seconds>"),  # until a window has room
        (r'(?<=;t=)\d+(?=,|$|")', "<seconds>"),  # of RateLimit
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b", "<id-N>"),
        (r'(?<="next_cursor":")[\w-]{22}(?=")', "<cursor-N>"),
        (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)", "<time>"),
        (r"(?<=>)\d+ [A-Z][a-z]+ \d{4}(?=</time>)", "<day>"),
        (r'(?<="last_used_at":)(?:null|"<time>")', "<used>"),  # noted beside the answers
        (r'(?<=name="started" value=")[^"]+', "<stamp>"),
        (r'(?<=name="form" value=")[^"]+', "<proof>"),
        (r"(?<='nonce-)[\w-]{22}(?=')|(?<=nonce=\")[\w-]{22}(?=\")", "<nonce-N>"),
        (r"(?<=; expires=)\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "<date>"),
        (r"rlt_[\w-]{20,}(?:\.[\w-]{20,})?", "<token>"),  # it says when it ends
        (r'(?<="key":")rk_\w{46}(?=")', "<new-key>"),
        (r'(?<="prefix":")rk_\w{8}(?=")', "<prefix>"),
    )
)
#: Lines that nearly every answer has, in this order: there they are one.
SAFETY = [
    "content-security-policy: default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options: nosniff",
    "referrer-policy: no-referrer",
    "cross-origin-opener-policy: same-origin",
    "cross-origin-resource-policy: same-origin",
    "cache-control: no-store",
]
#: Of these the length may change: a time at a whole second has no fraction.
LENGTHS = frozenset(("<time>", "<day>", "<used>", "<stamp>", "<proof>"))
#: What every line of the log has, and what is another each time.
NOT_TOLD = re.compile(
    r"@timestamp|ecs\.version|service\..*|process\..*|event\.(duration|kind|dataset|type|category)"
    r"|http\.request\.id|span\.id|log\.level|message"
)
REPEATED = re.compile(r"<(.)\*(\d+)>", re.DOTALL)
LENGTH_OF_BODY = "Content-Length: <length>"


@dataclass
class Names:
    """What stands for what varies: the same value has the same name, all through a file."""

    values: dict[str, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def name(self, text: str) -> str:
        """Replace what varies in a line or a body by its name."""
        for pattern, name in VARYING:
            text = pattern.sub(partial(self._name, name), text)
        return text

    def head(self, lines: list[str], body: str, lengths: set[str]) -> list[str]:
        """Replace what varies in the lines before ``body``.

        The length too, if it is that of ``body`` and something in there may be longer or shorter
        next time; then it is one of ``lengths``, which an answer to HEAD may have too.
        """
        named = self.name(body)
        length = f"content-length: {len(body.encode(errors=ESCAPING))}"
        if any(name in named and name not in body for name in LENGTHS):
            lengths.add(length)
        for at in range(len(lines)):
            if lines[at : at + len(SAFETY)] == SAFETY:
                lines = [*lines[:at], "<safety>", *lines[at + len(SAFETY) :]]
        return ["content-length: <length>" if one in lengths else self.name(one) for one in lines]

    def value(self, name: str) -> str:
        """Find the value of ``id-3``, say. Raises ValueError if there is none (yet)."""
        (found,) = [value for value, known in self.values.items() if known == f"<{name}>"]
        return found

    def fill(self, text: str, more: Callable[[str], str | None]) -> str:
        """Put values in the place of names; ``more`` knows of others than were found."""

        def value(found: re.Match[str]) -> str:
            known = {name: value for value, name in self.values.items()}
            given = known.get(found[0]) or more(found[1])
            return found[0] if given is None else given

        return re.sub(r"<([\w:-]+)>", value, text)

    def _name(self, name: str, found: re.Match[str]) -> str:
        value = found[0]
        if not name.endswith("-N>"):
            return name
        if value not in self.values:
            kind = name.removesuffix("-N>")
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self.values[value] = f"{kind}-{self._counts[kind]}>"
        return self.values[value]


def bytes_of(request: Any, fill: Callable[[str], str]) -> tuple[bytes, bytes]:
    """Write the head and the body of a request of a file."""
    if isinstance(request, str):
        return _encoded(request, fill), b""
    at = request.index("")
    body = _encoded("".join(request[at + 1 :]), fill)
    lines = [
        f"Content-Length: {len(body)}" if line == LENGTH_OF_BODY else line for line in request[:at]
    ]
    return _encoded("".join(f"{line}\r\n" for line in [*lines, ""]), fill), body


def _encoded(text: str, fill: Callable[[str], str]) -> bytes:
    text = REPEATED.sub(lambda found: found[1] * int(found[2]), fill(text))
    return text.encode(errors=ESCAPING)


def shown(body: str) -> list[str]:
    """Write a body down by its lines; if it is long, its digest."""
    if len(body) > MOST_CHARACTERS:
        digest = hashlib.sha256(body.encode(errors=ESCAPING)).hexdigest()
        return [f"<{len(body)} characters, SHA-256 {digest}>"]
    return body.splitlines(keepends=True) or [""]


def told(line: dict[str, Any], sent: bytes) -> str:
    """What a line of the log tells, but for what varies; a trace's id if it was ``sent``."""
    fields = dict(_flat(line))
    if fields.get("trace.id", "").encode() not in sent.lower():
        fields["trace.id"] = "<trace-id>"
    words = [f"{name}={fields[name]}" for name in fields if not NOT_TOLD.fullmatch(name)]
    return " ".join((fields["log.level"], fields["message"], *words))


def _flat(value: dict[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{outer}{name}.")
        else:
            yield f"{outer}{name}", inner


def read(path: Path) -> dict[str, Any]:
    """Read a file of exchanges."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(path: Path, corpus: dict[str, Any]) -> None:
    """Write a file of exchanges, a line of a request or answer on a line of its own."""
    path.write_text(json.dumps(corpus, indent=1) + "\n", encoding="utf-8")
