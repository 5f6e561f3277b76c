"""Signing in at the console by OpenID Connect, at a real provider, and what the pages say."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage
from pydantic import SecretStr
from sqlalchemy import select

from reach.console.oidc import cookie_name
from reach.console.safety import SIGN_IN
from reach.console.sessions import sessions
from reach.db.transaction import Transaction
from reach.settings import Settings
from tests.support.console import Console, at_console
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.openid import ADA, VERIFIED, answer_in, client_of
from tests.support.processes.reach import Reach, running_reach
from tests.support.servers.openid import AuthlibProvider, CertifiedProvider, NoProvider, find_node
from tests.support.trail import trail

START, CALLBACK = "/console/oidc/start", "/console/oidc/callback"
MakeSettings = Callable[..., Settings]


@pytest.fixture(scope="module")
def provider() -> Iterator[AuthlibProvider]:
    """Run a provider that believes every name."""
    with AuthlibProvider.running() as provider:
        yield provider


def settings_for(make: MakeSettings, issuer: str, **changes: object) -> Settings:
    """Settings of a Reach whose operators sign in there."""
    client = client_of(issuer)
    names = ("issuer", "client_id", "client_secret", "grants")
    usual = {f"oidc_{name}": getattr(client, f"oidc_{name}") for name in names}
    return make(**{**usual, "secret_key": SecretStr("k" * 40), **changes})


@pytest.fixture
async def here(
    database_url: str, make_settings: MakeSettings, provider: AuthlibProvider
) -> AsyncIterator[Reach]:
    """Run Reach, on each database, with that provider."""
    provider.say(ADA, **VERIFIED)
    settings = settings_for(make_settings, provider.issuer, database_url=database_url)
    async with running_reach(settings) as reach:
        yield reach


@pytest.fixture
async def visitor(here: Reach) -> AsyncIterator[Console]:
    """Somebody who is not signed in."""
    async with at_console(here, signed_in=False) as console:
        yield console


async def begun(visitor: Console, back: str = "/console/site") -> str:
    """Follow the page's link; returns where it leads."""
    shown = await visitor.get(f"{SIGN_IN}?next={back}")
    assert f'href="{START}?next=' in shown.text
    answer = await visitor.get(f"{START}?next={back}")
    assert answer.status_code == 303
    return str(answer.headers["location"])


async def test_an_operator_signs_in_and_is_led_back(
    here: Reach, visitor: Console, provider: AuthlibProvider
) -> None:
    """With what their address grants, as long as by a key; the trail has their subject alone."""
    url = await begun(visitor, "/console/site?x=1")
    answer = await visitor.get(provider.sign_in(url, ADA))
    assert answer.status_code == 303
    assert cookie_name(here.settings) not in visitor.http.cookies
    said = [line for line in answer.headers.get_list("set-cookie") if visitor.cookie in line]
    assert all(word in said[0] for word in ("HttpOnly", "SameSite=lax", "Max-Age=43200"))
    led = await visitor.get(answer.headers["location"])
    assert led.headers["location"] == "/console/site?x=1"
    shown = await visitor.get("/console/site")
    assert "people:read" in shown.text
    assert "messages:read" not in shown.text
    (entry,) = await trail(here.database)
    assert (entry.actor.kind, entry.actor.id, entry.actor.via) == ("oidc", ADA, "console")
    assert entry.action == "session.start"


async def test_who_signs_out_is_told_that_it_is_here_alone(
    visitor: Console, provider: AuthlibProvider
) -> None:
    """The provider's own session goes on, for other sites' sake."""
    await visitor.get(provider.sign_in(await begun(visitor), ADA))
    shown = await visitor.get("/console/site")
    visitor.proof = shown.text.partition('name="proof" value="')[2].partition('"')[0]
    answer = await visitor.post("/console/sign-out")
    assert "still be signed in" in (await visitor.get(answer.headers["location"])).text
    assert (await visitor.get("/console/site")).status_code == 303


async def test_signing_in_again_ends_the_session_before(
    here: Reach, visitor: Console, provider: AuthlibProvider
) -> None:
    """One by key, say, in another tab meanwhile: one browser has one session."""
    key = (await here.key("people:read"))["Authorization"].removeprefix("Bearer ")
    url = await begun(visitor)
    await visitor.sign_in(key)
    before = {"Cookie": f"{visitor.cookie}={visitor.http.cookies[visitor.cookie]}"}
    led = await visitor.get(f"{START}?next=/console/site")
    assert led.headers["location"] == "/console/site", "who is signed in stays who they are"
    assert (await visitor.get(provider.sign_in(url, ADA))).status_code == 303
    assert (await here.http.get("/console/site", headers=before)).status_code == 303
    assert ADA in (await visitor.get("/console/site")).text


