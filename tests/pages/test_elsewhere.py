"""What pages elsewhere have their visitors load: it opens nothing, and locks nobody out."""

from collections.abc import AsyncIterator, Callable

import pytest

from reach.settings import Settings
from tests.support.people import holder
from tests.support.processes.reach import Reach, running_reach

#: By whom, how and for what browsers ask, in Chromium's words (Sec-Fetch-Site, -Mode, -Dest); and
#: of links that are loaded ahead, Sec-Purpose.
LOADS = {
    "image": ("cross-site", "no-cors", "image"),
    "script": ("cross-site", "no-cors", "script"),
    "fetch": ("cross-site", "no-cors", "empty"),
    "fetch with CORS": ("cross-site", "cors", "empty"),
    "frame": ("cross-site", "navigate", "iframe"),
    "object": ("cross-site", "navigate", "object"),
    "prefetch": ("cross-site", "no-cors", "empty", "prefetch"),
    "prerender": ("cross-site", "navigate", "document", "prefetch;prerender"),
    "a sibling's image": ("same-site", "no-cors", "image"),
    "a sibling's frame": ("same-site", "navigate", "iframe"),
}
VISITS = {
    "a click in a web mail": ("cross-site", "navigate", "document"),
    "a click on a sibling": ("same-site", "navigate", "document"),
    "a click in a mail program": ("none", "navigate", "document"),
    "our own form": ("same-origin", "navigate", "document"),
    "an older browser": ("cross-site", "navigate"),
    "no browser": (),
}
NAMES = ("Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Purpose")


@pytest.fixture
async def twice(make_settings: Callable[..., Settings], sqlite: str) -> AsyncIterator[Reach]:
    """Reach, where two wrong links of one client are too many."""
    settings = make_settings(
        database_url=sqlite, limit_failed_links="2/hour", trusted_proxies="127.0.0.1"
    )
    async with running_reach(settings) as reach:
        yield reach


def said(words: tuple[str, ...], by: int = 0) -> dict[str, str]:
    """Write the headers that a browser sends, the ``by``-th one."""
    forwarded = {"X-Forwarded-For": f"192.0.2.{by}"}
    return {**dict(zip(NAMES, words, strict=False)), **forwarded}


async def test_it_is_refused_and_counts_for_nothing(twice: Reach) -> None:
    """With a good link, a wrong one or a cookie: 403, nothing kept, and no failure more."""
    person = await holder(twice)
    good, wrong = f"/manage?token={person.token}", "/manage?token=x"
    pages = [good, wrong, "/confirm?token=x", "/manage", "/manage/removal", "/manage/switch"]
    for by, (load, words) in enumerate(LOADS.items()):
        headers = {**said(words, by), "Cookie": person.cookie["Cookie"]}
        for path in pages:
            answer = await twice.http.get(path, headers=headers)
            assert answer.status_code == 403, (load, path)
            assert "set-cookie" not in answer.headers
            assert "ada@example.com" not in answer.text
        assert (await twice.http.head(good, headers=headers)).status_code == 403
        assert (await twice.http.post("/manage/removal", headers=headers)).status_code == 403
        for status in (303, 303, 429):
            answer = await twice.http.get(wrong, headers=said((), by))
            assert answer.status_code == status, load
    assert await person.stored()


async def test_who_is_led_here_comes_in(twice: Reach) -> None:
    """By a click, wherever it was; and a wrong link is as wrong as ever, a good one as good."""
    person = await holder(twice)
    for by, (visit, words) in enumerate(VISITS.items()):
        headers = said(words, by)
        for status in (303, 303, 429):
            answer = await twice.http.get("/manage?token=x", headers=headers)
            assert answer.status_code == status, visit
        answer = await twice.http.get(f"/manage?token={person.token}", headers=headers)
        assert answer.headers["location"] == "/manage?kept", visit
        twice.http.cookies.clear()
        page = await twice.http.get("/manage", headers={**person.cookie, **headers})
        assert "ada@example.com" in page.text, visit


async def test_a_page_says_so(twice: Reach) -> None:
    """A page where one is wanted, a problem elsewhere; its type is explained."""
    words = said(LOADS["frame"])
    page = await twice.http.get("/manage?token=x", headers={**words, "Accept": "text/html"})
    assert "This page opens only when you click a link to it" in page.text
    problem = await twice.http.get("/manage?token=x", headers=words)
    assert problem.json()["type"].endswith("/problems/loaded-from-elsewhere")
    assert (await twice.http.get("/problems/loaded-from-elsewhere")).status_code == 200


async def test_no_page_elsewhere_can_show_a_key(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """Before a browser sends one it asks, which counts for nothing; who is named here may."""
    settings = make_settings(
        database_url=sqlite, limit_failed_keys="1/hour", cors_origins="https://shop.example"
    )
    async with running_reach(settings) as reach:
        for origin in ("https://evil.example", "https://shop.example"):
            asks = {
                "Origin": origin,
                "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": "authorization",
            }
            for _ in range(3):
                answer = await reach.http.options("/v1/people", headers=asks)
                allowed = answer.headers.get("access-control-allow-origin")
                assert (allowed == origin) == (origin == "https://shop.example")
        assert (await reach.http.get("/v1/people", headers=await reach.key())).status_code == 200
