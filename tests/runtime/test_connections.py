"""So many connections are open at a time, and those who wait longest make room."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import pytest
from anyio import to_thread

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.http import raw
from tests.support.http.clients import HALF_A_BODY, HALF_A_HEAD, JSON, LIVEZ, Caller, calling
from tests.support.http.serving import Serving
from tests.support.processes.reach import Reach

MOST, HALF = 16, 8
WAITS = raw.request("/waiting", method="GET")
DEADLINE_SECONDS = 30
WAITING = {"silent": b"", "half a head": HALF_A_HEAD, "half a body": HALF_A_BODY, "kept": LIVEZ}


async def begin(caller: Caller, words: bytes) -> None:
    """Bring a connection to where it waits for its caller."""
    caller.send(words)
    if words == LIVEZ:
        assert (await caller.answer()).status == 200


@asynccontextmanager
async def crowd(reach: Reach, words: bytes, count: int) -> AsyncIterator[list[Caller]]:
    """So many callers, one after another, each of which Reach waits for."""
    async with AsyncExitStack() as stack:
        callers = []
        for _ in range(count):
            caller = await stack.enter_async_context(calling(reach.settings.port))
            await begin(caller, words)
            callers.append(caller)
        yield callers


def held(callers: list[Caller]) -> list[bool]:
    """Say of each whether its connection is still there."""
    return [caller.is_held for caller in callers]


def test_how_many_is_a_setting() -> None:
    """As many as a process can well hold."""
    settings = Settings()
    assert settings.max_connections == 512
    with pytest.raises(ValueError, match="max_connections"):
        Settings(max_connections=15)


@pytest.mark.parametrize("words", WAITING.values(), ids=WAITING)
async def test_who_waited_longest_makes_room(serving: Serving, words: bytes) -> None:
    """One for each that comes, whatever it waits with; all others stay."""
    reach = await serving(max_connections=MOST)
    async with crowd(reach, words, MOST) as callers, AsyncExitStack() as stack:
        for number in range(1, 4):
            newcomer = await stack.enter_async_context(calling(reach.settings.port))
            assert (await newcomer.get()).status == 200
            wanted = [False] * number + [True] * (MOST - 1)
            await eventually(lambda wanted=wanted: held(callers) == wanted)  # type: ignore[misc]
            callers.append(newcomer)


async def test_who_is_being_answered_is_left_alone(serving: Serving) -> None:
    """The oldest of all, but it waits for us, not we for it."""
    reach = await serving(max_connections=MOST)
    async with calling(reach.settings.port) as oldest:
        oldest.send(raw.request("/waiting", method="GET"))
        async with crowd(reach, b"", 3 * MOST) as callers:
            assert held(callers).count(True) <= MOST
            reach.app.state.gate.set()
            assert (await oldest.answer()).status == 200


async def test_a_rush_is_served(serving: Serving) -> None:
    """Many come, and have asked, before any is read: none waits for its caller, and all get in."""
    reach = await serving(max_connections=MOST)
    with ExitStack() as stack:
        # Nothing is awaited meanwhile, so the event loop finds them all at once.
        address = ("127.0.0.1", reach.settings.port)
        rush = [stack.enter_context(socket.create_connection(address)) for _ in range(10 * MOST)]
        for one in rush:
            one.sendall(WAITS)
            one.settimeout(DEADLINE_SECONDS)
        await eventually(lambda: reach.app.state.waiting == len(rush), DEADLINE_SECONDS)
        reach.app.state.gate.set()
        answers = await to_thread.run_sync(lambda: [one.recv(12) for one in rush])
    assert set(answers) == {b"HTTP/1.1 200"}


async def test_a_trickle_is_a_wait_too(serving: Serving) -> None:
    """Who sends a byte of a head now and then waits no less long for it."""
    reach = await serving(max_connections=MOST)
    async with crowd(reach, HALF_A_HEAD, HALF) as slow, crowd(reach, LIVEZ, HALF) as kept:
        for caller in slow:
            await caller.send_apart([b"a", b"b"])
        async with calling(reach.settings.port) as newcomer:
            assert (await newcomer.get()).status == 200
            await eventually(lambda: held(slow) == [False] + [True] * (HALF - 1))
            assert held(kept) == [True] * HALF


@pytest.mark.parametrize("words", WAITING.values(), ids=WAITING)
async def test_probes_and_operators_are_answered_meanwhile(serving: Serving, words: bytes) -> None:
    """A crowd of four times as many, of any kind: each of our own calls is answered."""
    settings: dict[str, Any] = {"max_connections": MOST, "head_seconds": 60}
    reach = await serving(**settings)
    key = await reach.key()
    lines = [f"{name}: {value}" for name, value in key.items()]
    reads = raw.request("/v1/people", *lines, method="GET")
    async with AsyncExitStack() as stack:
        for number in range(4 * MOST):
            caller = await stack.enter_async_context(calling(reach.settings.port))
            await begin(caller, words)
            if number % MOST:
                continue
            for ours in (LIVEZ, raw.request("/readyz", method="GET"), reads):
                async with calling(reach.settings.port) as own:
                    own.send(ours)
                    assert (await own.answer()).status == 200


async def test_a_crowd_of_one_kind_does_not_cost_another_its_request(serving: Serving) -> None:
    """A sign-up over a new connection is a 202, however full it is."""
    body = b'{"email": "crowded@example.com", "name": "Grace"}'
    request = raw.request("/v1/signups", JSON, f"Content-Length: {len(body)}", body=body)
    reach = await serving(max_connections=MOST)
    async with crowd(reach, HALF_A_BODY, 2 * MOST):
        for _ in range(2 * MOST):
            async with calling(reach.settings.port) as caller:
                caller.send(request)
                assert (await caller.answer()).status == 202
