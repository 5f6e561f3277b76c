"""What worked goes on working: HEAD, HTTP/1.0, a body on request, one connection for much."""

import json

import pytest

from tests.support.http import raw
from tests.support.http.clients import JSON, LIVEZ, calling
from tests.support.processes.reach import Reach

SIGN_UP = b'{"email": "still@example.com", "name": "Grace"}'


async def test_head_has_no_body(served: Reach) -> None:
    """And what follows it is the next answer."""
    async with calling(served.settings.port) as caller:
        caller.send(raw.request("/", method="HEAD") + LIVEZ)
        head = (await caller.reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 200")
        assert (await caller.answer()).status == 200


@pytest.mark.parametrize("lines", [[], ["Connection: keep-alive"], ["Connection: close"]])
async def test_http_1_0_is_answered(served: Reach, lines: list[str]) -> None:
    """It ends, unless it was asked to stay and says so."""
    async with calling(served.settings.port) as caller:
        caller.send(raw.head(["GET /livez HTTP/1.0", "Host: localhost", *lines]))
        answer = await caller.answer()
        assert answer.status == 200
        if answer.headers.get("connection") != "keep-alive":
            assert await caller.rest() == b""
        else:
            assert lines == ["Connection: keep-alive"]
            assert (await caller.get()).status == 200


async def test_a_post_of_http_1_0_is_a_sign_up(served: Reach) -> None:
    """With a length, of course."""
    lines = ["POST /v1/signups HTTP/1.0", JSON, f"Content-Length: {len(SIGN_UP)}"]
    async with calling(served.settings.port) as caller:
        caller.send(raw.head(lines) + SIGN_UP)
        assert (await caller.answer()).status == 202
        assert await caller.rest() == b""


async def test_nobody_is_told_to_go_on_in_http_1_0(served: Reach) -> None:
    """There, a 100 would be taken for the answer."""
    lines = ["POST /v1/signups HTTP/1.0", JSON, f"Content-Length: {len(SIGN_UP)}"]
    async with calling(served.settings.port) as caller:
        caller.send(raw.head([*lines, "Expect: 100-continue"]), SIGN_UP)
        assert (await caller.answer()).status == 202
        assert await caller.rest() == b""


async def test_who_asks_first_is_told_to_go_on(served: Reach) -> None:
    """Twice on one connection; and who does not wait for the word is not told twice."""
    head = raw.request(
        "/v1/signups", JSON, f"Content-Length: {len(SIGN_UP)}", "Expect: 100-continue"
    )
    async with calling(served.settings.port) as caller:
        for _ in range(2):
            caller.send(head)
            assert (await caller.answer()).status == 100
            caller.send(SIGN_UP)
            assert (await caller.answer()).status == 202
        caller.send(head + SIGN_UP)
        found = [(await caller.answer()).status]
        if found == [100]:
            found.append((await caller.answer()).status)
        assert found[-1] == 202
        assert (await caller.get()).status == 200


async def test_who_asks_first_is_refused_first(served: Reach) -> None:
    """Without having sent a body; and the connection is of use, or ends."""
    for path, length, status in (("/nowhere", 5, 404), ("/v1/signups", 10**7, 413)):
        head = raw.request(path, JSON, f"Content-Length: {length}", "Expect: 100-continue")
        async with calling(served.settings.port) as caller:
            caller.send(head)
            assert (await caller.answer()).status == status


async def test_a_body_where_none_is_read_is_no_request(served: Reach) -> None:
    """GET and DELETE may have one."""
    for method in ("GET", "DELETE", "HEAD"):
        body = raw.request("/seen?inner", method="GET")
        async with calling(served.settings.port) as caller:
            caller.send(
                raw.request("/livez", f"Content-Length: {len(body)}", method=method, body=body)
            )
            caller.send(raw.request("/seen?next", method="GET"))
            first = (await caller.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            if method != "HEAD":
                length = int(first.lower().split("content-length: ")[1].split("\r\n")[0])
                await caller.reader.readexactly(length)
            assert json.loads((await caller.answer()).body)["query"] == "next"


async def test_hundreds_of_requests_on_one_connection(served: Reach) -> None:
    """One after another."""
    async with calling(served.settings.port) as caller:
        for _ in range(300):
            assert (await caller.get()).status == 200


async def test_who_has_said_all_is_answered(served: Reach) -> None:
    """Some callers close their half of the connection behind the request."""
    async with calling(served.settings.port) as caller:
        caller.send(LIVEZ)
        caller.writer.write_eof()
        assert (await caller.answer()).status == 200
        assert await caller.rest() == b""
