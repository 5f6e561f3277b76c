"""What browsers are told: with every answer, and about other sites' scripts."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
import httpx
import pytest

from reach.mailbox.server import Mailbox
from reach.settings import Settings
from reach.web.security import ADDED, SAFETY
from tests.support.database.locks import held
from tests.support.processes.reach import ADA, Reach, change_services, running_reach

SITE = "https://www.example.org"
BROWSER = {"Accept": "text/html"}
#: What a form on somebody's own page is made of: any page may load it.
OPEN = {"/embed.js", "/embed.json"}
SHARED = {"access-control-allow-origin": "*"}
HOSTILE = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil.example",
    "Forwarded": "host=evil.example;proto=https",
}
PAGES = ["/", "/check-your-inbox", "/problems/not-found", "/nothing", "/docs", "/links"]
PAGES += ["/manage", "/manage?token=x", "/confirm", "/confirm/done", "/manage/removal"]
PAGES += ["/manage/voided", "/manage/removed", "/links/void"]


@pytest.fixture
async def here(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach with a mailbox, for this machine, and other sites' scripts shut out."""
    settings = make_settings(database_url=sqlite, database_seconds=1)
    async with running_reach(settings, mailbox=Mailbox(settings.data_dir / "mailbox")) as reach:
        yield reach


