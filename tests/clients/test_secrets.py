"""A key goes to the server that it is for, in one header, and is shown nowhere."""

import logging
import pickle
import traceback
from dataclasses import asdict

import pytest

from reach_client import AsyncClient, Client, ReachError, Retries, Unauthorised
from reach_client.secret import Secret
from tests.support.clients import Kind, Using, key_of, using
from tests.support.people import signed_up, token_of
from tests.support.processes.reach import Reach

KEY = "rk_secret_of_nobody"


def test_nothing_that_is_printed_has_a_key_in_it() -> None:
    """Not what holds it, and what holds that; and it is not pickled either."""
    for client in (Client("http://127.0.0.1:1", KEY), AsyncClient("http://127.0.0.1:1", KEY)):
        for what in (client, client.sender, client.sender._server, vars(client), client.me(KEY)):
            assert KEY not in f"{what!r} {what}", what
            assert KEY not in f"{getattr(what, '__dict__', '')}"
    with pytest.raises(TypeError):
        pickle.dumps(Secret(KEY))


async def test_a_refusal_has_no_key_in_it(
    reach_on_sqlite: Reach, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor has its traceback with every variable, nor the log, however much is logged."""
    caplog.set_level(logging.DEBUG)
    async with using(kind, reach_on_sqlite.settings.origin, KEY) as client:
        with pytest.raises(Unauthorised) as caught:
            await client.do(client.client.stats)
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "Unauthorised" in (words := "".join(told.format()))
    assert KEY not in words
    assert "/v1/stats" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in repr(caught.value.__dict__)


async def test_a_new_key_is_shown_to_those_who_ask_for_it(operator_on_sqlite: Using) -> None:
    """By its name, and not by printing what it came in."""
    made = await operator_on_sqlite.do(operator_on_sqlite.client.keys.create, "a", ["keys:write"])
    assert made.key == asdict(made)["key"]
    assert made.key not in f"{made!r} {made}"


async def test_a_key_is_sent_with_what_needs_one(
    operator_on_sqlite: Using, reach_on_sqlite: Reach
) -> None:
    """Not with a sign-up; and a person's link goes in its place, not beside it."""
    using, client = operator_on_sqlite, operator_on_sqlite.client
    await using.do(client.sign_up, "ada@example.com", "Ada")
    await using.do(client.request_link, "ada@example.com")
    person = await signed_up(reach_on_sqlite, "eve@example.com")
    token = token_of(reach_on_sqlite.settings, person.id)
    await using.do(client.me(token).get)
    await using.do(client.people.get, person.id)
    sent = [one.headers.get("Authorization", "") for one in using.line.requests]
    key = using.line.requests[-1].headers["Authorization"]
    assert sent == ["", "", f"Bearer {token}", key]
    assert key.startswith("Bearer rk_")


async def test_a_key_may_be_read_from_a_file(reach_on_sqlite: Reach, kind: Kind) -> None:
    """Its line's end does no harm; a key that cannot be sent is refused, and not quoted."""
    key = key_of(await reach_on_sqlite.key())
    async with using(kind, reach_on_sqlite.settings.origin, f"{key}\n") as client:
        assert (await client.do(client.client.stats)).people == 0
    for bad in ("", "  ", f"{KEY}\n{KEY}", f"{KEY}é"):
        with pytest.raises(ValueError, match="one line") as caught:
            Client("http://127.0.0.1:1", bad)
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.com", "ftp://example.com", "http://", "http://[::1"),
        *(f"https://u:{KEY}@example.com", "https://example.com?a=b", "https://example.com#a"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """At once, and without its words: a password may be in it."""
    for client in (Client, AsyncClient):
        with pytest.raises(ValueError, match="base_url") as caught:
            client(url)
        assert KEY not in str(caught.value)


async def test_the_environment_names_server_and_key(
    reach_on_sqlite: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For those who ask for it: a key of the environment goes to no other server."""
    monkeypatch.setenv("REACH_API_KEY", key_of(await reach_on_sqlite.key()))
    monkeypatch.delenv("REACH_API_URL", raising=False)
    with pytest.raises(KeyError, match="REACH_API_URL"):
        AsyncClient.from_environment()
    monkeypatch.setenv("REACH_API_URL", f"{reach_on_sqlite.settings.origin}/")
    async with AsyncClient.from_environment() as client:
        assert (await client.stats()).people == 0
    async with AsyncClient(reach_on_sqlite.settings.origin, retries=Retries(tries=1)) as client:
        with pytest.raises(ReachError, match="401"):
            await client.stats()
