"""What is no HTTP is an error with a name; what is nearly none is never a crash, nor two things."""

import json
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from tests.support.bodies import raw
from tests.support.reach import Reach
from tests.support.runtime import samples
from tests.support.runtime.caller import CHUNKED, JSON, LIVEZ, calling

#: Refused by the one reader or the other, but not as a fault of ours.
NOT_OURS = {200, 400, 404, 405, 408, 413, 414, 417, 431, 501, 505}
OTHER = b"GET /seen?another HTTP/1.1\r\nHost: localhost\r\n\r\n"


def unreadable() -> float:
    """How much that is no HTTP has come."""
    return REGISTRY.get_sample_value("reach_http_unreadable_requests_total") or 0


@pytest.mark.parametrize("sample", samples.REFUSED.values(), ids=samples.REFUSED)
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


@pytest.mark.parametrize("sample", samples.REFUSED.values(), ids=samples.REFUSED)
async def test_it_is_one_behind_others_too(
    served: Reach, sample: bytes, told: Callable[[], str]
) -> None:
    """After their answers, and no line of the log but theirs."""
    async with calling(served.settings.port) as caller:
        caller.send(LIVEZ + sample + OTHER)
        assert (await caller.answer()).status == 200
        assert (await caller.refusal()).status == 400
    assert '"error"' not in told()


@pytest.mark.parametrize("sample", samples.REFUSED_BODIES.values(), ids=samples.REFUSED_BODIES)
async def test_a_body_that_cannot_be_read_is_a_400(
    served: Reach, sample: bytes, told: Callable[[], str]
) -> None:
    """One answer, and nothing after it."""
    async with calling(served.settings.port) as caller:
        caller.send(sample + OTHER)
        assert (await caller.refusal()).status == 400
    assert "crashed" not in told()


@pytest.mark.parametrize("sample", samples.EITHER.values(), ids=samples.EITHER)
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
        caller.send(samples.line("x: a\r\n b: c"))
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
            caller.send(list(samples.REFUSED.values())[number % 4])
            assert (await caller.answer()).status == 400
    assert told() == heard