async def test_an_answer_without_its_cookie_signs_nobody_in(
    here: Reach, visitor: Console, provider: AuthlibProvider
) -> None:
    """A page elsewhere that leads to somebody's answer signs its visitor in as nobody."""
    url = await begun(visitor)
    back = provider.sign_in(url, ADA)
    async with at_console(here, signed_in=False) as other:
        answer = await other.get(back)
        assert (answer.status_code, visitor.cookie in answer.cookies) == (400, False)
        assert "not begun in this browser" in answer.text
        await begun(other)
        assert (await other.get(back)).status_code == 400
    twice = await visitor.get(f"{back}&state=x")
    assert twice.status_code == 400


async def test_an_answer_is_good_once(visitor: Console, provider: AuthlibProvider) -> None:
    """The browser has forgotten what it began with; the key's form is there as ever."""
    back = provider.sign_in(await begun(visitor), ADA)
    kept = dict(visitor.http.cookies)
    assert (await visitor.get(back)).status_code == 303
    assert (await visitor.get(back)).status_code == 400
    visitor.http.cookies.update(kept)
    again = await visitor.get(back)
    assert (again.status_code, 'name="key"' in again.text) == (403, True)
    assert "does not prove who you are" in again.text


async def test_who_is_not_on_the_list_is_told_so(
    here: Reach, visitor: Console, provider: AuthlibProvider, told: Callable[[], str]
) -> None:
    """Nothing is begun, and neither page nor log says who it is."""
    provider.say("eve-1", email="eve@example.org", email_verified=True)
    answer = await visitor.get(provider.sign_in(await begun(visitor), "eve-1"))
    assert (answer.status_code, visitor.cookie in answer.cookies) == (403, False)
    assert "Your account may do nothing here" in answer.text
    assert "eve-1" not in answer.text

    def count(tx: Transaction) -> int:
        return len(tx.execute(select(sessions.c.id)).all())

    assert await here.database.read(count) == 0
    assert '"no value of the claim grants anything"' in told()
    assert "eve-1" not in told()


