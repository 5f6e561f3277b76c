"""Signing in at the console: with a key that opens something, by our own form, where it is safe."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reach.auth import keys
from reach.console.safety import BEGINS, FIELD, SIGN_IN, local_path
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.console import Console, at_console
from tests.support.processes.reach import Reach, running_reach

MOST_WRONG = 3


@pytest.fixture
async def stranger(here: Reach) -> AsyncIterator[Console]:
    """Somebody who is not signed in."""
    async with at_console(here, signed_in=False) as console:
        yield console


async def new_key(reach: Reach, *scopes: str) -> str:
    """Make a key; give its text."""
    return (await reach.key(*scopes))["Authorization"].removeprefix("Bearer ")


async def test_a_key_signs_in(here: Reach, stranger: Console) -> None:
    """The cookie is for this host and scripts cannot read it; then one is back where one was."""
    first = await stranger.get("/console/site?x=1")
    assert (first.status_code, first.headers["location"]) == (
        303,
        f"{SIGN_IN}?next=%2Fconsole%2Fsite%3Fx%3D1",
    )
    answer = await stranger.sign_in(await new_key(here, "people:read"), "/console/site?x=1")
    assert answer.status_code == 303
    said = answer.headers["set-cookie"]
    assert all(word in said for word in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"))
    led = await stranger.get(answer.headers["location"])
    assert led.headers["location"] == "/console/site?x=1"
    page = await stranger.get("/console/site")
    assert page.status_code == 200
    assert "people:read" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "text", ["", "rk_no", keys.generate()], ids=["nothing", "junk", "nobody's"]
)
async def test_what_is_no_key_signs_nobody_in(stranger: Console, text: str) -> None:
    """The form is shown again, with what is wrong; nothing is repeated of what was typed."""
    answer = await stranger.sign_in(text, "/console/site")
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert 'value="/console/site"' in answer.text
    assert "set-cookie" not in answer.headers
    assert not text or text not in answer.text


async def test_a_revoked_key_is_out_at_once(here: Reach, console: Console) -> None:
    """The next page leads to the sign-in, which says that the session has ended."""
    assert (await console.get("/console/site")).status_code == 200
    await here.database.write(keys.revoke, console.key)
    answer = await console.get("/console/site")
    assert answer.headers["location"].startswith(f"{SIGN_IN}?next=%2Fconsole%2Fsite&ended=yes")
    assert "has ended" in (await console.get(answer.headers["location"])).text
    assert (await console.sign_in(console.key)).status_code == 401


async def test_a_script_is_led_to_sign_in_and_back_to_its_page(
    here: Reach, console: Console
) -> None:
    """Htmx would follow a redirect by itself, and show the form inside the page."""
    await here.database.write(keys.revoke, console.key)
    asked = {"HX-Request": "true", "HX-Current-URL": f"{console.origin}/console/site?q=a"}
    answer = await console.get("/console/site", **asked)
    assert answer.status_code == 200
    assert answer.headers["hx-redirect"] == (f"{SIGN_IN}?next=%2Fconsole%2Fsite%3Fq%3Da&ended=yes")


@pytest.mark.parametrize("name", ["HX-Current-URL", "Referer"])
async def test_where_one_was_may_be_nowhere(stranger: Console, name: str) -> None:
    """What is no address leads to the first page: it is no fault of ours."""
    answer = await stranger.get("/console/site", **{"HX-Request": "true", name: "http://["})
    assert answer.headers["hx-redirect"] == f"{SIGN_IN}?next=%2Fconsole"


async def test_wrong_keys_count_as_the_apis_do(
    sqlite: str, make_settings: Callable[..., Settings]
) -> None:
    """After a few wrong ones no key of this client is looked at, here and at the API."""
    made = make_settings(database_url=sqlite, limit_failed_keys=f"{MOST_WRONG}/hour")
    async with running_reach(made) as reach, at_console(reach, signed_in=False) as console:
        key = await new_key(reach)
        for _ in range(MOST_WRONG):
            assert (await console.sign_in(keys.generate())).status_code == 401
        answer = await console.sign_in(key)
        assert answer.status_code == 429
        assert "Retry-After" in answer.headers
        assert "Too many keys" in answer.text
        by_api = {"Authorization": f"Bearer {key}"}
        assert (await reach.http.get("/v1/stats", headers=by_api)).status_code == 429


async def test_pages_count_as_calls_do(sqlite: str, make_settings: Callable[..., Settings]) -> None:
    """Who asks too often is refused: a session is no way around ``REACH_LIMIT_API``."""
    made = make_settings(database_url=sqlite, limit_api="5/hour")
    async with running_reach(made) as reach, at_console(reach) as console:
        statuses = [(await console.get("/console/site")).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 200, 429]  # the first was to see that they are in


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_no_other_site_signs_anybody_in_or_out(
    here: Reach, console: Console, headers: dict[str, Any]
) -> None:
    """Neither with its own key, nor with the visitor's cookie; our own form does both."""
    assert (await console.sign_in(await new_key(here), **headers)).status_code == 403
    assert (await console.post("/console/sign-out", **headers)).status_code == 403
    assert (await console.get("/console/site")).status_code == 200
    assert (await console.post("/console/sign-out")).status_code == 303
    assert (await console.get("/console/site")).status_code == 303