@pytest.fixture
async def shared(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach, whose API the scripts of one site may call."""
    origins = f"{SITE.upper()}:443/, http://localhost:3000"
    async with running_reach(make_settings(database_url=sqlite, cors_origins=origins)) as reach:
        yield reach


def is_safe(answer: httpx.Response) -> bool:
    """Whether an answer says, once each, all that keeps browsers safe."""
    for name, value in SAFETY.items():
        (said,) = answer.headers.get_list(name)
        if name == "content-security-policy":
            assert "default-src 'none'" in said
            assert "frame-ancestors 'none'" in said
            assert "script-src 'self'" not in said
        elif name == "cross-origin-resource-policy" and SHARED.items() <= answer.headers.items():
            assert said == "cross-origin"
        elif name != "referrer-policy":
            assert said == value
    assert answer.headers["referrer-policy"] in ("no-referrer", "same-origin")
    return True


async def test_every_route_keeps_browsers_safe(here: Reach) -> None:
    """Whatever it answers, as a page or as JSON."""
    found = here.routes
    assert {("GET", "/"), ("GET", "/openapi.json"), ("POST", "/v1/signups")} <= found
    for method, path in sorted(found):
        url = re.sub(r"{\w+}", "x", path)
        for accept in ("text/html", "application/json"):
            # Not to its end: one goes on for as long as somebody listens.
            async with here.http.stream(method, url, headers={"Accept": accept}) as answer:
                assert is_safe(answer), (method, path)
                assert path in OPEN or "access-control-allow-origin" not in answer.headers


async def test_every_refusal_keeps_browsers_safe(here: Reach) -> None:
    """The framework's, the envelope's, a crash's, too."""
    http, key = here.http, await here.key("people:read")
    junk = {"Content-Type": "application/json"}

    async def crash(*_: object) -> None:
        raise RuntimeError

    for accept in ("text/html", "application/json"):
        wants = {"Accept": accept}
        answers = [
            await http.get("/nothing", headers=wants),
            await http.put("/livez", headers=wants),
            await http.options("/v1/signups", headers=wants),
            await http.post("/v1/signups", content=b"{", headers=wants | junk),
            await http.get("/v1/people", headers=wants),
            await http.delete("/v1/people/x", headers=wants | key),
            await http.post("/v1/signups", content=b"x" * 70_000, headers=wants | junk),
            await http.post("/", content=b"x", headers=wants),
            await http.post("/v1/signups", json={}, headers=wants),
            await http.post("/", data={"name": ""}, headers=wants),
            await http.get("/v1/people?limit=x", headers=wants | key),
            await http.get("/", headers=wants | {"Cookie": "x" * 33_000}),
        ]
        async with held(here.settings, ""):
            answers.append(await http.post("/v1/signups", json=ADA, headers=wants))
        had = change_services(here.app, sign_up=crash)
        answers.append(await http.post("/v1/signups", json=ADA, headers=wants))
        answers.append(await http.post("/", data=ADA, headers=wants))
        here.app.state.services = had
        assert [answer.status_code for answer in answers] == (
            [404, 405, 405, 400, 401, 403, 413, 415, 422, 422, 422, 431, 503, 500, 500]
        )
        assert all(map(is_safe, answers))


@pytest.mark.parametrize(
    "sent",
    [b"nothing of the kind\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % 10**30],
)
async def test_what_is_not_http_is_answered_safely(here: Reach, sent: bytes) -> None:
    """No application sees it; the answer is a problem all the same, and the last of its line."""
    async with await anyio.connect_tcp("127.0.0.1", here.settings.port) as stream:
        await stream.send(sent)
        answer = b""
        with anyio.fail_after(5), suppress(anyio.EndOfStream):
            while True:
                answer += await stream.receive()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    assert status == b"HTTP/1.1 400 Bad Request"
    headers = dict(line.decode().split(": ", 1) for line in lines)
    assert is_safe(httpx.Response(400, headers=headers))
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["type"] == f"{here.settings.origin}/problems/bad-request"


async def test_a_mails_frame_keeps_its_own_policy(here: Reach) -> None:
    """It may be framed by the mailbox, and may do less than a page."""
    mail = b"Subject: x\r\nContent-Type: text/html\r\n\r\n<b>x</b>"
    mailbox: Mailbox = here.app.state.services.mailbox
    mailbox.put(mail)
    (entry,) = mailbox.list()
    answer = await here.http.get(f"/mailbox/messages/{entry.id}/html")
    (policy,) = answer.headers.get_list("content-security-policy")
    assert policy.startswith("sandbox ")
    assert "frame-ancestors 'self'" in policy


@pytest.mark.parametrize("url", ["https://signup.example.org", "http://127.0.0.1:8000", ""])
async def test_https_is_insisted_on_where_it_is_used(
    make_settings: Callable[..., Settings], sqlite: str, url: str
) -> None:
    """Only where the public URL says so: else a browser would not come back."""
    async with running_reach(make_settings(database_url=sqlite, public_url=url)) as reach:
        there = f"http://127.0.0.1:{reach.settings.port}"
        for path in ("/", "/livez", "/v1/people", "/nothing"):
            answer = await reach.http.get(f"{there}{path}")
            said = answer.headers.get("strict-transport-security")
            assert said == ("max-age=31536000" if url.startswith("https") else None)


@pytest.mark.parametrize("path", PAGES)
async def test_no_page_believes_the_host(here: Reach, path: str) -> None:
    """Whatever a request calls us, no link and no header repeats it."""
    answer = await here.http.get(path, headers={**BROWSER, **HOSTILE})
    assert answer.status_code < 500
    assert "evil" not in answer.text + str(answer.headers)
    asked = await here.http.post(path.partition("?")[0], headers={**BROWSER, **HOSTILE})
    assert "evil" not in asked.text + str(asked.headers)


async def test_no_problem_believes_the_host(here: Reach) -> None:
    """The ``type`` of an error is below the public URL."""
    answer = await here.http.get("/v1/people", headers=HOSTILE)
    assert answer.json()["type"].startswith(f"{here.settings.origin}/")
    assert "evil" not in (await here.http.get("/openapi.json", headers=HOSTILE)).text


async def test_other_sites_are_shut_out_by_default(here: Reach) -> None:
    """A script from elsewhere can read nothing, whatever it asks for."""
    asks = {"Origin": SITE, "Access-Control-Request-Method": "POST"}
    for method, path in (("GET", "/v1/people"), ("OPTIONS", "/v1/signups"), ("GET", "/")):
        answer = await here.http.request(method, path, headers=asks)
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_scripts_of_a_named_site_may_call_the_api(shared: Reach) -> None:
    """They may ask, send what the API reads, and read what it says, refusals too; no cookies."""
    asks = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, idempotency-key, authorization, if-match",
    }
    may = await shared.http.options("/v1/signups", headers=asks)
    assert (may.status_code, may.headers["access-control-allow-origin"]) == (200, SITE)
    assert is_safe(may)
    accepted = await shared.http.post("/v1/signups", json=ADA, headers={"Origin": SITE})
    refused = await shared.http.get("/v1/people", headers={"Origin": SITE})
    missing = await shared.http.get("/v1/nothing", headers={"Origin": SITE})

    async def crash(*_: object) -> None:
        raise RuntimeError

    change_services(shared.app, sign_up=crash)
    crashed = await shared.http.post("/v1/signups", json=ADA, headers={"Origin": SITE})
    answers = [accepted, refused, missing, crashed]
    assert [answer.status_code for answer in answers] == [202, 401, 404, 500]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == SITE
        assert answer.headers["vary"] == "Origin"
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Retry-After", "RateLimit", "X-Request-ID"} <= set(exposed)
        assert "access-control-allow-credentials" not in answer.headers
        assert is_safe(answer)


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.org",
        "http://www.example.org",
        "https://www.example.org:8443",
        "https://www.example.org.evil.example",
        "https://evilwww.example.org",
        "null",
        "",
    ],
)
async def test_scripts_of_no_other_site_may(shared: Reach, origin: str) -> None:
    """A site is its scheme, host and port, exactly."""
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for method in ("OPTIONS", "GET"):
        answer = await shared.http.request(method, "/v1/people", headers=asks)
        assert "access-control-allow-origin" not in answer.headers
    caches = await shared.http.get("/v1/people")
    assert caches.headers["vary"] == "Origin"


