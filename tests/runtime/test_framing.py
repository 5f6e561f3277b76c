"""What is no HTTP is an error with a name; what is nearly none is never a crash, nor two things."""

import json
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from tests.support.http import raw
from tests.support.http.clients import CHUNKED, JSON, LIVEZ, calling
from tests.support.processes.reach import Reach

GET = b"GET /seen HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /seen HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % JSON.encode()


def line(text: str) -> bytes:
    """A GET with one line more in its head."""
    return GET + text.encode("latin-1") + b"\r\n\r\n"


def length(text: str) -> bytes:
    """A POST of five bytes that says its length so."""
    return POST + b"Content-Length:" + text.encode("latin-1") + b"\r\n\r\nhello"


def asking(text: str) -> bytes:
    """A request of this first line."""
    return text.encode("latin-1") + b"\r\nHost: localhost\r\n\r\n"


def chunks(text: str) -> bytes:
    """A POST of chunks."""
    return POST + CHUNKED.encode() + b"\r\n\r\n" + text.encode("latin-1")


#: Every one of these is a 400 (RFC 9112 §2.2, 3, 5.1, 6.3, 7.1), and the connection ends.
REFUSED = {
    "words": b"hello there\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160),
    "zeros": bytes(200),
    "a target with a space": asking("GET /se en HTTP/1.1"),
    "a target without a slash": asking("GET seen HTTP/1.1"),
    "NUL in the target": asking("GET /se\0en HTTP/1.1"),
    "a method that is no word": asking("G@T /seen HTTP/1.1"),
    "a space before the colon": line("x : a"),
    "a tab before the colon": line("x\t: a"),
    "a space before the length's colon": POST + b"Content-Length : 5\r\n\r\nhello",
    "no colon": line("x"),
    "no name": line(": a"),
    "a space in a name": line("x y: a"),
    "NUL in a name": line("x\0: a"),
    "NUL in a value": line("x: a\0b"),
    "a bare CR in a value": line("x: a\rb"),
    "a bare CR before a field": GET + b"x: a\r\ry: b\r\n\r\n",
    "a name in other letters": line("\xe9: a"),
    "a length of less than none": length(" -1"),
    "a length with a plus": length(" +5"),
    "a length in base 16": length(" 0x5"),
    "a length in two": length(" 5 5"),
    "lengths that differ": length(" 5,6"),
    "a length in words": length(" five"),
    "no length": length(""),
    "a length with a point": length(" 5.0"),
    "2 to the 64th": length(" 18446744073709551616"),
    "5 more than 2 to the 64th": length(" 18446744073709551621"),
    "thirty digits": length(" " + "9" * 30),
    "four thousand digits": length(" " + "9" * 4000),
    "five thousand digits, most of them zeros": length(" " + "0" * 5000 + "5"),
    "two lengths that differ": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "both lengths": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}

#: The same, once the head was good: somebody is reading the body already.
REFUSED_BODIES = {
    "a chunk of less than none": chunks("-1\r\na\r\n0\r\n\r\n"),
    "a chunk with a plus": chunks("+1\r\na\r\n0\r\n\r\n"),
    "a chunk with 0x": chunks("0x1\r\na\r\n0\r\n\r\n"),
    "a chunk of words": chunks("one\r\na\r\n0\r\n\r\n"),
    "a chunk of no size": chunks("\r\na\r\n0\r\n\r\n"),
    "a chunk of 2 to the 68th": chunks("100000000000000001\r\na\r\n0\r\n\r\n"),
    "a chunk that goes on": chunks("1\r\nab\r\n0\r\n\r\n"),
    "a chunk without an end": chunks("1\r\na0\r\n\r\n"),
    "NUL in a trailer": chunks("1\r\na\r\n0\r\nx: \0\r\n\r\n"),
    "a trailer with a space before its colon": chunks("1\r\na\r\n0\r\nx : a\r\n\r\n"),
    "a trailer without a colon": chunks("1\r\na\r\n0\r\nx\r\n\r\n"),
}

