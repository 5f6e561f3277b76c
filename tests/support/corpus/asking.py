"""Asks a real server what a file of recorded exchanges asks, and writes down what it answers."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio

import reach
from reach.auth import keys
from reach.auth.links import Link, Links
from reach.db.transaction import Transaction
from reach.people.antispam import AntiSpam
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.corpus.exchanges import ESCAPING, Names, bytes_of, shown, told
from tests.support.http.clients import Caller, calling
from tests.support.processes.commands import ReachProcess, api_process

#: The code that is asked: that which this process has imported, of this checkout or another.
SOURCE = Path(reach.__file__).parents[1]
SECONDS = 20
#: Keys by name: what they may do, and whether they still may.
KEYS: dict[str, tuple[keys.Scope, ...]] = {
    "all": keys.SCOPES,
    **{scope.replace(":", "-"): (scope,) for scope in keys.SCOPES},
    "expired": keys.SCOPES,
    "revoked": keys.SCOPES,
}
#: The ids of its answers are looked for in the log; this one's line is the last.
LAST = [["GET /livez HTTP/1.1", "Host: localhost", "X-Request-ID: the-last-of-all", ""]]
NO_BODY = frozenset((100, 204, 304))
GO_ON = "HTTP/1.1 100 Continue"


class Asker:
    """Makes the exchanges of a file with a server, one after the other."""

    def __init__(self, settings: Settings, process: ReachProcess) -> None:
        self._settings, self._process = settings, process
        self._names = Names()
        self._keys: dict[str, str] = {}
        self._ids: list[tuple[int, str]] = []
        self._sent: list[bytes] = []

    async def ask(self, exchanges: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Ask all of it; gives the same exchanges, with what is answered now."""
        self._keys = await self._make_keys()
        made = []
        for number, one in enumerate([*exchanges, {"what": "the last", "send": LAST}]):
            answers = await self._exchange(number, one["send"])
            made.append({"what": one["what"], "send": one["send"], "answers": answers})
        lines = await self._lines()
        for number, one in enumerate(made):
            mine = [
                line for at, given in self._ids if at == number for line in lines.get(given, [])
            ]
            one["log"] = [self._named(told(line, self._sent[number])) for line in mine]
        return made[:-1]

    async def _make_keys(self) -> dict[str, str]:
        made = {name: keys.generate() for name in KEYS}

        def add_all(tx: Transaction) -> None:
            ago = datetime.now(UTC) - timedelta(days=1)
            for name, text in made.items():
                keys.add(tx, text, name, KEYS[name], ago if name == "expired" else None)
            keys.revoke(tx, made["revoked"])

        async with opened(self._settings) as database:
            await database.write(add_all)
        return made

    async def _exchange(self, number: int, requests: list[Any]) -> list[list[str]]:
        """Send requests on one connection, all at once, and read their answers.

        A body whose sender asks first is sent once the answer says so.
        """
        sent = [bytes_of(request, self._fill) for request in requests]
        self._sent.append(b"".join(head for head, _ in sent))
        asks_first = b"expect: 100-continue" in self._sent[-1].lower()
        found: list[list[str]] = []
        lengths: set[str] = set()
        waiting = [head.startswith(b"HEAD ") for head, _ in sent]
        async with calling(self._settings.port) as caller:
            with anyio.fail_after(SECONDS):
                caller.send(
                    *(part for head, body in sent for part in (head, body)[: 2 - asks_first])
                )
                while waiting:
                    found.append(await self._answer(caller, number, waiting.pop(0), lengths))
                    if GO_ON in found[-1]:
                        caller.send(sent[0][1])
                        waiting.append(False)
                    elif "connection: close" in map(str.lower, found[-1]) or not found[-1]:
                        rest = await caller.rest()
                        return [*found, ["closed", *shown(rest.decode(errors=ESCAPING))]]
        return found

    async def _answer(
        self, caller: Caller, number: int, is_head: bool, lengths: set[str]
    ) -> list[str]:
        """Read one answer, by the byte; what there was of it if the server hung up."""
        try:
            head = (await caller.reader.readuntil(b"\r\n\r\n")).decode(errors=ESCAPING)
        except (asyncio.IncompleteReadError, ConnectionError) as ended:
            cut = getattr(ended, "partial", b"")
            return shown(cut.decode(errors=ESCAPING)) if cut else []
        lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
        }
        if given := headers.get("x-request-id"):
            self._ids.append((number, given))
        has_body = not is_head and int(lines[0].split()[1]) not in NO_BODY
        assert "transfer-encoding" not in headers, lines
        length = int(headers.get("content-length", "0")) if has_body else 0
        body = (await caller.reader.readexactly(length)).decode(errors=ESCAPING)
        named = self._names.head(lines, body, lengths)
        return [self._named(line) for line in [*named, "", *shown(self._names.name(body))]]

    def _named(self, text: str) -> str:
        for name, key in self._keys.items():
            text = text.replace(key, f"<key:{name}>")
        return text

    def _fill(self, text: str) -> str:
        return self._names.fill(text, self._made)

    def _made(self, name: str) -> str | None:
        """Make what a request names: a key, a link's token, the stamp of a form."""
        match name.split(":"):
            case ["key", which]:
                return self._keys[which]
            case ["upper", person]:
                return self._names.value(person).upper()
            case ["token", ("manage" | "confirm") as scope, person, version]:
                found = self._names.value(person)
                return Links(self._settings).mint(Link(UUID(found), scope, int(version)))
            case ["opened", seconds]:
                return AntiSpam(self._settings).stamp(time.time() - int(seconds))
        return None

    async def _lines(self) -> dict[str, list[dict[str, Any]]]:
        """Wait for the last line, and sort all of them by whose they are."""

        def by_id() -> dict[str, list[dict[str, Any]]]:
            found: dict[str, list[dict[str, Any]]] = {}
            for line in self._process.log:
                found.setdefault(_request_id(line), []).append(line)
            return found if "the-last-of-all" in found else {}

        return await eventually(by_id, every=0.05)


def _request_id(line: dict[str, Any]) -> str:
    return str(line.get("http", {}).get("request", {}).get("id"))


async def asked(settings: Settings, corpus: dict[str, Any]) -> list[dict[str, Any]]:
    """Start a server with these settings and those of the file, and ask it all."""
    parsed = Settings(**corpus["settings"])
    wanted = {name: getattr(parsed, name) for name in corpus["settings"]}
    given = settings.model_copy(update=wanted)
    with api_process(given, environment={"PYTHONPATH": str(SOURCE)}) as process:
        return await Asker(given, process).ask(corpus["exchanges"])
