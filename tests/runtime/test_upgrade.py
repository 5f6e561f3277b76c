"""Who asks for another protocol gets this one, body and all."""

import json
import shutil
import subprocess
from collections.abc import Callable

import anyio
import pytest

from tests.support.http import raw
from tests.support.http.clients import CHUNKED, H2C, JSON, LIVEZ, calling
from tests.support.processes.reach import Reach

WEBSOCKET = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
OTHERS = ("Connection: upgrade", "Upgrade: TLS/1.0, something/2")
ASKING = {"h2c": H2C, "websocket": WEBSOCKET, "others": OTHERS}


@pytest.mark.parametrize("lines", ASKING.values(), ids=ASKING)
@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunks", "length"])
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "in packets"])
async def test_the_body_is_read_and_the_connection_goes_on(
    served: Reach, lines: tuple[str, ...], is_chunked: bool, apart: bool, told: Callable[[], str]
) -> None:
    """In one packet or in several; so is the next request, which may ask again."""
    body = b"5\r\nhello\r\n0\r\n\r\n" if is_chunked else b"hello"
    how = CHUNKED if is_chunked else "Content-Length: 5"
    head = raw.request("/seen", *lines, how)
    async with calling(served.settings.port) as caller:
        for number in range(2):
            parts = [head, body[:2], body[2:], LIVEZ]
            await caller.send_apart(parts if apart else [b"".join(parts)])
            answer = await caller.answer()
            assert answer.status == 200, (number, answer)
            assert json.loads(answer.body)["body"] == "hello"
            assert "upgrade" not in answer.headers
            assert (await caller.answer()).status == 200
    assert "warning" not in told()


@pytest.mark.parametrize("lines", ASKING.values(), ids=ASKING)
async def test_a_get_that_asks_is_answered(served: Reach, lines: tuple[str, ...]) -> None:
    """And so is whatever follows, in the same packet."""
    async with calling(served.settings.port) as caller:
        caller.send(raw.request("/seen", *lines, method="GET") * 3 + LIVEZ)
        assert [(await caller.answer()).status for _ in range(4)] == [200] * 4


REFUSED = {
    "two hosts": (raw.request("/seen", *H2C, "Host: other", method="GET"), [400]),
    "gzip": (raw.request("/seen", *H2C, "Transfer-Encoding: gzip, chunked"), [501]),
    "junk behind": (raw.request("/livez", *H2C, method="GET") + b"junk\r\n\r\n", [200, 400]),
    "junk behind both": (
        LIVEZ + raw.request("/livez", *H2C, method="GET") + b"\0",
        [200, 200, 400],
    ),
    "sixty": (raw.request("/livez", *H2C, method="GET") * 60, [200] * 17),
}


@pytest.mark.parametrize(("sent", "statuses"), REFUSED.values(), ids=REFUSED)
async def test_who_asks_is_refused_as_others_are(
    served: Reach, sent: bytes, statuses: list[int], told: Callable[[], str]
) -> None:
    """With the same answers, and no line of the log: a stranger could fill it."""
    async with calling(served.settings.port) as caller:
        caller.send(sent)
        assert [answer.status for answer in await caller.answers()] == statuses
    assert '"error"' not in told()


async def test_connect_is_no_way_to_anywhere(served: Reach) -> None:
    """A tunnel is refused, and what would go through it is not read as a request."""
    lines = ["CONNECT localhost:80 HTTP/1.1", "Host: localhost:80"]
    async with calling(served.settings.port) as caller:
        caller.send(raw.head(lines) + b"hello, you there\r\n\r\n")
        answers = await caller.answers()
    assert 400 <= answers[0].status < 502
    assert all(answer.status >= 400 for answer in answers)


@pytest.mark.parametrize("expects", [[], ["-H", "Expect: 100-continue"]])
async def test_curl_that_prefers_http_2_signs_up(served: Reach, expects: list[str]) -> None:
    """Twice over one connection."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl on the PATH")
    url = f"http://127.0.0.1:{served.settings.port}/v1/signups"
    one = [
        *("--http2", "--silent", "--show-error", "--max-time", "15", "--noproxy", "*"),
        *("--header", JSON, *expects, "--write-out", "\n%{http_version} %{http_code}\n"),
        *("--data", '{"email": "curl@example.com", "name": "Grace"}', url),
    ]
    command = [curl, "--disable", *one, "--next", *one]
    done = await anyio.run_process(command, check=False, stderr=subprocess.STDOUT)
    said = done.stdout.decode().splitlines()
    assert [line for line in said if line.startswith("1.1 ")] == ["1.1 202", "1.1 202"], said