#: These may be refused, or understood in the one way that there is. What they are not: a crash,
#: silence, or two answers.
EITHER = {
    "no version": b"GET /seen\r\n\r\n",
    "commas in the host": b"GET /seen HTTP/1.1\r\nHost: a,b\r\n\r\n",
    "a wrong port": b"GET /seen HTTP/1.1\r\nHost: localhost:99999\r\n\r\n",
    "a long host": b"GET /seen HTTP/1.1\r\nHost: %s\r\n\r\n" % (b"a" * 300),
    "version 2": asking("GET /seen HTTP/2.0"),
    "HTTP/2's first words": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 1.2": asking("GET /seen HTTP/1.2"),
    "version 0.9": asking("GET /seen HTTP/0.9"),
    "another protocol": asking("GET /seen RTSP/1.0"),
    "two spaces": asking("GET  /seen HTTP/1.1"),
    "a small method": asking("get /seen HTTP/1.1"),
    "an unknown method": asking("CONJURE /seen HTTP/1.1"),
    "a long method": asking("G" * 1000 + " /seen HTTP/1.1"),
    "CONNECT": asking("CONNECT localhost:80 HTTP/1.1"),
    "CONNECT to a path": asking("CONNECT /seen HTTP/1.1"),
    "OPTIONS of all": asking("OPTIONS * HTTP/1.1"),
    "GET of all": asking("GET * HTTP/1.1"),
    "TRACE": asking("TRACE /seen HTTP/1.1"),
    "a fragment": asking("GET /seen#a HTTP/1.1"),
    "other letters in the target": asking("GET /se\xe9n HTTP/1.1"),
    "half a percent": asking("GET /seen%z HTTP/1.1"),
    "NUL by percent": asking("GET /seen%00 HTTP/1.1"),
    "no UTF-8 by percent": asking("GET /seen%ff HTTP/1.1"),
    "two slashes": asking("GET //seen HTTP/1.1"),
    "dots": asking("GET /../../seen HTTP/1.1"),
    "no host in the target": asking("GET http:// HTTP/1.1"),
    "an empty host in the target": asking("GET http:///seen HTTP/1.1"),
    "a user in the target": asking("GET http://a:b@localhost/seen HTTP/1.1"),
    "a wrong port in the target": asking("GET http://localhost:99999/seen HTTP/1.1"),
    "half of an IPv6 address in the target": asking("GET http://[::1/seen HTTP/1.1"),
    "another scheme": asking("GET ftp://localhost/seen HTTP/1.1"),
    "a scheme that is none": asking("GET javascript:alert HTTP/1.1"),
    "bare line feeds": b"GET /seen HTTP/1.1\nHost: localhost\n\n",
    "one bare line feed": GET + b"x: a\n\r\n",
    "empty lines first": b"\r\n\r\n" + GET + b"\r\n",
    "a folded line": line("x: a\r\n b"),
    "a line that is folded from nothing": line("x:\r\n\tb"),
    "a first line that is folded": b"GET /seen HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "a bell in a value": line("x: a\x07b"),
    "DEL in a value": line("x: a\x7fb"),
    "other letters in a value": line("x: \xe9\xff"),
    "parentheses in a name": line("x(): a"),
    "a length with zeros before it": length(" 00000000000000000000000005"),
    "a length with blanks": length(" \t 5 \t "),
    "a length twice in a line": length(" 5, 5"),
    "a length folded": length("\r\n 5"),
    "a chunk with a blank": chunks("1 \r\na\r\n0\r\n\r\n"),
    "a chunk with a note": chunks('1;a="b\\"c"\r\na\r\n0;d\r\n\r\n'),
    "a chunk with a line feed in its note": chunks("1;a\nb\r\na\r\n0\r\n\r\n"),
    "a chunk with zeros": chunks("0000000000000000000001\r\na\r\n000\r\n\r\n"),
    "chunks and line feeds": chunks("1\na\n0\n\n"),
    "a trailer that is folded": chunks("1\r\na\r\n0\r\nx: a\r\n b\r\n\r\n"),
    "a length in a trailer": chunks("1\r\na\r\n0\r\nContent-Length: 50\r\n\r\n"),
    "a coding in a trailer": chunks("1\r\na\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n"),
    "expecting something else": POST + b"Expect: cookies\r\nContent-Length: 5\r\n\r\nhello",
}


#: Refused by the one reader or the other, but not as a fault of ours.
NOT_OURS = {200, 400, 404, 405, 408, 413, 414, 417, 431, 501, 505}
OTHER = b"GET /seen?another HTTP/1.1\r\nHost: localhost\r\n\r\n"


def unreadable() -> float:
    """How much that is no HTTP has come."""
    return REGISTRY.get_sample_value("reach_http_unreadable_requests_total") or 0


@pytest.mark.parametrize("sample", REFUSED.values(), ids=REFUSED)
async def test_what_is_no_http_is_a_400(
    served: Reach, sample: bytes, told: Callable[[], str]
) -> None:
    """A problem, once, for all that came; it is counted, and no line of the log."""
    heard, before = told(), unreadable()
    async with calling(served.settings.port) as caller:
        caller.send(sample + OTHER)
        assert (await caller.refusal()).status == 400
    assert told() == heard
    assert unreadable() == before + 1


