"""How long a body is: told once, in a way that all readers know."""

import json

import pytest

from tests.support.http import raw
from tests.support.http.clients import CHUNKED, LIVEZ, calling
from tests.support.processes.reach import Reach

FIVE = b"5\r\nhello\r\n0\r\n\r\n"


def coded(*values: str, version: str = "1.1") -> bytes:
    """Write a POST with so many Transfer-Encoding lines."""
    lines = [f"Transfer-Encoding:{value}" for value in values]
    return raw.head([f"POST /seen HTTP/{version}", "Host: localhost", *lines]) + FIVE


@pytest.mark.parametrize("value", [" chunked", "chunked", " Chunked ", "\tCHUNKED"])
async def test_chunks_are_understood(served: Reach, value: str) -> None:
    """However the word is written; and what follows is the next request."""
    async with calling(served.settings.port) as caller:
        caller.send(coded(value) + LIVEZ)
        answer = await caller.answer()
        assert (answer.status, json.loads(answer.body)["body"]) == (200, "hello")
        assert (await caller.answer()).status == 200


@pytest.mark.parametrize(
    "values",
    [
        [" gzip"],
        [" gzip, chunked"],
        [" gzip", " chunked"],
        [" identity"],
        [" xchunked"],
        [" chunkedx"],
        [" chunked;a=b"],
        [' "chunked"'],
        [" ,chunked"],
    ],
    ids=repr,
)
async def test_every_other_coding_is_unknown(served: Reach, values: list[str]) -> None:
    """501 (RFC 9112 §6.1); nothing behind it is read."""
    async with calling(served.settings.port) as caller:
        caller.send(coded(*values) + LIVEZ)
        assert (await caller.refusal()).status == 501


@pytest.mark.parametrize(
    "values",
    [
        [" chunked, gzip"],
        [" chunked, chunked"],
        [" chunked", " chunked"],
        [" chunked", " identity"],
        [" chunked,"],
        [" chunked\t"],
        [""],
        [" \x0bchunked"],
    ],
    ids=repr,
)
async def test_a_body_without_a_known_end_is_refused(served: Reach, values: list[str]) -> None:
    """Chunks in something else, or twice (RFC 9112 §6.3): nothing behind it is read."""
    async with calling(served.settings.port) as caller:
        caller.send(coded(*values) + LIVEZ)
        assert (await caller.refusal()).status in {400, 501}


async def test_http_1_0_has_no_codings(served: Reach) -> None:
    """A proxy of that time would take its body to end elsewhere (RFC 9112 §6.1)."""
    async with calling(served.settings.port) as caller:
        caller.send(coded(" chunked", version="1.0") + LIVEZ)
        assert (await caller.refusal()).status == 400


@pytest.mark.parametrize("length", ["5", "0", "15", "x"])
@pytest.mark.parametrize("is_first", [True, False])
async def test_both_lengths_are_none(served: Reach, length: str, is_first: bool) -> None:
    """Whichever comes first."""
    lines = [CHUNKED, f"Content-Length: {length}"]
    lines = lines[::-1] if is_first else lines
    async with calling(served.settings.port) as caller:
        caller.send(raw.request("/seen", *lines, body=FIVE) + LIVEZ)
        assert (await caller.refusal()).status == 400


async def test_a_body_in_the_smallest_pieces(served: Reach) -> None:
    """Chunks of a byte, packets of a byte; and a head in packets of a byte."""
    text = b'{"hello": "' + b"o" * 50 + b'"}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in text) + b"0\r\n\r\n"
    for request in (
        raw.request("/seen", CHUNKED, body=chunks),
        raw.request("/seen", f"Content-Length: {len(text)}", body=text),
    ):
        async with calling(served.settings.port) as caller:
            await caller.send_apart(request[at : at + 1] for at in range(len(request)))
            answer = await caller.answer()
            assert (answer.status, json.loads(answer.body)["body"]) == (200, text.decode())
            assert (await caller.get()).status == 200


async def test_many_chunks_are_no_problem(served: Reach) -> None:
    """Sixty thousand of one byte each, in packets of 64 KiB: a body of 60 KB."""
    request = raw.request("/seen", CHUNKED, body=b"1\r\na\r\n" * 60_000 + b"0\r\n\r\n")
    async with calling(served.settings.port) as caller:
        caller.send(request)
        assert len(json.loads((await caller.answer()).body)["body"]) == 60_000
