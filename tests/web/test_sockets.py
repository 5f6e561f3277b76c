"""Bodies as hostile clients send them: byte by byte, with headers that lie, and cut off."""

import json
from collections.abc import Callable

import anyio
import psutil
import pytest

from tests.support.clock import eventually
from tests.support.http import raw
from tests.support.http.bodies import CANARY, sign_up
from tests.support.processes.commands import api_process
from tests.support.processes.ports import free_port
from tests.support.processes.reach import Reach, change_services, messages_of

JSON = "Content-Type: application/json"
MB = 1_000_000

#: What is not HTTP at all; two readers could read it differently.
NOT_HTTP = {
    "a negative length": ["Content-Length: -1"],
    "a length in words": [f"Content-Length: {CANARY}"],
    "a length in other digits": ["Content-Length: \xb2"],
    "a length that no machine holds": ["Content-Length: " + "9" * 400],
    "a length twice": ["Content-Length: 2", "Content-Length: 2"],
    "two lengths": ["Content-Length: 2", "Content-Length: 3"],
    "a length and chunks": ["Content-Length: 2", "Transfer-Encoding: chunked"],
    "no header": [CANARY],
}


async def people_of(reach: Reach) -> list[str]:
    """The names of everybody stored."""
    answer = await reach.http.get("/v1/people", headers=await reach.key())
    return [person["name"] for person in answer.json()["items"]]


@pytest.mark.parametrize("headers", NOT_HTTP.values(), ids=NOT_HTTP)
async def test_what_is_not_http_is_a_400(reach: Reach, headers: list[str]) -> None:
    """It is refused before anybody reads a body, and stores nothing."""
    sent = raw.request("/v1/signups", JSON, *headers, body=sign_up())
    answer = await raw.exchange(reach.settings.port, sent)
    assert answer.status == 400
    assert CANARY.encode() not in answer.body
    assert await people_of(reach) == []


async def test_a_413_comes_before_the_body(reach: Reach) -> None:
    """A client that asks first (`Expect: 100-continue`) is told so before it sends any."""
    sent = raw.request("/v1/signups", JSON, "Content-Length: 60000000", "Expect: 100-continue")
    answer = await raw.exchange(reach.settings.port, sent)
    assert (answer.status, json.loads(answer.body)["status"]) == (413, 413)


async def test_a_sign_up_in_pieces_is_a_sign_up(reach: Reach) -> None:
    """Chunks of one byte each, and a client that asks first."""
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in sign_up()) + b"0\r\n\r\n"
    sent = raw.request("/v1/signups", JSON, "Transfer-Encoding: chunked", body=chunks)
    assert (await raw.exchange(reach.settings.port, sent)).status == 202
    length = f"Content-Length: {len(sign_up())}"
    asked = raw.request("/v1/signups", JSON, length, "Expect: 100-continue")
    async with raw.connection(reach.settings.port) as (reader, writer):
        writer.write(asked)
        assert (await raw.read_answer(reader)).status == 100
        writer.write(sign_up())
        assert (await raw.read_answer(reader)).status == 202
    assert len(await people_of(reach)) == 1


async def test_a_body_that_trickles_is_a_408(reach: Reach) -> None:
    """A byte now and then holds a connection no longer than the limit."""
    change_services(reach.app, body_seconds=0.2)
    for how, part in (("Content-Length: 200", b"{"), ("Transfer-Encoding: chunked", b"1\r\n{\r\n")):
        async with raw.connection(reach.settings.port) as (reader, writer):
            writer.write(raw.request("/v1/signups", JSON, how, body=part))
            answer = await raw.read_answer(reader)
            assert (answer.status, json.loads(answer.body)["status"]) == (408, 408)
            assert await reader.read() == b""  # it hung up
    assert await people_of(reach) == []


@pytest.mark.parametrize("expects", [True, False])
async def test_half_a_sign_up_is_none(reach: Reach, told: Callable[[], str], expects: bool) -> None:
    """Who leaves in the middle has not signed up; and it is no crash of ours.

    It is a line of the log if the application was asked whether to go on; else it was told nothing.
    """
    headers = (JSON, "Content-Length: 200", *(["Expect: 100-continue"] if expects else []))
    half = raw.request("/v1/signups", *headers, body=sign_up())
    async with raw.connection(reach.settings.port) as (_, writer):
        writer.write(half)
        await writer.drain()
        await reach.http.get("/livez")
    if expects:
        await eventually(lambda: '"status_code":499' in told())
    await reach.http.get("/livez")
    assert "crashed" not in told()
    assert ("/v1/signups" in told()) == expects
    assert await people_of(reach) == []
    assert await messages_of(reach) == []


@pytest.mark.parametrize("announced", [True, False])
async def test_a_large_body_is_not_kept(reach: Reach, announced: bool) -> None:
    """The 413 comes at once; and while 60 MB keep coming, the process grows by none of it."""
    with api_process(reach.settings, port=free_port()) as api:
        port = int(api.environment["REACH_PORT"])
        process = psutil.Process(api.pid)
        before = process.memory_info().rss
        how = f"Content-Length: {60 * MB}" if announced else "Transfer-Encoding: chunked"
        chunk = b"x" * MB if announced else b"%x\r\n%s\r\n" % (MB, b"x" * MB)
        async with raw.connection(port) as (reader, writer):
            writer.write(raw.request("/v1/signups", JSON, how))
            writer.write(chunk)
            answer = await raw.read_answer(reader)
            assert (answer.status, json.loads(answer.body)["status"]) == (413, 413)
            largest = 0
            for _ in range(59):
                writer.write(chunk)
                with anyio.fail_after(raw.SECONDS):
                    await writer.drain()
                largest = max(largest, process.memory_info().rss)
        assert largest - before < 15 * MB
