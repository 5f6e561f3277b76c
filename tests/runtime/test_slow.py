"""What takes its time: heads, answers, bodies. Each has a time, and then it ends."""

import os
import socket
import time
from collections.abc import Callable
from functools import partial

import anyio
import pytest

from reach.runtime import connection
from reach.runtime.server import listen
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.http import raw
from tests.support.http.clients import CHUNKED, JSON, LIVEZ, Caller, calling, is_open
from tests.support.http.serving import Serving
from tests.support.processes.reach import change_services

#: It has 1.7 MB.
LONG_FILE = "swagger-ui-bundle.js"
HALF = LIVEZ[:-2]
SHORT, LONG = 0.3, 60
#: A chunk with more than any body may have: what it is part of is not waited for.
LARGE = b"11000\r\n%s\r\n" % (b"a" * 0x11000)


def has_ended(caller: Caller) -> bool:
    """Whether Reach has hung up."""
    return not caller.is_held


async def trickle(caller: Caller, piece: bytes) -> None:
    """Send a piece now and then, for as long as it is taken."""
    while not caller.writer.transport.is_closing():
        caller.writer.write(piece)
        await anyio.sleep(SHORT / 6)


def test_the_times_are_settings() -> None:
    """Half a minute for a head; longer than most proxies' between requests, up to an hour."""
    settings = Settings()
    assert settings.head_seconds == 30
    assert settings.keep_alive_seconds == 75
    assert Settings(keep_alive_seconds=3600).keep_alive_seconds == 3600
    with pytest.raises(ValueError, match="keep_alive_seconds"):
        Settings(keep_alive_seconds=3601)


async def test_who_says_nothing_is_left_without_a_word(serving: Serving) -> None:
    """There is nobody to answer."""
    reach = await serving(head_seconds=SHORT)
    async with calling(reach.settings.port) as caller:
        assert await caller.rest() == b""


@pytest.mark.parametrize("beginning", [b"G", HALF, LIVEZ + b"G", LIVEZ + HALF])
async def test_a_head_that_does_not_come_whole_is_a_408(
    serving: Serving, beginning: bytes, told: Callable[[], str]
) -> None:
    """The first one, or the next; without a line of the log."""
    reach = await serving(head_seconds=SHORT)
    async with calling(reach.settings.port) as caller:
        caller.send(beginning)
        if beginning.startswith(LIVEZ):
            assert (await caller.answer()).status == 200
        heard = told()
        assert (await caller.refusal()).status == 408
        assert told() == heard


@pytest.mark.parametrize("piece", [b"\r\n", b"\n"])
async def test_empty_lines_are_no_request(serving: Serving, piece: bytes) -> None:
    """Few may come before one, but they give nobody more time."""
    reach = await serving(head_seconds=SHORT)
    async with calling(reach.settings.port) as caller, anyio.create_task_group() as group:
        group.start_soon(trickle, caller, piece)
        assert (await caller.rest())[:12] in {b"", b"HTTP/1.1 408", b"HTTP/1.1 400"}
        group.cancel_scope.cancel()


@pytest.mark.parametrize("piece", [b"a", b"a:b\r\n"])
async def test_a_head_that_trickles_is_a_408(serving: Serving, piece: bytes) -> None:
    """Each byte more is no time more."""
    reach = await serving(head_seconds=SHORT)
    async with (
        calling(reach.settings.port) as caller,
        anyio.create_task_group() as group,
    ):
        caller.send(HALF)
        group.start_soon(trickle, caller, piece)
        assert (await caller.answer()).status == 408
        await eventually(lambda: not caller.is_held)
        group.cancel_scope.cancel()


async def test_who_had_an_answer_has_another_time_for_the_next_request(serving: Serving) -> None:
    """Who was answered may say nothing for longer than a head may take, and for no longer."""
    reach = await serving(head_seconds=SHORT, keep_alive_seconds=LONG)
    async with calling(reach.settings.port) as kept:
        assert (await kept.get()).status == 200
        async with calling(reach.settings.port) as silent:
            assert await silent.rest() == b""
        assert (await kept.get()).status == 200


async def test_a_kept_connection_ends_without_a_word(serving: Serving) -> None:
    """After REACH_KEEP_ALIVE_SECONDS: a 408 would be taken for the next request's answer."""
    reach = await serving(keep_alive_seconds=SHORT)
    async with calling(reach.settings.port) as caller:
        for _ in range(3):
            assert (await caller.get()).status == 200
        assert await caller.rest() == b""


async def test_a_kept_connection_does_not_age(serving: Serving) -> None:
    """Each request begins the time again: in many times that time it is not ended once."""
    reach = await serving(keep_alive_seconds=1.5, head_seconds=1.5)
    async with calling(reach.settings.port) as caller:
        ends_at = time.monotonic() + 2 * 1.5

        async def asked_to_the_end() -> bool:
            assert (await caller.get()).status == 200
            return time.monotonic() > ends_at

        await eventually(asked_to_the_end, every=0.05)


