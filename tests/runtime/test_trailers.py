"""Fields after a body are nobody's headers (RFC 9110 §6.5.1)."""

import json

import pytest

from tests.support.http import raw
from tests.support.http.clients import CHUNKED, JSON, LIVEZ, calling
from tests.support.http.serving import Serving, close_gate
from tests.support.processes.reach import Reach

MOST, MOST_FIELDS = 32 * 1024, 128
#: A chunk with more than any body may have.
LARGE = b"11000\r\n%s\r\n" % (b"a" * 0x11000)
SIGN_UP = b'{"email": "%s@example.com", "name": "Grace"}'
#: None of these may come to anybody's mind as a header.
FIELDS = [
    "X-Forwarded-For: 192.0.2.1",
    "Authorization: Bearer of-somebody",
    "Host: other.example",
    "Content-Type: text/plain",
    "Content-Length: 3",
    "Cookie: session=of-somebody",
    "X-Request-Id: of-somebody",
    "Idempotency-Key: of-somebody",
    "Origin: https://other.example",
    "Connection: close",
    "Made-Up: 1",
]


def chunked(body: bytes, *trailers: str) -> bytes:
    """Write a body of one chunk, and what follows it."""
    return b"%x\r\n%s\r\n0\r\n" % (len(body), body) + raw.head(trailers)


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "in packets"])
@pytest.mark.parametrize("field", FIELDS)
async def test_a_trailer_is_no_header(served: Reach, field: str, apart: bool) -> None:
    """Not for the request that it ends, nor for the next one."""
    name, _, value = field.partition(": ")
    head = raw.request("/seen", JSON, CHUNKED)
    body = chunked(b"{}", field)
    next_one = raw.request("/seen?next", method="GET")
    async with calling(served.settings.port) as caller:
        await caller.send_apart([head, body, next_one] if apart else [head + body + next_one])
        for query in ("", "next"):
            answer = await caller.answer()
            if name in {"Content-Length", "Connection"} and answer.headers.get("connection"):
                assert await caller.rest() == b""  # forbidden there: it may be refused, or heeded
                return
            seen = json.loads(answer.body)
            assert seen["query"] == query
            found = [v for n, v in seen["headers"] if n == name.lower()]
            assert value not in found


async def test_a_trailer_makes_nobody_another_client(serving: Serving) -> None:
    """Who has used up the limit cannot say in a trailer that somebody else asks."""
    reach = await serving(limit_signups="3/hour")
    async with calling(reach.settings.port) as caller:
        statuses = []
        for number in range(6):
            body = chunked(SIGN_UP % b"t%d" % number, f"X-Forwarded-For: 192.0.2.{number}")
            caller.send(raw.request("/v1/signups", JSON, CHUNKED, body=body))
            statuses.append((await caller.answer()).status)
    assert statuses == [202] * 3 + [429] * 3


async def test_a_key_in_a_trailer_opens_nothing(serving: Serving) -> None:
    """Nor does a type there make of a body what it is not."""
    reach = await serving()
    async with calling(reach.settings.port) as caller:
        key = (await reach.key())["Authorization"]
        for trailer, lines, status in (
            (f"Authorization: {key}", [JSON], 401),
            (JSON, [f"Authorization: {key}"], 415),
            (JSON, [f"Authorization: {key}", "Content-Type: text/plain"], 415),
            ("If-Match: 1", [JSON, f"Authorization: {key}"], 201),
        ):
            body = chunked(SIGN_UP % b"trailing", trailer)
            caller.send(raw.request("/v1/people", *lines, CHUNKED, body=body))
            assert (await caller.answer()).status == status


async def test_a_few_trailers_are_passed_over(served: Reach) -> None:
    """Checksums, signatures: the sign-up is one, and the connection goes on."""
    body = chunked(SIGN_UP % b"few", "Digest: sha-256=abc", "Server-Timing: a;dur=1")
    async with calling(served.settings.port) as caller:
        caller.send(raw.request("/v1/signups", JSON, CHUNKED, body=body) + LIVEZ)
        assert [(await caller.answer()).status for _ in range(2)] == [202, 200]


@pytest.mark.parametrize(
    "end",
    [
        b"0\r\nx: " + b"a" * MOST,
        b"0\r\n" + b"a" * MOST,
        b"0\r\n" + b"a:b\r\n" * (MOST // 5),
        b"0;" + b"a" * MOST,
        b"1;" + b"a=b;" * (MOST // 4),
    ],
    ids=["a line", "a name", "many lines", "a last chunk's note", "a chunk's note"],
)
async def test_more_than_a_head_of_trailers_is_refused(served: Reach, end: bytes) -> None:
    """431 and the end; or the end alone, if the answer is out."""
    for path in ("/seen", "/nowhere"):
        async with calling(served.settings.port) as caller:
            caller.send(raw.request(path, JSON, CHUNKED, body=b"1\r\na\r\n"))
            if path == "/nowhere":
                caller.send(LARGE)  # this is not waited for
                assert (await caller.answer()).status == 404
            await caller.pour(end, len(end))
            await caller.pour(b"a" * 4096, 100_000)
            said = await caller.rest()
            assert said[:13] == (b"HTTP/1.1 431 " if path == "/seen" else b"")


@pytest.mark.parametrize(("count", "status"), [(MOST_FIELDS, 200), (MOST_FIELDS + 1, 431)])
async def test_so_many_trailers_are_passed_over_and_one_more_is_not(
    served: Reach, count: int, status: int
) -> None:
    """However short they are: each costs. As of headers."""
    async with calling(served.settings.port) as caller:
        body = chunked(b"a", *["a: b"] * count)
        caller.send(raw.request("/seen", CHUNKED, body=body))
        assert (await caller.answer()).status == status


async def test_trailers_count_from_the_first(served: Reach) -> None:
    """Those that come in one packet with the body, too."""
    half = [f"x: {'a' * (MOST // 32)}"] * 20
    body = chunked(b"a", *half, *half)
    cut = len(body) // 2
    async with calling(served.settings.port) as caller:
        parts = raw.request("/seen", CHUNKED, body=body[:cut]), body[cut:]
        await caller.send_apart(parts)
        assert (await caller.answer()).status == 431
        assert await caller.rest() == b""


async def test_notes_of_chunks_do_not_add_up_to_a_refusal(served: Reach) -> None:
    """Each may be a small one: some senders sign every chunk."""
    piece = b"1;chunk-signature=" + b"a" * 64 + b"\r\nb\r\n"
    async with calling(served.settings.port) as caller:
        caller.send(raw.request("/seen", CHUNKED, body=piece * 300 + b"0\r\n\r\n"))
        answer = await caller.answer()
    assert answer.status == 200
    assert json.loads(answer.body)["body"] == "b" * 300


async def test_who_says_late_that_it_was_the_last_is_believed(served: Reach) -> None:
    """What comes behind it in one packet is passed over, though the answer is long gone."""
    close_gate(served)
    async with calling(served.settings.port) as caller:
        caller.send(raw.request("/nowhere", JSON, CHUNKED), LARGE)
        assert (await caller.answer()).status == 404
        caller.send(b"0\r\nConnection: close\r\n\r\n" + raw.request("/waiting", method="GET"))
        assert await caller.rest() == b""
    async with calling(served.settings.port) as other:  # by then, what was to be begun had begun
        assert (await other.get()).status == 200
    assert served.app.state.waiting == 0