@pytest.mark.parametrize("sample", REFUSED.values(), ids=REFUSED)
async def test_it_is_one_behind_others_too(
    served: Reach, sample: bytes, told: Callable[[], str]
) -> None:
    """After their answers, and no line of the log but theirs."""
    async with calling(served.settings.port) as caller:
        caller.send(LIVEZ + sample + OTHER)
        assert (await caller.answer()).status == 200
        assert (await caller.refusal()).status == 400
    assert '"error"' not in told()


@pytest.mark.parametrize("sample", REFUSED_BODIES.values(), ids=REFUSED_BODIES)
async def test_a_body_that_cannot_be_read_is_a_400(
    served: Reach, sample: bytes, told: Callable[[], str]
) -> None:
    """One answer, and nothing after it."""
    async with calling(served.settings.port) as caller:
        caller.send(sample + OTHER)
        assert (await caller.refusal()).status == 400
    assert "crashed" not in told()


@pytest.mark.parametrize("sample", EITHER.values(), ids=EITHER)
async def test_what_is_nearly_none_has_one_meaning(
    served: Reach, sample: bytes, told: Callable[[], str]
) -> None:
    """An answer, soon, that is no fault of ours; if it is a good one, the next request is too."""
    async with calling(served.settings.port) as caller:
        caller.send(sample)
        answer = await caller.answer()
        assert answer.status in NOT_OURS, answer
        if answer.headers.get("connection") == "close":
            assert await caller.rest() == b""
        elif answer.status == 200:
            caller.send(OTHER)
            assert json.loads((await caller.answer()).body)["query"] == "another"
    assert "crashed" not in told()


async def test_a_folded_line_is_one_value(served: Reach) -> None:
    """Or refused: but never a value run together, nor a field of its own (RFC 9112 §5.2)."""
    async with calling(served.settings.port) as caller:
        caller.send(line("x: a\r\n b: c"))
        answer = await caller.answer()
    if answer.status == 200:
        found = [value for name, value in json.loads(answer.body)["headers"] if name == "x"]
        assert [value.split() for value in found] == [["a", "b:", "c"]]
    else:
        assert answer.status == 400


@pytest.mark.parametrize(
    ("good", "statuses"),
    [
        (LIVEZ, [200]),
        (LIVEZ * 2, [200, 200]),
        (raw.request("/seen", "Content-Length: 5", body=b"hello"), [200]),
        (raw.request("/nowhere", JSON, CHUNKED, body=b"1\r\na\r\n0\r\n\r\n"), [404]),
        (raw.request("/nowhere", "Content-Length: 5", body=b"hello") + LIVEZ, [404, 200]),
    ],
)
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "in packets"])
async def test_what_was_good_is_answered_before_junk(
    served: Reach, good: bytes, statuses: list[int], apart: bool
) -> None:
    """Each gets its own answer, then comes the 400."""
    async with calling(served.settings.port) as caller:
        await caller.send_apart([good, b"junk\r\n\r\n"] if apart else [good + b"junk\r\n\r\n"])
        assert [(await caller.answer()).status for _ in statuses] == statuses
        assert (await caller.refusal()).status == 400


async def test_junk_does_not_cut_off_who_is_still_answered(served: Reach) -> None:
    """However long it takes."""
    async with calling(served.settings.port) as caller:
        caller.send(raw.request("/waiting", method="GET") + LIVEZ + b"junk\r\n\r\n")
        async with calling(served.settings.port) as other:
            await other.get()
        served.app.state.gate.set()
        assert [(await caller.answer()).status for _ in range(2)] == [200, 200]
        assert (await caller.refusal()).status == 400


async def test_nothing_is_read_after_junk(served: Reach) -> None:
    """A good request behind it is not one: nobody knows where it begins."""
    async with calling(served.settings.port) as caller:
        caller.send(b"junk\r\n\r\n" + LIVEZ)
        assert [answer.status for answer in await caller.answers()] == [400]


async def test_a_flood_of_junk_writes_nothing(served: Reach, told: Callable[[], str]) -> None:
    """Two hundred callers, and no line of the log."""
    heard = told()
    for number in range(200):
        async with calling(served.settings.port) as caller:
            caller.send(list(REFUSED.values())[number % 4])
            assert (await caller.answer()).status == 400
    assert told() == heard