async def test_an_answer_may_take_its_time(serving: Serving) -> None:
    """These are the caller's times, not ours: what Reach works on is not hung up on."""
    reach = await serving(head_seconds=SHORT, keep_alive_seconds=SHORT)
    async with calling(reach.settings.port) as patient:
        patient.send(raw.request("/waiting", method="GET"))
        for _ in range(2):
            async with calling(reach.settings.port) as silent:
                assert await silent.rest() == b""
        reach.app.state.gate.set()
        assert (await patient.answer()).status == 200
        assert await patient.rest() == b""


async def test_what_is_left_of_a_body_is_not_waited_for_for_ever(serving: Serving) -> None:
    """It was refused; who goes on sending it, or stops in the middle, is left in time."""
    reach = await serving()
    change_services(reach.app, body_seconds=SHORT)
    for how, first, piece in (
        ("Content-Length: 70000", b"a", b"a"),
        (CHUNKED, LARGE, b"1\r\na\r\n"),
    ):
        for is_trickling in (False, True):
            async with (
                calling(reach.settings.port) as caller,
                anyio.create_task_group() as group,
            ):
                caller.send(raw.request("/nowhere", JSON, how, body=first))
                assert (await caller.answer()).status == 404
                if is_trickling:
                    group.start_soon(trickle, caller, piece)
                await eventually(partial(has_ended, caller))
                group.cancel_scope.cancel()


async def test_what_is_left_of_a_body_is_thrown_away(serving: Serving) -> None:
    """And the connection goes on."""
    reach = await serving()
    async with calling(reach.settings.port) as caller:
        for how, body in (
            ("Content-Length: 200000", b"a" * 200_000),
            (CHUNKED, LARGE * 3 + b"0\r\n\r\n"),
        ):
            caller.send(raw.request("/nowhere", JSON, how), body[:70_000])
            assert (await caller.answer()).status == 404
            caller.send(body[70_000:])
            assert (await caller.get()).status == 200


async def test_who_does_not_take_answers_is_left(serving: Serving) -> None:
    """After REACH_HEAD_SECONDS in which not a byte was taken; what is for others goes on."""
    reach = await serving(head_seconds=SHORT)
    ask = raw.request(reach.app.state.services.pages.asset(LONG_FILE), method="GET")
    async with calling(reach.settings.port, buffer_bytes=2048) as greedy:
        greedy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        greedy.send(ask * 16)
        await eventually(lambda: not is_open(os.getpid(), greedy), seconds=20, every=0.5)
    async with calling(reach.settings.port) as other:
        assert (await other.get()).status == 200


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system take little of an answer off our hands, as it does on a slow line."""

    def listen_with_small_buffers(settings: Settings) -> socket.socket:
        listener = listen(settings)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return listener

    monkeypatch.setattr("tests.support.processes.reach.listen", listen_with_small_buffers)


@pytest.mark.usefixtures("small_buffers")
@pytest.mark.parametrize("lines", [[], ["Connection: close"]], ids=["kept", "last"])
async def test_who_takes_a_long_answer_slowly_gets_all_of_it(
    serving: Serving, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes, as long as it goes on."""
    monkeypatch.setattr(connection, "LINGER_SECONDS", SHORT)
    reach = await serving(head_seconds=SHORT)
    ask = raw.request(reach.app.state.services.pages.asset(LONG_FILE), *lines, method="GET")
    async with calling(reach.settings.port, buffer_bytes=65536) as phone:
        phone.send(ask)
        head = (await phone.reader.readuntil(b"\r\n\r\n")).decode()
        left = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        while left > 0:
            piece = await phone.reader.read(65536)
            assert piece, left
            left -= len(piece)
            await anyio.sleep(0.12)


@pytest.mark.usefixtures("small_buffers")
@pytest.mark.parametrize(
    "half",
    [b"", HALF, raw.request("/v1/signups", JSON, "Content-Length: 9", body=b"{")],
    ids=["nothing", "half a head", "half a body"],
)
async def test_who_hung_up_and_takes_no_answer_is_left(serving: Serving, half: bytes) -> None:
    """Its own half is closed; what is written already is little, and is not taken."""
    reach = await serving(head_seconds=SHORT, keep_alive_seconds=SHORT)
    change_services(reach.app, body_seconds=SHORT)
    async with calling(reach.settings.port, buffer_bytes=2048) as greedy:
        greedy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(6):
            greedy.send(LIVEZ * 16)
            await anyio.sleep(0.05)
        greedy.send(half)
        await anyio.sleep(0.05)
        greedy.writer.write_eof()
        await eventually(lambda: not is_open(os.getpid(), greedy), seconds=8, every=0.5)
