"""What somebody agreed to is kept with them, shown to them, and goes with them."""

from collections.abc import Callable
from typing import Any

import pytest

from reach.people.consent_request import network_of
from reach.settings import Settings
from tests.support.database.stored import everything
from tests.support.people import Holder, add, by_link, operator, signed_up, token_of
from tests.support.processes.reach import ADA, Reach, change_services

SITE = "https://shop.example"
FORM = {"name": "Ada", "email": "ada@example.com"}


@pytest.fixture
def settings(make_settings: Callable[..., Settings], database_url: str) -> Settings:
    """Settings on both databases that keep networks, with a site that may frame the form."""
    return make_settings(database_url=database_url, embed_origins=SITE, keep_consent_network=True)


async def consent(reach: Reach) -> dict[str, Any]:
    """Give what operators see of the one person's."""
    key = await reach.key("people:read")
    (person,) = (await reach.http.get("/v1/people", headers=key)).json()["items"]
    answer = await reach.http.get(f"/v1/people/{person['id']}/consent", headers=key)
    found: dict[str, Any] = answer.raise_for_status().json()
    assert found["consented_at"] >= person["created_at"]
    return found


#: How somebody signs up, and what is known then.
WAYS: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "page": ("/", {}, {"form": "page"}),
    "page, as browsers ask": ("/", {"Origin": "ours"}, {"form": "page"}),
    "site": ("/", {"Origin": SITE}, {"form": "site", "origin": SITE}),
    "frame": ("/embed", {}, {"form": "frame", "origin": SITE}),
    "script": ("/embed.json", {"Origin": SITE}, {"form": "script", "origin": SITE}),
    "api": ("/v1/signups", {}, {"form": "api"}),
    "no origin": ("/v1/signups", {"Origin": "null"}, {"form": "api"}),
}


@pytest.mark.parametrize("way", WAYS)
async def test_each_form_is_told(reach: Reach, way: str) -> None:
    """Which one it was, on which site, in which language, and what it said, if it is ours."""
    path, headers, expected = WAYS[way]
    headers = {**headers, "Accept-Language": "de"}
    if headers.get("Origin") == "ours":
        headers["Origin"] = reach.settings.origin
    if path == "/v1/signups":
        answer = await reach.http.post(path, json=FORM, headers=headers)
    else:
        answer = await reach.http.post(path, data={**FORM, "site": SITE}, headers=headers)
    assert answer.status_code in (200, 202, 303), answer.text
    found = await consent(reach)
    nothing = dict.fromkeys(("origin", "source", "confirmed_at"))
    told = {name: found[name] for name in (*nothing, "form", "language", "network")}
    assert told == {**nothing, "language": "de", "network": "127.0.0.0/24", **expected}
    if expected["form"] in ("page", "frame"):
        assert "Anmelden" in found["wording"]
        assert "motto" not in found["wording"]
    else:
        assert found["wording"] is None
    wordings = (await reach.database.read(everything))["consent_wordings"]
    assert len(wordings) == (found["wording"] is not None)


async def test_the_last_one_before_it_is_confirmed_counts(reach: Reach) -> None:
    """Somebody else may have typed the address first; once it is confirmed, nobody changes it."""
    person = await signed_up(reach)
    first = await consent(reach)
    await reach.http.post("/", data=FORM)
    found = await consent(reach)
    assert (first["form"], found["form"]) == ("api", "page")
    assert found["consented_at"] > first["consented_at"]
    headers = by_link(token_of(reach.settings, person.id, "confirm"))
    answer = await reach.http.post("/v1/me/confirmation", headers=headers)
    assert answer.status_code == 200
    assert (await reach.http.post("/v1/signups", json=ADA)).status_code == 202
    assert await consent(reach) == {**found, "confirmed_at": answer.json()["confirmed_at"]}


async def test_they_see_it_and_it_goes_with_them(reach: Reach) -> None:
    """On their page, in their export; after an erasure nothing is left of it."""
    await reach.http.post("/", data=FORM)
    person = await signed_up(reach)
    found = await consent(reach)
    assert found["network"] == "127.0.0.0/24"
    own = Holder(reach, person.id, "manage")
    page = (await own.get("/manage")).text
    assert "What you agreed to" in page
    assert "127.0.0.0/24" in page
    headers = by_link(own.token)
    export = (await reach.http.get("/v1/me/export", headers=headers)).json()
    assert export["consent"] == found
    assert (await reach.http.delete("/v1/me", headers=headers)).status_code == 204
    assert "127.0.0.0" not in repr(await reach.database.read(everything))


async def test_who_was_added_or_is_nobody(reach: Reach) -> None:
    """An operator's word is told as such; nobody has agreed to nothing."""
    http = await operator(reach, "people:read", "people:write")
    person = (await add(http)).json()
    assert (await consent(reach))["form"] == "operator"
    assert (await http.delete(f"/v1/people/{person['id']}")).status_code == 204
    answer = await http.get(f"/v1/people/{person['id']}/consent")
    assert (answer.status_code, answer.json()["type"]) == (
        404,
        f"{reach.settings.origin}/problems/no-such-person",
    )


async def test_no_network_is_kept_by_default(reach: Reach) -> None:
    """Only the setting has it kept."""
    usual = Settings().keep_consent_network
    settings = reach.settings.model_copy(update={"keep_consent_network": usual})
    change_services(reach.app, settings=settings)
    await signed_up(reach)
    assert (await consent(reach))["network"] is None


def test_a_network_is_part_of_an_address() -> None:
    """24 bits of IPv4, 48 of IPv6; a caller without an address has none."""
    assert network_of("192.0.2.77") == "192.0.2.0/24"
    assert network_of("2001:db8:1:2::/64") == "2001:db8:1::/48"
    assert network_of("local") is None
