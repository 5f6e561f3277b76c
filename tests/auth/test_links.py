"""A link is worth something only as it was made, for what it was made, and as long as it says."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import jwt
import pytest

from reach.access.signing import Signer
from reach.auth import keys
from reach.auth.links import SCOPES, BadLink, Link, Links, Scope
from reach.settings import BadSettings, Settings
from tests.auth.test_guard import OPEN, operations
from tests.support.people.operator import NOBODY
from tests.support.people.own import OWN, by_link, say, signed_up, token_of
from tests.support.people.traces import everything
from tests.support.reach import Reach, running_reach

FIRST, SECOND, THIRD = ("a-secret-key-of-forty-characters-number-" + n for n in "123")
ADA = Link(UUID(NOBODY), "manage", 7)


def a_settings(secret_key: str = FIRST, **changes: object) -> Settings:
    """Settings with this key."""
    return Settings(secret_key=secret_key, public_url="https://a.example", **changes)  # type: ignore[arg-type]  # pydantic checks them


def flipped(token: str) -> Iterator[bytes]:
    """Give the token with each of its bits turned over, one at a time."""
    raw = token.encode()
    for at in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[at // 8] ^= 1 << at % 8
        yield bytes(changed)


def forged(settings: Settings) -> list[str]:
    """Tokens of others' making: with no signature, another's, and by our key of another use."""
    claims = {"sub": ADA.person_id.hex, "scope": "manage", "version": 0, "exp": time.time() + 99}
    other = Signer(settings, "forms").keys[0]
    found = [jwt.encode(claims, "", "none")]
    return found + [jwt.encode(claims, key, "HS256") for key in (THIRD, other)]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_link_says_what_it_was_made_for(scope: Scope) -> None:
    """Its address is the page of its scope, at the public address; a library reads it too."""
    links = Links(a_settings())
    link = Link(UUID(NOBODY), scope, 7)
    address, _, token = links.url(link).partition("?token=")
    assert address == f"https://a.example/{scope}"
    assert links.read(token) == link
    claims = jwt.decode(token, Signer(a_settings(), "links").keys[0], ["HS256"])
    assert claims.pop("exp") == pytest.approx(time.time() + 7 * 86_400, abs=60)
    assert claims == {"sub": link.person_id.hex, "scope": scope, "version": 7}


def test_of_no_link_can_a_bit_be_changed() -> None:
    """Every single one of it: header, claims, signature, and the dots between them."""
    links = Links(a_settings())
    for changed in flipped(links.mint(ADA)):
        with pytest.raises(BadLink):
            links.read(changed.decode("latin-1"))


def test_what_we_did_not_sign_is_no_link() -> None:
    """Junk of any kind, other keys, keys of other uses, and claims that we never make."""
    links, ours = Links(a_settings()), Signer(a_settings(), "links").keys[0]
    token = links.mint(ADA)
    junk = ["", ".", "..", "...", "x" * 10_000, token + "=", token + " ", " " + token]
    junk += [token[:-1], token + "A", token * 2, "\ud800", "é.é.é", "\0", *forged(a_settings())]
    claims = {"sub": ADA.person_id.hex, "scope": "manage", "version": 0, "exp": time.time() + 99}
    for wrong in (
        {"scope": "all"},
        {"scope": None},
        {"sub": "x"},
        {"sub": 5},
        {"version": "0"},
        {"version": None},
        {"exp": time.time() - 1},
        {"exp": "soon"},
    ):
        junk.append(jwt.encode(claims | wrong, ours, "HS256"))
    junk += [jwt.encode({k: v for k, v in claims.items() if k != n}, ours, "HS256") for n in claims]
    for text in junk:
        with pytest.raises(BadLink):
            links.read(text)
    assert links.read(jwt.encode(claims, ours, "HS256")).version == 0


def test_a_link_ends_by_its_date() -> None:
    """After `REACH_LINK_DAYS`, and not before."""
    with pytest.raises(BadLink):
        Links(a_settings()).read(Links(a_settings(link_days=1e-9)).mint(ADA))
    assert Links(a_settings()).read(Links(a_settings(link_days=0.01)).mint(ADA)) == ADA


def test_keys_can_be_replaced() -> None:
    """The first signs, all are accepted; what a key that is gone has signed is void."""
    old, both, new = (Links(a_settings(k)) for k in (FIRST, f"{SECOND},{FIRST}", SECOND))
    by_old, by_both = old.mint(ADA), both.mint(ADA)
    assert old.read(by_old) == both.read(by_old) == both.read(by_both) == new.read(by_both) == ADA
    for links, token in ((new, by_old), (old, by_both)):
        with pytest.raises(BadLink):
            links.read(token)


def test_without_a_key_there_are_no_links() -> None:
    """Rather than links that anybody could make."""
    with pytest.raises(BadSettings, match="REACH_SECRET_KEY"):
        Links(Settings())


def pieces(token: str) -> list[str]:
    """Give the token with one bit changed in each of its parts, and its signature taken away."""
    head, claims, signature = token.split(".")
    turned = (part[:5] + ("A" if part[5] != "A" else "B") + part[6:] for part in token.split("."))
    first, second, third = turned
    read = json.loads(base64.urlsafe_b64decode(claims + "=="))
    later = base64.urlsafe_b64encode(json.dumps({**read, "exp": read["exp"] + 1}).encode())
    return [
        f"{first}.{claims}.{signature}",
        f"{head}.{second}.{signature}",
        f"{head}.{claims}.{third}",
        f"{head}.{later.rstrip(b'=').decode()}.{signature}",
        f"{head}.{claims}.",
    ]


async def worthless(reach: Reach) -> dict[str, str | None]:
    """Every kind of credential that opens nothing, to be tried at every address."""
    ada, bob = await signed_up(reach), await signed_up(reach, "bob@example.com")
    past = datetime.now(UTC) - timedelta(seconds=1)
    dead = {"revoked": keys.generate(), "expired": keys.generate()}
    await reach.database.write(keys.add, dead["revoked"], "revoked", keys.SCOPES)
    await reach.database.write(keys.revoke, "revoked")
    await reach.database.write(keys.add, dead["expired"], "expired", keys.SCOPES, past)
    short = reach.settings.model_copy(update={"link_days": 1e-9})
    other = reach.settings.model_copy(update={"secret_key": a_settings(SECOND).secret_key})
    good = token_of(reach.settings, ada.id)
    assert (await say(reach, ("DELETE", "/v1/me"), token_of(reach.settings, bob.id))).is_success
    found: dict[str, str | None] = {
        "none": None,
        "empty": "",
        "junk": "junk",
        "unknown key": keys.generate(),
        "another secret's link": token_of(other, ada.id),
        "a gone person's link": token_of(reach.settings, bob.id),
        "nobody's link": token_of(reach.settings, NOBODY),
        "a later version": token_of(reach.settings, ada.id, version=1),
        "an earlier version": token_of(reach.settings, ada.id, version=-1),
        "two": f"{good} {good}",
    }
    found |= {f"{name} key": text for name, text in dead.items()}
    found |= {f"expired {scope}": token_of(short, ada.id, scope) for scope in SCOPES}
    found |= {f"bent {n}": text for n, text in enumerate(pieces(good))}
    return found | {f"forged {n}": text for n, text in enumerate(forged(reach.settings))}


def told(answer: httpx.Response) -> tuple[int, bytes, str]:
    """What a caller without rights learns."""
    headers = {n: v for n, v in answer.headers.items() if n not in ("date", "x-request-id")}
    return answer.status_code, answer.content, str(headers)


async def test_nothing_worthless_opens_anything(reach: Reach) -> None:
    """Every operation, every kind of bad credential: one 401 for keys, one for links; no change."""
    tokens = await worthless(reach)
    ada = await signed_up(reach)
    before = await reach.database.read(everything)
    answers: dict[bool, set[tuple[int, bytes, str]]] = {True: set(), False: set()}
    for method, path in sorted(operations(reach) - OPEN):
        is_own = (method, path) in OWN
        others = [token_of(reach.settings, ada.id)]  # a link is no key …
        if is_own:
            others = [(await reach.key())["Authorization"].removeprefix("Bearer ")]  # nor is a key
        for token in [*tokens.values(), *others]:
            at = (method, path.replace("{id}", str(ada.id)))
            answers[is_own].add(told(await say(reach, at, token)))
    assert [len(found) for found in answers.values()] == [1, 1], answers
    for found, kind in ((answers[True], "link-void"), (answers[False], "unauthorised")):
        ((status, content, headers),) = found
        assert status == 401
        assert set(json.loads(content)) == {"type", "title", "status"}
        assert json.loads(content)["type"].endswith(f"/problems/{kind}")
        for header in ("application/problem+json", "no-store", 'Bearer realm="reach"'):
            assert header in headers
    assert await reach.database.read(everything) == before


async def test_a_link_does_what_its_scope_says(reach: Reach) -> None:
    """And no more: 403 for the rest, one answer, and nothing changed."""
    ada = await signed_up(reach)
    confirm = token_of(reach.settings, ada.id, "confirm")
    before = await reach.database.read(everything)
    answers = set()
    for operation, scopes in OWN.items():
        if "confirm" not in scopes:
            answers.add(told(await say(reach, operation, confirm)))
    ((status, content, headers),) = answers
    assert (status, json.loads(content)["type"][-10:]) == (403, "wrong-link")
    assert "application/problem+json" in headers
    assert await reach.database.read(everything) == before
    for number, operation in enumerate(OWN):
        bob = await signed_up(reach, f"bob{number}@example.com")
        assert (await say(reach, operation, token_of(reach.settings, bob.id))).is_success


async def test_anothers_link_changes_another(reach: Reach) -> None:
    """Bob's link does to Bob whatever it is asked; Ada's record and messages stay as they are."""
    ada, bob = await signed_up(reach), await signed_up(reach, "bob@example.com")
    key = await reach.key()

    async def hers() -> list[object]:
        urls = (f"/v1/people/{ada.id}", f"/v1/people/{ada.id}/messages")
        return [(await reach.http.get(url, headers=key)).json() for url in urls]

    before = await hers()
    token = token_of(reach.settings, bob.id)
    for operation in [("PATCH", "/v1/me"), ("POST", "/v1/me/confirmation"), ("DELETE", "/v1/me")]:
        assert (await say(reach, operation, token)).is_success
        assert await hers() == before
    by_hers = await reach.http.get("/v1/me", headers=by_link(token_of(reach.settings, ada.id)))
    assert by_hers.json() == before[0]


async def test_no_bit_of_a_link_can_be_changed_over_http(reach: Reach) -> None:
    """Every bit, at one address: 401, or 400 where it is no HTTP any more; never what is hers."""
    ada = await signed_up(reach)
    token = token_of(reach.settings, ada.id)
    for changed in flipped(token):
        is_value = all(31 < byte != 127 for byte in changed) and not changed.endswith(b" ")
        if not is_value:
            continue  # no client can send that
        headers = [(b"authorization", b"Bearer " + changed)]
        answer = await reach.http.get("/v1/me", headers=headers)
        assert answer.status_code == 401, changed


async def test_links_of_before_a_new_secret_work_until_it_is_alone(reach: Reach) -> None:
    """`REACH_SECRET_KEY=new,old`, a while, then `new`."""
    ada = await signed_up(reach)
    old = reach.settings.secret_key.get_secret_value()
    token = token_of(reach.settings, ada.id)
    for secrets, status in ((f"{SECOND},{old}", 200), (SECOND, 401)):
        key = a_settings(secrets).secret_key
        settings = reach.settings.model_copy(update={"secret_key": key})
        async with running_reach(settings) as later:
            assert (await say(later, ("GET", "/v1/me"), token)).status_code == status
            by_new = token_of(settings, ada.id)
            assert (await say(later, ("GET", "/v1/me"), by_new)).status_code == 200
