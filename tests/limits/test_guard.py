"""The 429: what it says, and that it is there before anything else is done."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import httpx
import pytest

from reach.auth import keys
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.http.raw import connection, read_answer, request
from tests.support.people import holder
from tests.support.processes.reach import ADA, Reach, running_reach

MakeSettings = Callable[..., Settings]

TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"
JUNK = {"Authorization": "Bearer junk"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
SIGN_UPS = ("/", "/links", "/v1/signups", "/v1/links")


@pytest.fixture
async def twice(make_settings: MakeSettings, sqlite: str) -> AsyncIterator[Reach]:
    """Reach that lets everybody do everything twice."""
    names = ("limit_signups", "limit_api", "limit_failed_keys", "limit_failed_links")
    limits = dict.fromkeys(names, "2/minute;9/hour")
    settings = make_settings(database_url=sqlite, trusted_proxies="127.0.0.1", **limits)
    async with running_reach(settings) as reach:
        yield reach


def is_as_described(answer: httpx.Response) -> None:
    """Check what DESIGN §8 says of every 429."""
    seconds = int(answer.headers["retry-after"])
    assert 1 <= seconds <= 60
    assert answer.status_code == 429
    assert answer.headers["ratelimit-policy"] == '"minute";q=2;w=60, "hour";q=9;w=3600'
    assert answer.headers["ratelimit"] == f'"minute";r=0;t={seconds}'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]


async def test_it_says_when_to_come_back(twice: Reach) -> None:
    """In the body's words and in the headers'; and a success says nothing of it."""
    for _ in range(2):
        answer = await twice.sign_up()
        assert answer.status_code == 202
        assert not [name for name in answer.headers if "ratelimit" in name]
    answer = await twice.sign_up()
    is_as_described(answer)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": TYPE,
        "title": "Too often",
        "status": 429,
        "violated-policies": ["minute"],
    }


async def test_a_page_is_refused_with_a_page(twice: Reach) -> None:
    """Where it is preferred; below /v1 it never is."""
    for _ in range(2):
        assert (await twice.http.post("/", data=ADA)).status_code == 303
    page = await twice.http.post("/", data=ADA, headers=FORM)
    is_as_described(page)
    assert page.headers["content-type"].startswith("text/html")
    assert "One moment, please" in page.text
    assert "content-security-policy" in page.headers
    api = await twice.http.post("/v1/signups", json=ADA, headers={"Accept": "text/html"})
    is_as_described(api)
    assert api.json()["type"] == TYPE
    explained = await twice.http.get("/problems/quota-exceeded")
    assert explained.status_code == 200
    assert "violated-policies" in explained.text


async def test_all_that_strangers_send_has_one_count(twice: Reach) -> None:
    """Page or API, to sign up or for a link: all requests of one client are counted together."""
    for path in SIGN_UPS[:2]:
        assert (await twice.http.post(path)).status_code != 429
    for path in SIGN_UPS:
        is_as_described(await twice.http.post(path))
        other = await twice.http.post(path, headers={"X-Forwarded-For": f"192.0.2.{len(path)}"})
        assert other.status_code != 429


async def test_probes_and_readers_are_not_counted(twice: Reach) -> None:
    """However often they come, and whatever the client did before."""
    for _ in range(3):
        await twice.sign_up()
        await twice.http.get("/v1/people", headers=JUNK)
    for path in ("/livez", "/readyz", "/", "/openapi.json", "/problems/invalid"):
        for method in ("GET", "HEAD"):
            for _ in range(4):
                assert (await twice.http.request(method, path)).status_code in (200, 405), path


async def test_no_body_is_read(twice: Reach) -> None:
    """One that is announced to be huge, or that never comes, is refused at once."""
    for _ in range(2):
        await twice.sign_up()
    for length in ("10", "1000000000"):
        lines = ("Content-Type: application/json", f"Content-Length: {length}")
        async with connection(twice.settings.port) as (reader, writer):
            writer.write(request("/v1/signups", *lines, "Expect: 100-continue"))
            assert (await read_answer(reader)).status == 429


async def test_no_database_is_asked(make_settings: MakeSettings, tmp_path: Path) -> None:
    """While it is unavailable, who asks too often is still told so: strangers and operators."""
    gone = f"sqlite:///{tmp_path}/moved-away.sqlite3"
    limits = {"limit_signups": "1/hour", "limit_api": "1/hour"}
    async with running_reach(make_settings(database_url=gone, **limits)) as reach:
        assert [(await reach.sign_up()).status_code for _ in range(3)] == [503, 429, 429]
        key = {"Authorization": f"Bearer {keys.generate()}"}
        answers = [await reach.http.get("/v1/people", headers=key) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [503, 429, 429]


async def test_each_key_has_its_own_count(twice: Reach) -> None:
    """One operator's haste is not another's, though they come from one address."""
    for key in (await twice.key(), await twice.key()):
        answers = [await twice.http.get("/v1/people", headers=key) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        is_as_described(answers[-1])
        elsewhere = {"X-Forwarded-For": "192.0.2.7"}
        answer = await twice.http.get("/v1/people", headers={**key, **elsewhere})
        assert answer.status_code == 429


@pytest.mark.parametrize("kind", ["junk", "unknown", "revoked"])
async def test_wrong_keys_are_counted(twice: Reach, kind: str) -> None:
    """Two wrong ones, then none is looked at from that address, not even a good one."""
    revoked, good = keys.generate(), await twice.key()
    await twice.database.write(keys.add, revoked, "revoked", keys.SCOPES)
    await twice.database.write(keys.revoke, "revoked")
    for _ in range(2):
        text = {"junk": "junk", "unknown": keys.generate(), "revoked": revoked}[kind]
        wrong = {"Authorization": f"Bearer {text}"}
        assert (await twice.http.get("/v1/people", headers=wrong)).status_code == 401
    for headers in (JUNK, good):
        is_as_described(await twice.http.get("/v1/people", headers=headers))
    elsewhere = {**good, "X-Forwarded-For": "192.0.2.7"}
    assert (await twice.http.get("/v1/people", headers=elsewhere)).status_code == 200


async def test_no_key_is_no_wrong_key(twice: Reach) -> None:
    """Any page has its visitor's browser ask without one: that uses up nobody's failures."""
    for shown in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}):
        for path in ("/v1/people", "/v1/keys", "/v1/me"):
            for _ in range(3):
                assert (await twice.http.get(path, headers=shown)).status_code == 401
    assert (await twice.http.get("/v1/people", headers=await twice.key())).status_code == 200


async def test_wrong_keys_and_wrong_links_are_counted_apart(twice: Reach) -> None:
    """Beyond two of one kind the next is told less; the other kind is not; a good link works."""
    person = await holder(twice)
    link, good = {"Authorization": f"Bearer {person.token}"}, await twice.key()
    await twice.http.get("/manage?token=x")
    await twice.http.get("/v1/me", headers=JUNK)
    is_as_described(await twice.http.get("/confirm?token=x"))
    is_as_described(await twice.http.get("/v1/me", headers=JUNK))
    assert (await twice.http.get("/v1/people", headers=good)).status_code == 200
    assert (await twice.http.get("/v1/me", headers=link)).status_code == 200
    assert (await twice.http.get(f"/manage?token={person.token}")).status_code == 303
    assert (await twice.http.get("/links")).status_code == 200
    for _ in range(2):
        assert (await twice.http.get("/v1/people", headers=JUNK)).status_code == 401
    is_as_described(await twice.http.get("/v1/people", headers=good))


async def test_many_wrong_tokens_in_one_address_are_one_wrong_link(twice: Reach) -> None:
    """Mangled links hold one token twice; who sends hundreds has not failed hundreds of times."""
    assert (await twice.http.get(f"/manage?{'token=x&' * 300}")).status_code == 303
    assert (await twice.http.get("/manage?token=x")).status_code == 303
    is_as_described(await twice.http.get("/manage?token=x"))


async def test_guesses_at_once_are_no_more_guesses(twice: Reach) -> None:
    """Fifty wrong keys at the same time: two are told that they are wrong."""
    statuses: Counter[int] = Counter()

    async def guess() -> None:
        wrong = {"Authorization": f"Bearer {keys.generate()}"}
        statuses[(await twice.http.get("/v1/people", headers=wrong)).status_code] += 1

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(guess)
    assert statuses == Counter({401: 2, 429: 48})


async def test_a_refusal_tells_nothing_of_the_caller(twice: Reach, told: Callable[[], str]) -> None:
    """Many have one line in the log, which says how many; it has no address."""

    def is_told() -> bool:
        counts = re.findall(r"refused by a rate limit.*count\W*(\d+)", told())
        return sum(map(int, counts)) == 20

    for _ in range(22):
        await twice.http.post("/v1/signups", json=ADA, headers={"X-Forwarded-For": "192.0.2.77"})
    await eventually(is_told)
    assert "192.0.2" not in told()
    lines = [json.loads(line) for line in told().splitlines()]
    of_all = [line for line in lines if line["message"] == "refused by a rate limit"]
    assert not any("trace" in line for line in of_all)  # it is nobody's in particular


@pytest.mark.parametrize("path", ["/", "/links", "/v1/signups", "/v1/links"])
@pytest.mark.parametrize("end", ["%0A", "%0D%0A", "%09", "%7F"])
async def test_a_line_break_leads_nowhere(twice: Reach, path: str, end: str) -> None:
    """A route's pattern would find it, and no limit would: so nothing is there."""
    answer = await twice.http.post(f"{path}{end}", json=ADA)
    assert answer.status_code == 404
    inside = await twice.http.get(f"/readyz{end}")
    assert inside.status_code == 404
