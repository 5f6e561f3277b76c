"""Direct routes, shared reads and whole answers: the short way says what the long way would."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import text
from starlette.types import Message

from reach.app import DIRECT_ROUTES
from reach.auth import keys
from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.errors import TIMED_OUT
from reach.db.transaction import Transaction
from reach.settings import Settings
from reach.web.middleware import ANSWER, Record
from reach.web.security import safety_headers
from tests.support.clock import eventually
from tests.support.people import add, operator
from tests.support.processes.reach import Reach, running_reach


async def test_fastapi_has_each_direct_route_too(reach: Reach) -> None:
    """So it is in the document, if it is not a page's; and a query is answered by it."""
    assert {(route.method, route.path) for route in DIRECT_ROUTES} <= reach.routes
    document = (await reach.http.get("/openapi.json")).json()["paths"]
    for route in DIRECT_ROUTES:
        assert route.path == "/" or route.method.lower() in document[route.path]


async def test_with_a_query_fastapi_answers(reach: Reach) -> None:
    """An unknown parameter is refused on a direct route as on any other."""
    http = await operator(reach)
    person = (await add(http)).json()
    answer = await http.get(f"/v1/people/{person['id']}", params={"x": "1"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"parameter": "x", "detail": "There is no such parameter. This call takes none."}
    ]


@pytest.mark.parametrize("path", ["/v1/people/{id}", "/v1/people/%7Bid%7D"])
async def test_the_templates_own_text_is_no_path(reach: Reach, path: str) -> None:
    """It is an id like any other that nobody has: 401 without a key, 404 with one."""
    assert (await reach.http.get(path)).status_code == 401
    answer = await reach.http.get(path, headers=await reach.key())
    assert answer.status_code == 404


async def test_a_revoked_key_opens_nothing_at_once_in_every_process(settings: Settings) -> None:
    """It is looked up for each transaction: the next request is refused, wherever it goes."""
    async with running_reach(settings) as first, running_reach(settings) as second:
        header = await first.key("people:read")
        person = (await add(await operator(first))).json()
        path = f"/v1/people/{person['id']}"
        both = [first.http, second.http]
        before = [await http.get(path, headers=header) for http in both * 3]
        await first.database.write(keys.revoke, header["Authorization"].removeprefix("Bearer "))
        after = [await http.get(path, headers=header) for http in both]
    # Out here: who fails in there leaves the servers' connections open.
    assert [answer.status_code for answer in before] == [200] * 6
    assert [answer.status_code for answer in after] == [401] * 2


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A database."""
    database = open_database(settings)
    yield database
    await database.close()


async def test_reads_share_a_transaction(database: Database) -> None:
    """Fifty who ask at once are answered by one, each for itself; who fails, fails alone."""
    asked: list[Sequence[int]] = []

    def find_all(tx: Transaction, numbers: Sequence[int]) -> Sequence[float]:
        asked.append(numbers)
        tx.execute(text("SELECT 1"))
        return [1 / number for number in numbers]

    found = await asyncio.gather(*(database.read_together(find_all, n + 1) for n in range(50)))
    assert found == [1 / (n + 1) for n in range(50)]
    assert asked == [list(range(1, 51))]
    mixed = await asyncio.gather(
        *(database.read_together(find_all, n) for n in (1, 0, 2)), return_exceptions=True
    )
    assert mixed[0] == 1
    assert isinstance(mixed[1], ZeroDivisionError)
    assert mixed[2] == 1 / 2


async def test_a_read_that_waits_for_a_disk_holds_up_no_other(database: Database) -> None:
    """Those that come meanwhile share another transaction, in another thread or connection."""
    is_open = threading.Event()
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait_all(tx: Transaction, numbers: Sequence[int]) -> Sequence[int]:
        loop.call_soon_threadsafe(asked.set)
        tx.execute(text("SELECT 1"))
        if tx.dialect.name == "sqlite":  # on Postgres it is the event loop's thread
            assert is_open.wait(10)
        else:
            tx.execute(text("SELECT pg_sleep(1)"))
        return numbers

    def find_all(tx: Transaction, numbers: Sequence[int]) -> Sequence[int]:
        tx.execute(text("SELECT 1"))
        return numbers

    slow = asyncio.create_task(database.read_together(wait_all, 1))
    await asked.wait()
    others: list[asyncio.Task[int]] = []

    def is_one_answered() -> bool:
        """Those that come first take it for a usual one, and wait with it."""
        others.append(asyncio.create_task(database.read_together(find_all, 2)))
        return any(other.done() for other in others)

    await eventually(is_one_answered)
    assert not slow.done()
    is_open.set()
    assert await slow == 1
    assert set(await asyncio.gather(*others)) == {2}


async def test_who_read_in_vain_is_not_told_of_a_change(settings: Settings) -> None:
    """A read that nobody answered changed nothing: it is no 503 of which nobody knows."""
    database = open_database(settings.model_copy(update={"database_seconds": 0.5}))
    has_begun, is_over = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait_all(tx: Transaction, numbers: Sequence[int]) -> Sequence[int]:
        loop.call_soon_threadsafe(has_begun.set)
        tx.execute(text("SELECT 1"))
        if tx.dialect.name == "sqlite":
            is_over.wait(10)
        else:
            tx.execute(text("SELECT pg_sleep(1)"))
        return numbers

    asked = [asyncio.create_task(database.read_together(wait_all, 1))]
    await has_begun.wait()
    asked += [asyncio.create_task(database.read_together(wait_all, n)) for n in (2, 3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    is_over.set()
    assert [getattr(one, "detail", one) for one in found] == [TIMED_OUT] * 3
    await database.close()


async def test_a_shared_read_sees_what_was_committed_before_it_was_asked(
    database: Database,
) -> None:
    """A caller that was told that its key is stored finds it, however many read meanwhile."""

    def find_all(tx: Transaction, prefixes: Sequence[str]) -> Sequence[bool]:
        found = {key.prefix for key in keys.all_keys(tx)}
        return [prefix in found for prefix in prefixes]

    async def read_on() -> None:
        while True:
            await database.read_together(find_all, "")

    others = [asyncio.create_task(read_on()) for _ in range(4)]
    for _ in range(30):
        made = keys.generate()
        await database.write(keys.add, made, "n", ["people:read"])
        assert await database.read_together(find_all, made[keys.PREFIX])
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_a_shared_read_changes_nothing(database: Database) -> None:
    """The transaction is read-only, as every other one that reads."""

    def write_all(tx: Transaction, numbers: Sequence[int]) -> Sequence[int]:
        tx.execute(text("DELETE FROM api_keys"))
        return numbers

    with pytest.raises(Exception, match=r"read.?only|cannot be written"):
        await database.read_together(write_all, 1)


START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"2"), (b"x-own", b"1")],
}
BODY: Message = {"type": "http.response.body", "body": b"ok"}


def changed(name: bytes, value: bytes) -> Message:
    """An answer's start with one header more."""
    return {**START, "headers": [*START["headers"], (name, value)]}


