"""A request, from the caller's id to the line in the log."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.clock import eventually
from tests.support.http import raw
from tests.support.processes.reach import Reach, change_services

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACE = f"00-{TRACE_ID}-{SPAN_ID}-01"
Told = Callable[[], str]


def requests(told: Told) -> list[dict[str, Any]]:
    """Find the lines of requests."""
    lines = [json.loads(line) for line in told().splitlines()]
    return [line for line in lines if line["message"] == "request"]


@pytest.mark.parametrize("given", ["a", "0195c8d1-f2a3.7_b", "x" * 128])
async def test_a_callers_id_is_kept(reach: Reach, told: Told, given: str) -> None:
    """It comes back, and the log has it: one id from the caller's log to ours."""
    answer = await reach.http.get("/v1/people", headers={"X-Request-ID": given})
    assert answer.headers.get_list("x-request-id") == [given]
    (line,) = requests(told)
    assert line["http"]["request"] == {"id": given, "method": "GET"}


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x" * 129,
        "two words",
        'a"b',
        "a{b}",
        "ä",
        "a\tb",
        "canary@example.com",
        "rk_" + "a1" * 20,
        "key-rk_" + "a1" * 20,
        "token.rlt_yFJ7wxWORJG5YvqhkMKkDm0AAAADAAAAAGsV6Y0.c2ln",
        "rlt_yFJ7wxWORJG5YvqhkMKkDm0AAAADAAAAAGsV6Y0.c2ln",
    ],
)
async def test_an_id_that_could_do_harm_is_replaced(reach: Reach, told: Told, given: str) -> None:
    """Neither answer nor log has it, nor the look of a key or a token."""
    headers = {b"X-Request-ID": given.encode()}
    answer = await reach.http.get("/livez", headers=headers)
    (own,) = answer.headers.get_list("x-request-id")
    assert len(own) == 32
    assert requests(told)[0]["http"]["request"]["id"] == own
    assert not given or given not in told()


async def test_two_ids_are_none(reach: Reach) -> None:
    """Which of them is meant nobody knows."""
    answer = await reach.http.get("/livez", headers=[("X-Request-ID", "a"), ("X-Request-ID", "b")])
    assert answer.headers["x-request-id"] not in ("a", "b", "a, b")


async def test_a_callers_trace_goes_on(reach: Reach, told: Told) -> None:
    """In a span of its own; a caller without one, or with a bad one, begins a trace."""
    await reach.http.get("/livez", headers={"traceparent": TRACE})
    for bad in ({}, {"traceparent": "00-canary"}, {"traceparent": TRACE[:-1]}):
        await reach.http.get("/livez", headers=bad)
    twice = [("traceparent", TRACE), ("traceparent", TRACE)]
    await reach.http.get("/livez", headers=twice)
    first, *others = requests(told)
    assert first["trace"]["id"] == TRACE_ID
    assert first["span"]["id"] != SPAN_ID
    traces = {line["trace"]["id"] for line in others}
    assert len(traces) == len(others) == 4
    assert TRACE_ID not in traces


async def test_what_one_request_logs_has_its_trace(reach: Reach, told: Told) -> None:
    """And its neighbour on the same connection has another."""

    async def crash(*_: object) -> None:
        raise RuntimeError("canary")

    change_services(reach.app, sign_up=crash)
    for _ in range(2):
        assert (await reach.sign_up()).status_code == 500
    lines = [json.loads(line) for line in told().splitlines()]
    pairs = [
        (line["message"], line["trace"]["id"], line["http"]["request"]["id"])
        for line in lines
        if line["message"] in ("request", "request crashed")
    ]
    assert [message for message, *_ in pairs] == ["request crashed", "request"] * 2
    assert pairs[0][1:] == pairs[1][1:]
    assert pairs[2][1:] == pairs[3][1:]
    assert pairs[0][1:] != pairs[2][1:]


async def test_a_request_is_told_by_its_route(reach: Reach, told: Told) -> None:
    """Not by what was asked for; and no word of the caller is a method."""
    await reach.http.get("/problems/not-found?canary")
    await reach.http.request("PROPFIND", "/livez")
    await reach.http.get("/canary")
    await reach.http.head("/livez")
    lines = requests(told)
    told_of = [
        (line["http"]["request"]["method"], line.get("url"), line["http"]["response"])
        for line in lines
    ]
    assert told_of == [
        ("GET", {"path": "/problems/{slug}"}, {"status_code": 200}),
        ("other", {"path": "/livez"}, {"status_code": 405}),
        ("GET", None, {"status_code": 404}),
        ("HEAD", {"path": "/livez"}, {"status_code": 200}),
    ]
    assert all(line["event"]["duration"] > 0 for line in lines)


async def test_a_line_break_in_an_id_is_none(reach: Reach, told: Told) -> None:
    """A raw request: no client of ours would send it."""
    text = raw.request("/livez", "X-Request-ID: a\rb", method="GET")
    async with raw.connection(reach.settings.port) as (reader, writer):
        writer.write(text)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    await eventually(lambda: reach.http.get("/livez"))
    assert "a\\rb" not in told()
