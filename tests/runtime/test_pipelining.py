"""Requests that do not wait for answers: sixteen are kept, in order, and no more are read."""

import json

from tests.support.clock import eventually
from tests.support.http import raw
from tests.support.http.clients import JSON, LIVEZ, calling
from tests.support.http.raw import Answer
from tests.support.http.serving import close_gate
from tests.support.processes.reach import Reach

MOST_WAITING = 16


def numbered(number: int, path: str = "/seen") -> bytes:
    """Write a request whose answer says which it is."""
    return raw.request(f"{path}?{number}", method="GET")


def numbers(answers: list[Answer]) -> list[int]:
    """Say which requests were answered."""
    return [int(json.loads(answer.body)["query"]) for answer in answers]


async def test_a_few_at_once_are_answered_in_order(served: Reach) -> None:
    """One that is answered and sixteen behind it; the connection goes on."""
    async with calling(served.settings.port) as caller:
        for _ in range(2):
            caller.send(b"".join(map(numbered, range(MOST_WAITING))))
            found = [await caller.answer() for _ in range(MOST_WAITING)]
            assert numbers(found) == list(range(MOST_WAITING))
            assert not any("connection" in answer.headers for answer in found)


async def test_of_many_at_once_seventeen_are_answered(served: Reach) -> None:
    """In order, the last with word that it is the last; nothing more is read."""
    close_gate(served)
    async with calling(served.settings.port) as caller:
        caller.send(numbered(0, "/waiting"), *map(numbered, range(1, 60)))
        served.app.state.gate.set()
        found = await caller.answers()
    assert numbers(found) == list(range(MOST_WAITING + 1))
    assert [answer.headers.get("connection") for answer in found] == [None] * 16 + ["close"]


async def test_many_that_come_apart_are_no_more(served: Reach) -> None:
    """While one is answered, what comes is not even read; then as many as there is room for."""
    close_gate(served)
    async with calling(served.settings.port) as caller:
        await caller.send_apart([numbered(0, "/waiting"), *map(numbered, range(1, 200))])
        served.app.state.gate.set()
        found = await caller.answers()
    assert numbers(found) == list(range(len(found)))
    assert MOST_WAITING < len(found) < 200
    assert found[-1].headers.get("connection") == "close"


async def test_who_reads_may_ask_for_ever(served: Reach) -> None:
    """Four hundred requests, eight of them under way at any time."""
    window, asked = 8, 0
    async with calling(served.settings.port) as caller:
        for answered in range(400):
            while asked < min(400, answered + window):
                caller.send(numbered(asked))
                asked += 1
            assert numbers([await caller.answer()]) == [answered]


async def test_a_slow_one_is_not_overtaken(served: Reach) -> None:
    """Whatever it waits for, those behind it wait too, and have their bodies."""
    close_gate(served)
    post = raw.request("/seen?1", "Content-Length: 5", body=b"hello")
    async with calling(served.settings.port) as caller:
        caller.send(numbered(0, "/waiting") + post + numbered(2))
        async with calling(served.settings.port) as other:
            await other.get()
        assert not caller.reader._buffer  # type: ignore[attr-defined]
        served.app.state.gate.set()
        found = [await caller.answer() for _ in range(3)]
    assert numbers(found) == [0, 1, 2]
    assert json.loads(found[1].body)["body"] == "hello"


async def test_nothing_is_answered_after_the_last(served: Reach) -> None:
    """What follows a request that says ``Connection: close`` is passed over."""
    last = raw.request("/seen?1", "Connection: close", method="GET")
    async with calling(served.settings.port) as caller:
        caller.send(numbered(0) + last + numbered(2) + b"and what is no HTTP\r\n\r\n")
        found = await caller.answers()
    assert numbers(found) == [0, 1]


async def test_a_refused_body_is_not_the_next_request(served: Reach) -> None:
    """What is left of it is thrown away; what looks like a request in it is none."""
    body = numbered(7) * 20
    post = raw.request("/nowhere", JSON, f"Content-Length: {len(body)}", body=body)
    async with calling(served.settings.port) as caller:
        caller.send(post + numbered(1) + post + numbered(2))
        found = [await caller.answer() for _ in range(4)]
    assert [answer.status for answer in found] == [404, 200, 404, 200]
    assert numbers(found[1::2]) == [1, 2]


async def test_who_leaves_takes_what_was_queued_along(served: Reach) -> None:
    """Requests that nobody waits for any more do not keep the process busy."""
    close_gate(served)
    async with calling(served.settings.port) as caller:
        caller.send(numbered(0, "/waiting") + numbered(1, "/waiting") + LIVEZ)
        async with calling(served.settings.port) as other:
            await other.get()
    served.app.state.gate.set()

    async def is_idle() -> bool:
        async with calling(served.settings.port) as other:
            return (await other.get()).status == 200

    assert await eventually(is_idle)