UNUSUAL = {
    "a line break in a header": ("GET", changed(b"x-own", b"1\r\nset-cookie: a"), BODY),
    "a NUL": ("GET", changed(b"x-own", b"\x00"), BODY),
    "hanging up": ("GET", changed(b"connection", b"close"), BODY),
    "its own policy": ("GET", changed(b"content-security-policy", b"x"), BODY),
    "another length": ("GET", START, {**BODY, "body": b"okay"}),
    "no length": ("GET", {**START, "headers": []}, BODY),
    "only a part": ("GET", START, {**BODY, "more_body": True}),
    "to HEAD": ("HEAD", START, BODY),
}


@pytest.mark.parametrize("case", ["usual", *UNUSUAL])
async def test_only_an_everyday_answer_is_written_at_once(settings: Settings, case: str) -> None:
    """All others go uvicorn's way, which refuses what may not be in a header."""
    method, start, body = UNUSUAL.get(case, ("GET", START, BODY))
    written: list[tuple[int, bytes, bytes]] = []
    sent: list[Message] = []

    def answer(*whole: Any) -> bool:
        written.append(whole)
        return True

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": method, "path": "/livez", "headers": []}
    safety = safety_headers(settings)
    record = Record({**scope, ANSWER: answer}, send, (safety, tuple(map(b": ".join, safety))))
    await record.send(start)
    await record.send(body)
    assert record.status == 200
    if case == "usual":
        ((status, fields, text_),) = written
        assert (status, text_, sent) == (200, b"ok", [])
        lines = fields.decode().splitlines()
        assert lines[:2] == ["content-length: 2", "x-own: 1"]
        assert lines[2:] == [
            *(b": ".join(one).decode() for one in safety),
            f"x-request-id: {record.request_id}",
        ]
    else:
        assert written == []
        assert [message["type"] for message in sent] == [START["type"], BODY["type"]]
        names = [name for name, _ in sent[0]["headers"]]
        assert names.count(b"content-security-policy") == 1
        assert names[-1] == b"x-request-id"