async def test_a_browser_goes_the_whole_way(
    sqlite: str, make_settings: MakeSettings, provider: AuthlibProvider, browser: Browser
) -> None:
    """By the keyboard, to another site and back: Reach's policies and cookies let that pass.

    To browsers localhost and 127.0.0.1 are two sites. axe finds nothing on Reach's page.
    """
    issuer = provider.issuer.replace("127.0.0.1", "localhost")
    settings = settings_for(make_settings, issuer, database_url=sqlite, oidc_name="Authlib")
    provider.say(ADA, **VERIFIED)
    complaints: list[str] = []
    async with running_reach(settings) as reach, await browser.new_context() as context:
        origin = reach.settings.origin

        def hear(said: ConsoleMessage) -> None:
            # The provider's own page wants what is elsewhere.
            if said.type in ("error", "warning") and said.location["url"].startswith(origin):
                complaints.append(said.text)

        context.on("console", hear)
        page = await context.new_page()
        await page.goto(f"{origin}/console/site")
        results = await Axe().run(page)
        assert results.response["violations"] == []
        for _ in range(9):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.tagName") == "A":
                break
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{issuer}/**")
        await page.get_by_placeholder("sub").fill(ADA)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{origin}/console/site")
        assert await page.locator(".who").get_by_text(ADA).count() == 1
    assert complaints == []


async def test_by_https_the_cookie_is_of_this_host_alone(
    sqlite: str, make_settings: MakeSettings, provider: AuthlibProvider
) -> None:
    """A neighbour's site can set none of its name (``__Host-``), and the way back is by https."""
    changes = {"database_url": sqlite, "public_url": "https://signup.example.org"}
    settings = settings_for(make_settings, provider.issuer, **changes)
    async with running_reach(settings) as reach:
        where = f"http://127.0.0.1:{reach.settings.port}{START}"
        said = {"Host": "signup.example.org"}
        async with httpx.AsyncClient(verify=NO_CERTIFICATES, trust_env=False) as http:
            answer = await http.get(where, headers=said)
    callback = "redirect_uri=https%3A%2F%2Fsignup.example.org%2Fconsole%2Foidc%2Fcallback"
    assert callback in answer.headers["location"]
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-reach-oidc=")
    assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=lax", "Path=/;"))


async def test_who_shows_wrong_answers_again_and_again_is_refused(
    sqlite: str, make_settings: MakeSettings, provider: AuthlibProvider
) -> None:
    """As for wrong keys: the provider is not asked for each. A page elsewhere uses up nothing."""
    changes = {"database_url": sqlite, "limit_failed_keys": "2/minute"}
    settings = settings_for(make_settings, provider.issuer, **changes)
    async with running_reach(settings) as reach, at_console(reach, signed_in=False) as visitor:
        for _ in range(4):
            assert (await visitor.get(f"{CALLBACK}?code=x&state=y")).status_code == 400
        statuses = []
        for _ in range(3):
            state = answer_in(await begun(visitor))["state"]
            statuses.append((await visitor.get(f"{CALLBACK}?code=x&state={state}")).status_code)
        assert statuses == [403, 403, 429]


async def test_a_certified_provider_too(sqlite: str, make_settings: MakeSettings) -> None:
    """With its own pages, cookies and rules; who changes their mind there is told so."""
    try:
        find_node()
    except NoProvider as reason:  # before anything runs that would have to be stopped
        pytest.skip(str(reason))
    with CertifiedProvider.stopped() as provider:
        settings = settings_for(make_settings, provider.issuer, database_url=sqlite)
        async with (
            running_reach(settings) as reach,
            at_console(reach, signed_in=False) as visitor,
        ):
            provider.redirect_uri = f"{reach.settings.origin}{CALLBACK}"
            provider.start()
            provider.say(ADA, **VERIFIED)
            answer = await visitor.get(provider.sign_in(await begun(visitor), ADA, declines=True))
            assert answer.status_code == 403
            assert "did not sign you in" in answer.text
            answer = await visitor.get(provider.sign_in(await begun(visitor), ADA))
            assert (answer.status_code, visitor.cookie in answer.cookies) == (303, True)


async def test_a_provider_that_is_down_keeps_no_key_out(
    sqlite: str, make_settings: MakeSettings, told: Callable[[], str]
) -> None:
    """Reach starts, its page says what is wrong, and the API key signs in."""
    settings = settings_for(make_settings, "http://127.0.0.1:9", database_url=sqlite)
    async with (
        running_reach(settings) as reach,
        at_console(reach, signed_in=False) as visitor,
    ):
        answer = await visitor.get(START)
        assert (answer.status_code, 'name="key"' in answer.text) == (503, True)
        assert "cannot be reached" in answer.text
        assert "the OpenID provider cannot be used" in told()
        key = (await reach.key("people:read"))["Authorization"].removeprefix("Bearer ")
        assert (await visitor.sign_in(key)).status_code == 303


@pytest.mark.parametrize(
    ("changes", "goes_on"),
    [
        ({}, True),
        ({"oidc_name": "Authlib"}, True),
        ({"oidc_grants": "bob@example.org=*"}, False),
        ({"oidc_client_secret": SecretStr("another")}, False),
    ],
)
async def test_who_is_taken_off_the_list_is_out(
    sqlite: str,
    make_settings: MakeSettings,
    provider: AuthlibProvider,
    changes: dict[str, Any],
    *,
    goes_on: bool,
) -> None:
    """Sessions that began by another list, or another secret, are over when Reach starts again."""
    settings = settings_for(make_settings, provider.issuer, database_url=sqlite)
    async with running_reach(settings) as reach, at_console(reach, signed_in=False) as visitor:
        await visitor.get(provider.sign_in(await begun(visitor), ADA))
        token = visitor.http.cookies[visitor.cookie]
    settings = settings_for(make_settings, provider.issuer, database_url=sqlite, **changes)
    async with running_reach(settings) as reach, at_console(reach, signed_in=False) as visitor:
        visitor.http.cookies = httpx.Cookies({visitor.cookie: token})
        assert (await visitor.get("/console/site")).status_code == (200 if goes_on else 303)


async def test_without_a_provider_there_is_no_button(
    sqlite: str, make_settings: MakeSettings, provider: AuthlibProvider
) -> None:
    """Nor a way in: and sessions that began at one are over once it is named no more."""
    settings = settings_for(make_settings, provider.issuer, database_url=sqlite)
    async with running_reach(settings) as reach, at_console(reach, signed_in=False) as visitor:
        await visitor.get(provider.sign_in(await begun(visitor), ADA))
        assert (await visitor.get("/console/site")).status_code == 200
        token = visitor.http.cookies[visitor.cookie]
    async with (
        running_reach(make_settings(database_url=sqlite)) as reach,
        at_console(reach, signed_in=False) as visitor,
    ):
        assert START not in (await visitor.get(SIGN_IN)).text
        for path in (START, CALLBACK):
            assert (await visitor.get(path)).status_code == 404
        visitor.http.cookies = httpx.Cookies({visitor.cookie: token})
        assert (await visitor.get("/console/site")).status_code == 303