async def test_pages_are_nobody_elses(shared: Reach) -> None:
    """A named site may call the API, and read no page."""
    for path in ("/", "/links", "/manage", "/mailbox", "/openapi.json", "/v1"):
        answer = await shared.http.get(path, headers={"Origin": SITE})
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("name", ["traceparent", "tracestate", "X-Request-ID", *ADDED])
async def test_what_a_sites_monitoring_adds_stops_no_call(shared: Reach, name: str) -> None:
    """A browser asks first for each header that is not its own, and gives up at one refused."""
    asks = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": f"content-type,{name.lower()}",
    }
    may = await shared.http.options("/v1/signups", headers=asks)
    assert (may.status_code, may.headers["access-control-allow-origin"]) == (200, SITE)
    assert name.lower() in may.headers["access-control-allow-headers"].lower().split(", ")
    headers = {"Origin": SITE, name: "x"}
    assert (await shared.http.post("/v1/signups", json=ADA, headers=headers)).status_code == 202


async def test_scripts_may_read_every_header_that_says_what_to_do_next(shared: Reach) -> None:
    """When to try again, what was made, what may be changed, by which name to ask about it."""
    http, key = shared.http, {**(await shared.key()), "Origin": SITE}
    made = await http.post("/v1/people", json={**ADA, "email": "bob@example.com"}, headers=key)
    answers = [
        made,
        await http.get(made.headers["location"], headers=key),
        await http.get("/v1/people", headers={"Origin": SITE}),
        await http.put("/v1/people", headers=key),
    ]
    told: set[str] = set()
    for answer in answers:
        exposed = set(answer.headers["access-control-expose-headers"].lower().split(", "))
        assert exposed >= {"retry-after", "ratelimit", "ratelimit-policy", "content-disposition"}
        told |= set(answer.headers) & exposed
    assert told >= {"location", "etag", "x-request-id", "www-authenticate", "allow"}
