"""An answer's head and body leave in one piece: who is killed leaves all of it, or nothing."""

import pytest

from tests.support.http import raw
from tests.support.http.clients import JSON, calling
from tests.support.http.pieces import noting_pieces
from tests.support.http.raw import head, request
from tests.support.processes.reach import Reach

SIGN_UP, TYPED = b'{"email": "ada@example.com", "name": "Ada"}', b"email=nobody&name=Ada"
FORM = "Content-Type: application/x-www-form-urlencoded"
ASKED = {
    "a page": (200, request("/", method="GET")),
    "a page, and then no more": (200, request("/", "Connection: close", method="GET")),
    "a page in HTTP/1.0": (200, head(["GET / HTTP/1.0", "Host: localhost"])),
    "the first page of the API": (200, request("/docs", method="GET")),
    "no page": (404, request("/none", "Accept: text/html", method="GET")),
    "no path of the API": (404, request("/v1/none", method="GET")),
    "a sign-up": (202, request("/v1/signups", JSON, f"Content-Length: {len(SIGN_UP)}") + SIGN_UP),
    "a refused form": (422, request("/", FORM, f"Content-Length: {len(TYPED)}") + TYPED),
}


@pytest.mark.parametrize("case", ASKED)
async def test_an_answer_is_one_piece(served: Reach, case: str) -> None:
    """Whatever is asked, and however the connection goes on."""
    status, asked = ASKED[case]
    with noting_pieces() as pieces:
        answer = await raw.exchange(served.settings.port, asked)
    assert answer.status == status
    (piece,) = pieces
    assert piece.endswith(b"\r\n\r\n" + answer.body)


async def test_a_head_alone_waits_for_nothing(served: Reach) -> None:
    """Nothing follows it but the next answer, which is a piece of its own."""
    with noting_pieces() as pieces:
        async with calling(served.settings.port) as caller:
            for path in ("/", "/livez"):
                caller.send(request(path, method="HEAD"))
                await caller.reader.readuntil(b"\r\n\r\n")
            assert (await caller.get("/")).status == 200
    assert [piece.endswith(b"\r\n\r\n") for piece in pieces] == [True, True, False]
