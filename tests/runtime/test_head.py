"""A head has 32 KiB, counted as it comes in; more is a 431, which arrives."""

from collections.abc import Callable

import pytest

from tests.support.http import raw
from tests.support.http.clients import JSON, LIVEZ, calling
from tests.support.http.serving import Serving
from tests.support.processes.reach import Reach

MOST, MOST_FIELDS = 32 * 1024, 128
#: Where a head does not begin with a packet, the version in its first line is not counted.
SLACK = 64
FIRST = b"GET /seen HTTP/1.1\r\nHost: localhost\r\n"


def one_long_line(size: int) -> bytes:
    """Write a head of so many bytes, nearly all of them in one field."""
    return FIRST + b"x: " + b"a" * (size - len(FIRST) - 7) + b"\r\n\r\n"


def many_lines(size: int) -> bytes:
    """Write a head of so many bytes, in as many fields as there may be."""
    left = size - len(FIRST) - 2
    each = left // (MOST_FIELDS - 1)
    last = left - each * (MOST_FIELDS - 2)
    line = b"a:%s\r\n"
    lines = line % (b"b" * (each - 4)) * (MOST_FIELDS - 2) + line % (b"b" * (last - 4))
    return FIRST + lines + b"\r\n"


def one_long_name(size: int) -> bytes:
    """Write a head of so many bytes, nearly all of them in the name of a field."""
    return FIRST + b"a" * (size - len(FIRST) - 6) + b": \r\n\r\n"


def a_long_target(size: int) -> bytes:
    """Write a head of so many bytes, nearly all of them in its target."""
    start, end = b"GET /seen?", b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


HEADS = [one_long_line, many_lines, one_long_name, a_long_target]


def in_packets(head: bytes, count: int = 40) -> list[bytes]:
    """Cut a head into so many pieces."""
    size = -(-len(head) // count)
    return [head[at : at + size] for at in range(0, len(head), size)]


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "in packets"])
@pytest.mark.parametrize("head", HEADS)
async def test_so_many_bytes_are_a_head_and_one_more_is_none(
    served: Reach, head: Callable[[int], bytes], apart: bool, told: Callable[[], str]
) -> None:
    """32,768 bytes are answered; 32,769 are a 431, and no line of the log."""
    assert (len(head(MOST)), len(head(MOST + 1))) == (MOST, MOST + 1)
    async with calling(served.settings.port) as caller:
        await caller.send_apart(in_packets(head(MOST)) if apart else [head(MOST)])
        assert (await caller.answer()).status == 200
        heard = told()
        await caller.send_apart(in_packets(head(MOST + 1)) if apart else [head(MOST + 1)])
        assert (await caller.refusal()).status == 431
    assert told() == heard


async def test_so_many_fields_are_a_head_and_one_more_is_none(
    served: Reach, told: Callable[[], str]
) -> None:
    """However small they are: each costs more than its bytes."""
    async with calling(served.settings.port) as caller:
        caller.send(FIRST + b"a:b\r\n" * (MOST_FIELDS - 1) + b"\r\n")
        assert (await caller.answer()).status == 200
        heard = told()
        caller.send(FIRST + b"a:b\r\n" * MOST_FIELDS + b"\r\n")
        assert (await caller.refusal()).status == 431
    assert told() == heard


async def test_the_refusal_arrives_while_the_caller_still_sends(served: Reach) -> None:
    """A caller who goes on for a megabyte, without a look at the answer, finds it all the same."""
    async with calling(served.settings.port) as caller:
        await caller.pour(FIRST + b"x: ", 1)
        await caller.pour(b"a" * 16_384, 1_000_000)
        assert (await caller.answer()).status == 431


@pytest.mark.parametrize("piece", [b"a" * 4096, b"a:b\r\n" * 900, b"a:\r\n" * 1100])
async def test_an_endless_head_ends(served: Reach, piece: bytes) -> None:
    """Whatever it is made of, some bytes beyond the limit it is refused."""
    async with calling(served.settings.port) as caller:
        caller.send(FIRST)
        await caller.pour(piece, 400_000)
        assert (await caller.answer()).status == 431


async def test_each_request_has_a_head_of_its_own(served: Reach) -> None:
    """The bytes of the others do not count: neither one after another, nor all in one packet."""
    head = one_long_line(20_000)
    async with calling(served.settings.port) as caller:
        for _ in range(4):
            caller.send(head)
            assert (await caller.answer()).status == 200
        caller.send(head * 4)
        assert [(await caller.answer()).status for _ in range(4)] == [200] * 4


async def test_a_body_is_no_part_of_a_head(served: Reach) -> None:
    """What follows a head in the same packet does not count; nor does a body before it."""
    body = b"b" * 60_000
    post = raw.request("/seen", f"Content-Length: {len(body)}", body=body)
    async with calling(served.settings.port) as caller:
        caller.send(post + one_long_line(MOST) + post)
        assert [(await caller.answer()).status for _ in range(3)] == [200] * 3
        caller.send(post + one_long_line(MOST + SLACK))
        assert (await caller.answer()).status == 200
        assert (await caller.refusal()).status == 431


async def test_what_was_asked_before_is_answered_first(served: Reach) -> None:
    """Then comes the refusal."""
    async with calling(served.settings.port) as caller:
        caller.send(LIVEZ * 3 + one_long_line(MOST + SLACK))
        assert [(await caller.answer()).status for _ in range(3)] == [200] * 3
        assert (await caller.refusal()).status == 431


async def test_a_sign_up_with_a_large_head_is_none(serving: Serving) -> None:
    """Nothing is stored."""
    body = b'{"email": "ada@example.com", "name": "Ada"}'
    large = raw.request(
        "/v1/signups", JSON, f"x: {'a' * MOST}", f"Content-Length: {len(body)}", body=body
    )
    reach = await serving()
    async with calling(reach.settings.port) as caller:
        caller.send(large)
        assert (await caller.refusal()).status == 431
        answer = await reach.http.get("/v1/people", headers=await reach.key())
    assert answer.json()["items"] == []
