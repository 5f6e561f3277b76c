"""Requests and sign-ups are counted, whatever is asked; and no caller can make new series."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import TABLE_OF_MESSAGES, held
from tests.support.forms import ENDPOINTS, FILLED
from tests.support.http.raw import exchange, request
from tests.support.processes.reach import ADA, Reach, running_reach
from tests.support.processes.running import half_a_request
from tests.support.telemetry.metrics import Since, samples

COUNT = "reach_http_request_duration_seconds_count"
LABELS = ("route", "method", "status")
SIGN_UPS, RESULT = "reach_signups_total", "result"
IN_PROGRESS = "reach_http_requests_in_progress"
ROUTE_OF = {"API": "/v1/signups", "page": "/"}
TAKEN = {"API": "202", "page": "303"}

#: A parser of HTTP knows these methods; no route does.
ODD_METHODS = ("PROPFIND", "REPORT", "LOCK", "MKCOL", "PURGE", "TRACE", "SUBSCRIBE", "UNLINK")


@pytest.fixture
async def limited(settings: Settings) -> AsyncIterator[Reach]:
    """Reach, where each client may sign up once an hour."""
    async with running_reach(settings.model_copy(update={"limit_signups": "1/hour"})) as running:
        yield running


async def counted(since: Since, expected: dict[tuple[str, ...], float]) -> None:
    """Wait until exactly these requests are counted: that is done once they are answered."""
    await eventually(lambda: sum(since.all_of(COUNT, *LABELS).values()) >= sum(expected.values()))
    assert since.all_of(COUNT, *LABELS) == expected


async def test_each_request_is_counted_by_its_routes_template(reach: Reach) -> None:
    """What a route takes as its parameters is in no label; nor is what no route has."""
    http, since = reach.http, Since()
    http.headers.update(await reach.key())
    made = await http.post("/v1/people", json=ADA)
    place = made.headers["Location"]
    await http.get(place)
    await http.head(place)
    await http.put(place)
    await http.get("/nowhere/ada@example.com")
    await counted(
        since,
        {
            ("/v1/people", "POST", "201"): 1,
            ("/v1/people/{id}", "GET", "200"): 1,
            ("/v1/people/{id}", "HEAD", "200"): 1,
            ("/v1/people/{id}", "PUT", "405"): 1,
            ("unmatched", "GET", "404"): 1,
        },
    )
    labels = {"route": "/v1/people/{id}", "method": "GET", "status": "200"}
    took = since.of("reach_http_request_duration_seconds_sum", **labels)
    assert 0 < took < 20
    bucket = since.of("reach_http_request_duration_seconds_bucket", **labels, le="+Inf")
    assert bucket == 1


async def test_a_request_is_in_progress_until_its_answer(reach: Reach) -> None:
    """Also one whose caller leaves in the middle: that is a 499."""
    since = Since()
    async with half_a_request(reach.settings) as finish:
        await eventually(lambda: since.of(IN_PROGRESS) == 1)
        await finish()
        await eventually(lambda: since.of(IN_PROGRESS) == 0)
    async with half_a_request(reach.settings):
        await eventually(lambda: since.of(IN_PROGRESS) == 1)
    await counted(since, {("/v1/signups", "POST", "202"): 1, ("/v1/signups", "POST", "499"): 1})
    assert since.of(IN_PROGRESS) == 0


async def test_no_caller_makes_series(limited: Reach) -> None:
    """Odd methods and paths, in any number: a handful of series, known beforehand."""
    since, port = Since(), limited.settings.port
    paths = [f"/x{number}/%C3%A9?q={number}" for number in range(12)]
    paths += ["/v1/people/1", "/v1/signups", "/v1/signups%0A", "/static/../../etc", "/static/x"]
    methods = (*ODD_METHODS, "GET", "POST", "OPTIONS", "DELETE")
    await asyncio.gather(
        *(exchange(port, request(path, method=method)) for path in paths for method in methods)
    )
    sent = len(paths) * len(methods)
    await eventually(lambda: sum(since.all_of(COUNT, *LABELS).values()) == sent)
    found = since.all_of(COUNT, *LABELS)
    templates = {path for _, path in limited.routes} | {"unmatched"}
    assert {labels[0] for labels in found} <= templates
    assert {labels[1] for labels in found} == {"other", "GET", "POST", "OPTIONS", "DELETE"}
    assert len(found) <= 25, found


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_sign_up_counts_by_its_result(reach: Reach, endpoint: str) -> None:
    """New once, known from then on; spam is spam though its sender is told what everybody is.

    A form that is to be sent again is none: it is not valid, like a mistyped address.
    """
    since = Since()
    asked = {**ADA, "started": "junk"}
    for fields in (ADA, ADA, {**ADA, "email": "nobody"}, asked, FILLED | ADA):
        await ENDPOINTS[endpoint](reach.http, fields)
    await counted(
        since,
        {
            (ROUTE_OF[endpoint], "POST", TAKEN[endpoint]): 3,
            (ROUTE_OF[endpoint], "POST", "422"): 2,
        },
    )
    expected = {"new": 1, "known": 1, "spam": 1, "invalid": 2}
    assert since.all_of(SIGN_UPS, RESULT) == expected


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_refused_sign_up_is_limited(limited: Reach, endpoint: str) -> None:
    """It is counted under the path that it came to; to ask for a link is no sign-up."""
    since = Since()
    for _ in range(3):
        await ENDPOINTS[endpoint](limited.http, ADA)
    await limited.http.post("/v1/links", json={"email": ADA["email"]})
    await counted(
        since,
        {
            (ROUTE_OF[endpoint], "POST", TAKEN[endpoint]): 1,
            (ROUTE_OF[endpoint], "POST", "429"): 2,
            ("/v1/links", "POST", "429"): 1,
        },
    )
    assert since.all_of(SIGN_UPS, RESULT) == {"new": 1, "limited": 2}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_sign_up_that_the_database_does_not_take_has_failed(
    settings: Settings, endpoint: str
) -> None:
    """Locked, it gives 503: that is failed, and nothing else."""
    async with running_reach(settings.model_copy(update={"database_seconds": 0.5})) as reach:
        since = Since()
        async with held(reach.settings, TABLE_OF_MESSAGES):
            assert (await ENDPOINTS[endpoint](reach.http, ADA)).status_code == 503
        await counted(since, {(ROUTE_OF[endpoint], "POST", "503"): 1})
        assert since.all_of(SIGN_UPS, RESULT) == {"failed": 1}


async def test_only_sign_ups_sign_up(reach: Reach) -> None:
    """Who is added by an operator did not; and a repeated key signs nobody up twice."""
    since, key = Since(), await reach.key()
    await reach.http.post("/v1/people", json=ADA, headers=key)
    await reach.http.post("/v1/people", json={**ADA, "email": "nobody"}, headers=key)
    bob = {"email": "bob@example.com", "name": "Bob"}
    for _ in range(3):
        await reach.http.post("/v1/signups", json=bob, headers={"Idempotency-Key": "one"})
    await reach.http.get("/")
    await eventually(lambda: sum(since.all_of(COUNT, *LABELS).values()) >= 6)
    assert since.all_of(SIGN_UPS, RESULT) == {"new": 1}


def test_every_result_is_there_before_it_happens() -> None:
    """Or the first failure of a process would be no increase to Prometheus."""
    for result in ("new", "known", "spam", "invalid", "limited", "failed"):
        assert (SIGN_UPS, frozenset({(RESULT, result)})) in samples()