@pytest.mark.parametrize("proof", ["", "0" * 64, "ü"])
async def test_a_form_without_the_sessions_proof_is_refused(console: Console, proof: str) -> None:
    """The cookie alone changes nothing, and neither does another session's form."""
    answer = await console.post("/console/sign-out", {FIELD: proof})
    assert answer.status_code == 403
    assert "not from the console" in answer.text
    assert (await console.get("/console/site")).status_code == 200


async def test_signing_out_ends_the_session_itself(here: Reach, console: Console) -> None:
    """A cookie that was copied is worth nothing; everywhere is other browsers too."""
    copied = {"Cookie": f"{console.cookie}={console.http.cookies[console.cookie]}"}
    async with at_console(here, signed_in=False) as second:
        await second.sign_in(console.key)
        await console.post("/console/sign-out")
        assert (await here.http.get("/console/site", headers=copied)).status_code == 303
        assert (await second.get("/console/site")).status_code == 200
        await console.sign_in(console.key)
        await console.post("/console/sign-out", {"everywhere": "yes"})
        assert (await second.get("/console/site")).status_code == 303


async def test_signing_in_again_ends_the_session_before(here: Reach, console: Console) -> None:
    """One browser has one session: what it no longer keeps opens nothing."""
    before = {"Cookie": f"{console.cookie}={console.http.cookies[console.cookie]}"}
    assert (await console.sign_in(console.key)).status_code == 303
    assert (await here.http.get("/console/site", headers=before)).status_code == 303
    assert (await console.get("/console/site")).status_code == 200


async def test_a_page_is_a_use_of_session_and_key(here: Reach, console: Console) -> None:
    """``last_used_at`` of the key shows it, as for the API."""
    assert (await console.get("/console/site")).status_code == 200

    async def used() -> Any:
        (key,) = await here.database.read(keys.all_keys)
        return key.last_used_at

    await eventually(used)


async def test_problems_are_pages_of_the_console(console: Console, here: Reach) -> None:
    """With the navigation of who is signed in; a script gets the whole of the page's content."""
    answer = await console.get("/console/nothing")
    assert answer.status_code == 404
    assert 'aria-label="Console"' in answer.text
    answer = await console.get("/console/nothing", **{"HX-Request": "true"})
    assert answer.headers["hx-retarget"] == "#main"
    wrong = await console.http.put("/console/site")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
    assert 'aria-label="Console"' not in (await here.http.get("/console/nothing")).text


