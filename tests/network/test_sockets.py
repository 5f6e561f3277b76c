"""A dead address costs a quarter of a second, and the next time nothing."""

import asyncio
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import anyio
import anyio.lowlevel
import psutil
import pytest

from reach.network.sockets import (
    Attempt,
    CannotConnect,
    in_order,
    look_up,
    open_socket,
    try_each,
)
from tests.support.network import OTHERS, DeadAddress, hosts
from tests.support.times import LATE_SECONDS

NAME, ALIVE = "server.test", "127.0.0.1"


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server at 127.0.0.1, which takes every connection."""
    with socket.create_server((ALIVE, 0), backlog=200) as server:
        yield server.getsockname()[1]


async def peer_of(port: int, *, seconds: float = 10) -> tuple[str, float]:
    """Connect to the name: to which address, and in how many seconds."""
    began = time.monotonic()
    connected = await open_socket(NAME, port, seconds=seconds)
    with closing(connected):
        assert connected.gettimeout() == 0
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        return connected.getpeername()[0], time.monotonic() - began


@pytest.mark.parametrize("dead", OTHERS)
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_dead_address_is_passed_over(
    dead: str, is_first: bool, port: int, told: Callable[[], str]
) -> None:
    """First or last: a quarter of a second at most, once; the log names it, once."""
    both = (dead, ALIVE) if is_first else (ALIVE, dead)
    with DeadAddress(dead, port), hosts({NAME: both}):
        peer, seconds = await peer_of(port)
        assert peer == ALIVE
        assert (0.25 if is_first else 0) <= seconds < 0.25 + LATE_SECONDS
        for _ in range(3):
            assert (await peer_of(port))[0] == ALIVE
        assert told().count("an address does not answer") == int(is_first)
        if not is_first:
            return
        assert re.search(rf"{port} \({NAME}\): no answer in \d", told())
        began = time.monotonic()
        for _ in range(40):
            await peer_of(port)
        assert time.monotonic() - began < LATE_SECONDS  # it is not waited for again


async def test_a_dead_address_is_remembered_by_a_loop_that_was_busy(
    port: int, told: Callable[[], str]
) -> None:
    """Its attempt began later than its turn, so it took less time: a turn went by all the same."""

    async def be_busy() -> None:
        until = time.monotonic() + 0.15
        while time.monotonic() < until:
            time.sleep(0.02)  # noqa: ASYNC251 - that is what keeps the loop busy
            await anyio.lowlevel.checkpoint()

    with DeadAddress(OTHERS[0], port), hosts({NAME: (OTHERS[0], ALIVE)}):
        async with anyio.create_task_group() as group:
            group.start_soon(be_busy)
            assert (await peer_of(port))[0] == ALIVE
        assert told().count("an address does not answer") == 1
        first, _ = in_order(await look_up(NAME, port, 5))
        assert first.place[0] == ALIVE  # so the next one need not wait


async def test_a_busy_loop_is_not_blamed_on_an_address(port: int, told: Callable[[], str]) -> None:
    """Each has its whole turn, from the moment at which it is tried."""
    slow, loop = "127.0.0.2", asyncio.get_running_loop()
    connect, run = loop.sock_connect, Attempt.run

    async def connect_slowly(candidate: socket.socket, place: Any) -> None:
        await anyio.sleep(0.06 if place[0] == slow else 0)
        await connect(candidate, place)

    async def run_late(attempt: Attempt) -> None:
        if attempt.address.place[0] == slow:
            time.sleep(0.22)  # noqa: ASYNC251 - that is what keeps the loop busy
        await run(attempt)

    with pytest.MonkeyPatch.context() as patch, hosts({NAME: (slow, ALIVE)}):
        patch.setattr(loop, "sock_connect", connect_slowly)
        patch.setattr(Attempt, "run", run_late)
        with socket.create_server((slow, port)):
            assert (await peer_of(port))[0] == slow
    assert told() == ""


async def test_of_dead_addresses_none_is_forgotten(port: int, told: Callable[[], str]) -> None:
    """The last one neither, whose turn ends with the time for all."""
    with DeadAddress(OTHERS[0], port), DeadAddress("127.0.0.3", port):
        for number in range(3):
            name = f"server{number}.test"
            # With less time for both, a busy machine would begin the last one's turn too late.
            with hosts({name: (OTHERS[0], "127.0.0.3")}), pytest.raises(CannotConnect):
                await open_socket(name, port, seconds=0.8)
    assert told().count("an address does not answer") == 6


@pytest.mark.parametrize("dead", OTHERS)
async def test_an_address_that_answers_again_is_told(
    dead: str, port: int, told: Callable[[], str]
) -> None:
    """It is tried last until then, not never."""
    with hosts({NAME: (dead, ALIVE)}):
        with DeadAddress(dead, port) as address:
            await peer_of(port)
        with socket.create_server((dead, port), family=address.family):
            assert (await peer_of(port))[0] == ALIVE
            with closing(await open_socket(dead, port, seconds=5)):
                pass
            assert told().count("an address answers again") == 1
            assert (await peer_of(port))[0] == dead


async def test_an_address_that_refuses_is_passed_over_at_once(
    port: int, told: Callable[[], str]
) -> None:
    """Nobody listens at the first of them: nothing to wait for, and nothing to tell."""
    with hosts({NAME: ("127.0.0.2", "127.0.0.3", ALIVE)}):
        peer, seconds = await peer_of(port)
    assert peer == ALIVE
    assert seconds < LATE_SECONDS
    assert told() == ""


async def test_a_server_that_cannot_be_reached_is_told_once(
    port: int, told: Callable[[], str]
) -> None:
    """With what is wrong; and that it is back."""
    with hosts({NAME: ("127.0.0.2",)}):
        for _ in range(3):
            with pytest.raises(CannotConnect):
                await open_socket(NAME, port, seconds=5)
        assert told().count("a server cannot be reached") == 1
        assert f"127.0.0.2:{port}: Connection refused" in told()
        with socket.create_server(("127.0.0.2", port)):
            for _ in range(2):
                (await open_socket(NAME, port, seconds=5)).close()
    assert told().count("a server is reached again") == 1


async def test_many_dead_addresses_leave_time_for_the_last(port: int) -> None:
    """Their turns are shorter where the time is short."""
    dead = [f"127.0.0.{number}" for number in range(2, 8)]
    with ExitStack() as stack:
        for address in dead:
            stack.enter_context(DeadAddress(address, port))
        stack.enter_context(hosts({NAME: (*dead, ALIVE)}))
        assert (await peer_of(port, seconds=1))[0] == ALIVE


@pytest.mark.parametrize("dead", OTHERS)
async def test_a_name_without_a_living_address_fails_in_time(dead: str, port: int) -> None:
    """The words name each address, and say what is wrong with it."""
    refusing = "127.0.0.9"
    with DeadAddress(dead, port), hosts({NAME: (dead, refusing)}):
        began = time.monotonic()
        with pytest.raises(CannotConnect) as caught:
            await open_socket(NAME, port, seconds=0.6)
        assert time.monotonic() - began < 0.6 + LATE_SECONDS
    words = str(caught.value)
    assert words.startswith(f"{NAME} cannot be reached: ")
    shown = f"[{dead}]" if ":" in dead else dead
    assert f"{shown}:{port}: no answer in " in words
    assert f"{refusing}:{port}: Connection refused" in words


async def test_each_address_can_be_tried(port: int) -> None:
    """Whether or not another one answers."""
    with DeadAddress("127.0.0.2", port), hosts({NAME: (ALIVE, "127.0.0.2", "127.0.0.3")}):
        alive, silent, refusing = await try_each(NAME, port, 0.5)
    assert alive.connected
    assert not silent.connected
    assert silent.reason.startswith("no answer in ")
    assert refusing.reason == "Connection refused"


async def test_families_take_turns() -> None:
    """So that a network without IPv6 costs one turn, however many IPv6 addresses there are."""
    names = ("2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2")
    with hosts({NAME: names}):
        found = in_order(await look_up(NAME, 25, 5))
    assert [address.place[0] for address in found] == [
        "2001:db8::1",
        "192.0.2.1",
        "2001:db8::2",
        "192.0.2.2",
        "2001:db8::3",
    ]


async def test_who_gives_up_leaves_nothing_open(port: int) -> None:
    """A thousand are cancelled while they connect, at every moment of it."""
    process = psutil.Process()
    before = process.num_fds()
    with DeadAddress("127.0.0.2", port), hosts({NAME: ("127.0.0.2", ALIVE)}):
        for number in range(1000):
            with anyio.move_on_after(number * 2e-6):
                (await open_socket(NAME, port, seconds=5, next_seconds=0.0001)).close()
    assert process.num_fds() <= before + 2  # the port's own listener, and the look-up's