@pytest.mark.parametrize(
    ("public_url", "host", "is_safe"),
    [
        ("", "127.0.0.1", True),
        ("", "localhost:8000", True),
        ("", "[::1]:8000", True),
        ("", "rebound.example", False),
        ("", "10.0.0.7:8000", False),
        ("http://signup.example.org", "signup.example.org", False),
        ("http://signup.example.org", "127.0.0.1", False),
        ("https://signup.example.org", "signup.example.org", True),
        ("https://signup.example.org", "Signup.Example.ORG:443", True),
        ("https://signup.example.org", "203.0.113.7:8000", False),
        ("https://signup.example.org", "127.0.0.1:8000", False),
    ],
)
async def test_no_key_is_typed_where_it_would_cross_a_network_in_clear(
    sqlite: str, make_settings: Callable[..., Settings], public_url: str, host: str, is_safe: bool
) -> None:
    """By https and our own name, or from a browser at this machine; else a page says what to do."""
    made = make_settings(database_url=sqlite, public_url=public_url, secret_key="k" * 32)
    async with running_reach(made) as reach:
        at = f"http://127.0.0.1:{reach.settings.port}"
        async with httpx.AsyncClient(base_url=at, trust_env=False) as http:
            answer = await http.get(SIGN_IN, headers={"Host": host})
            assert answer.status_code == (200 if is_safe else 403)
            assert ('name="key"' in answer.text) == is_safe
            # A proxy may answer by http too: even so the key goes where it is encrypted.
            sent_to = f"{public_url}{SIGN_IN}" if public_url.startswith("https") else SIGN_IN
            assert (f'action="{sent_to}"' in answer.text) == is_safe
            assert ("REACH_PUBLIC_URL" in answer.text) != is_safe
            form = {"key": await new_key(reach)}
            said = {"Host": host, "Origin": public_url or f"http://{host}"}
            answer = await http.post(SIGN_IN, data=form, headers=said)
            assert answer.status_code == (303 if is_safe else 403)
            cookie = answer.headers.get("set-cookie", "")
            is_https = public_url.startswith("https")
            assert cookie.startswith("__Host-reach-console=") == (is_safe and is_https)
            assert ("Secure" in cookie) == (is_safe and is_https)


@pytest.mark.parametrize(
    ("headers", "is_safe"),
    [
        ({"X-Forwarded-For": "203.0.113.7"}, False),
        ({"Via": "1.1 proxy"}, False),
        ({"X-Forwarded-Host": "signup.example.org"}, False),
        ({"X-Forwarded-For": "172.18.0.1", "X-Forwarded-Host": "localhost:8080"}, True),
    ],
)
async def test_a_proxy_at_this_machine_may_speak_for_the_world(
    here: Reach, headers: dict[str, str], is_safe: bool
) -> None:
    """By a loopback name that is its own: so it must say which one the browser named."""
    answer = await here.http.get(SIGN_IN, headers=headers)
    assert answer.status_code == (200 if is_safe else 403)


async def test_a_console_that_is_off_leaves_no_trace(
    sqlite: str, make_settings: Callable[..., Settings]
) -> None:
    """Each of its addresses answers as one that never was; nor are its files there."""
    async with running_reach(make_settings(database_url=sqlite, console=False)) as reach:
        said = {"Accept": "text/html"}
        never = await reach.http.get("/never-was", headers=said)
        for path in ("/console", SIGN_IN, "/console/site", "/console/x", "/console/"):
            for method in ("GET", "POST", "PUT"):
                answer = await reach.http.request(method, path, headers=said)
                assert (answer.status_code, answer.text) == (404, never.text)
        assert (await reach.http.get("/static/console-0.css")).status_code == 404
        assert (await reach.http.get("/static/reach-0.css")).status_code == 200


PARTS = st.lists(st.sampled_from([*"/\\.:@?#&=%a\n\t ", "/..", "%2e"]), max_size=12).map("".join)


@settings(max_examples=200, deadline=None)
@given(PARTS)
def test_next_leads_nowhere_else(rest: str) -> None:
    """Whatever it says, browsers stay at the console: a path, with no other host in it."""
    for text in (rest, f"/{rest}", f"{BEGINS}{rest}", f"{BEGINS}/{rest}"):
        led = local_path(text)
        assert led in {BEGINS, text}
        assert led.startswith(BEGINS)
        there = httpx.URL("https://here.example/").join(led.replace("%2e", "."))
        assert there.host == "here.example"
        assert there.path == BEGINS or there.path.startswith(f"{BEGINS}/")
        assert not set("\\\n\t #") & set(led)
        assert not led.startswith(SIGN_IN)
    for path in ("/console/..", "/console/../links", "/console/x/%2E%2e/y", "/console/.%2e?x"):
        assert local_path(path) == BEGINS
    assert local_path("/console/people?q=a%20b&limit=5") == "/console/people?q=a%20b&limit=5"
