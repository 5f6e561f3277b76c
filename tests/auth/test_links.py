"""A link is worth something only as it was made, for what it was made, and as long as it says."""

import hmac
import json
import re
import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from itsdangerous.encoding import base64_decode, base64_encode

from reach.auth import keys
from reach.auth.links import ENDLESS, NEVER, SCOPES, BadLink, Link, Links, Scope
from reach.auth.signing import Signer
from reach.settings import BadSettings, Settings
from reach.telemetry.logging import PRIVATE
from reach.web.middleware import REQUEST_ID
from tests.support.canaries import found_in
from tests.support.database.stored import everything
from tests.support.http.document import OPEN, operations
from tests.support.people import NOBODY, OWN, by_link, new_address_token, say, signed_up, token_of
from tests.support.processes.reach import Reach, running_reach

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


def claims(letter: bytes = b"m", end: float | None = None) -> bytes:
    """What a token says of ADA, as bytes: id, scope, version, and the end in five bytes."""
    until = int(time.time() + 99 if end is None else end)
    return struct.pack(">16sci", ADA.person_id.bytes, letter, ADA.version) + until.to_bytes(5)


def signed(said: bytes, settings: Settings, purpose: str = "links-short") -> str:
    """Make a token, with the first 16 bytes of HMAC-SHA256 by the key of a purpose."""
    (key, *_) = Signer(settings, purpose).keys
    return "rlt_" + base64_encode(said + hmac.digest(key, said, "sha256")[:16]).decode()


def long_claims(letter: bytes = b"m", end: float | None = None) -> bytes:
    """What a token of earlier versions says of ADA: the end in eight bytes."""
    until = int(time.time() + 99 if end is None else end)
    return struct.pack(">16sciq", ADA.person_id.bytes, letter, ADA.version, until)


def long_signed(said: bytes, settings: Settings, purpose: str = "link-tokens") -> str:
    """Make a token as earlier versions did: claims, a dot, and the whole signature, in base64."""
    return Signer(settings, purpose).sign("rlt_" + base64_encode(said).decode())


def forged(settings: Settings) -> list[str]:
    """Tokens of others' making: with no signature, another's, by our key of another purpose.

    And one by a key of ours that has the form of tokens of before (JWT).
    """
    parts = ({"alg": "HS256"}, {"sub": ADA.person_id.hex, "scope": "manage"})
    before = ".".join(base64_encode(json.dumps(part)).decode() for part in parts)
    found = ["rlt_" + base64_encode(claims() + bytes(n)).decode() for n in (0, 16)]
    found += [signed(claims(), a_settings(THIRD)), signed(claims(), settings, "forms")]
    found += ["rlt_" + base64_encode(long_claims()).decode() + dot for dot in ("", ".")]
    found += [long_signed(long_claims(), a_settings(THIRD))]
    found += [long_signed(long_claims(), settings, purpose) for purpose in ("forms", "links-short")]
    return found + [Signer(settings, name).sign(before) for name in ("links", "link-tokens")]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_link_says_what_it_was_made_for(scope: Scope) -> None:
    """Its address is the page of its scope, at the public address; in it is what it is for."""
    links = Links(a_settings())
    link = Link(UUID(NOBODY), scope, 7)
    address, _, token = links.url(link).partition("?token=")
    assert address == f"https://a.example/{scope}"
    assert links.read(token) == link
    raw = base64_decode(token.removeprefix("rlt_"))
    end = NEVER if scope in ENDLESS else pytest.approx(time.time() + 7 * 86_400, abs=60)
    assert int.from_bytes(raw[21:26]) == end
    assert struct.unpack(">16sci", raw[:21]) == (link.person_id.bytes, scope[:1].encode(), 7)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("version", [0, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("end", [None, 253_402_300_799])
def test_a_token_is_short(scope: Scope, version: int, end: float | None) -> None:
    """60 characters, for any id, the last version a column holds, and the year 9999."""
    links = Links(a_settings(link_days=366))
    for person_id in (UUID(int=0), UUID(int=2**128 - 1)):
        link = Link(person_id, scope, version)
        token = links.mint(link, end)
        assert re.fullmatch(r"rlt_[A-Za-z0-9_-]{56}", token)
        assert links.read(token) == link


def test_a_token_is_known_by_its_look() -> None:
    """By the log, which leaves it out; by what takes request ids; by what searches our tests' logs.

    Part of one is enough, as long as its beginning is there.
    """
    token = Links(a_settings()).mint(ADA)
    for text in (token, token[:40], long_signed(long_claims(), a_settings())):
        assert PRIVATE.sub("…", f"with {text}, and so on") == "with …, and so on"
        assert not REQUEST_ID.fullmatch(text)
        assert not REQUEST_ID.fullmatch(f"id-{text}")
        assert found_in(f'{{"message":"{text}"}}')


def test_of_no_link_can_a_bit_be_changed() -> None:
    """Every single one of it: claims and signature, and the dot between those of earlier ones."""
    links = Links(a_settings())
    for token in (links.mint(ADA), long_signed(long_claims(), a_settings())):
        assert links.read(token) == ADA
        for changed in flipped(token):
            with pytest.raises(BadLink):
                links.read(changed.decode("latin-1"))


def test_a_token_has_one_spelling() -> None:
    """No other alphabet, and nothing that readers of base64 pass over."""
    links, settings = Links(a_settings()), a_settings()
    found = [links.mint(Link(ADA.person_id, "manage", n)) for n in range(200)]
    token = next(one for one in found if {"-", "_"} <= set(one[4:]))
    wrong = ["rlt_" + token[4:].replace(*both) for both in (("-", "+"), ("_", "/"))]
    wrong += [f"{token[:30]}{junk}{token[30:]}" for junk in ("=", ".", " ", "\n", "é", "!!!!")]
    wrong += [token[4:], "RLT_" + token[4:], f"rlt_{token}", token + "====", token + "AAAA"]
    long = long_signed(long_claims(), settings)
    wrong += [long.replace(".", ""), long.replace(".", ".="), long[4:], long + "="]
    for text in wrong:
        with pytest.raises(BadLink):
            links.read(text)


def test_what_we_did_not_sign_is_no_link() -> None:
    """Junk of any kind, other keys, keys of other purposes, and claims that we never make."""
    links = Links(a_settings())
    token = links.mint(ADA)
    junk = ["", ".", "..", "...", "x" * 10_000, token + "=", token + " ", " " + token]
    junk += [token[:-1], token + "A", token * 2, "\ud800", "é.é.é", "\0", *forged(a_settings())]
    wrong = (b"", b"m", claims()[:-1], claims() + b"m", claims(b"x"), claims(b"\0"), claims(end=0))
    junk += [signed(said, a_settings()) for said in wrong]
    long = (b"", long_claims()[:-1], long_claims(b"x"), long_claims(b"\0"), long_claims(end=0))
    junk += [long_signed(said, a_settings()) for said in long]
    junk += [Signer(a_settings(), "link-tokens").sign(text) for text in ("", "x", "é", "a" * 41)]
    for text in junk:
        with pytest.raises(BadLink):
            links.read(text)
    assert links.read(signed(claims(), a_settings())) == ADA


@pytest.mark.parametrize("scope", ["confirm", "manage"])
def test_links_of_earlier_versions_work_until_they_end(scope: Scope) -> None:
    """They are in people's inboxes, and longer; signed by any secret that is still named."""
    letter, end = scope[:1].encode(), time.time() + 50
    token = long_signed(long_claims(letter, end), a_settings(FIRST))
    assert len(token) == 87
    for links in (Links(a_settings()), Links(a_settings(f"{SECOND},{FIRST}"))):
        assert links.read(token) == Link(ADA.person_id, scope, ADA.version)
        assert 40 < links.seconds_left(token) <= 50
    for words in (long_signed(long_claims(letter, time.time() - 1), a_settings()), token):
        with pytest.raises(BadLink):
            Links(a_settings(SECOND)).read(words)


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
    raw = base64_decode(token.removeprefix("rlt_"))
    found = [raw[:26], raw[:26] + bytes(16)]
    for at in (0, 16, 20, 25, 26, 41):
        bent = bytearray(raw)
        bent[at] ^= 1
        found.append(bytes(bent))
    return [f"rlt_{base64_encode(one).decode()}" for one in found]


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
    ending = [scope for scope in SCOPES if scope not in ENDLESS]
    found |= {f"expired {scope}": token_of(short, ada.id, scope) for scope in ending}
    found |= {f"bent {n}": text for n, text in enumerate(pieces(good))}
    return found | {f"forged {n}": text for n, text in enumerate(forged(reach.settings))}


def is_signed(reach: Reach, token: str | None) -> bool:
    """Whether a token is one of ours, by its signature and its end."""
    try:
        return bool(Links(reach.settings).read(token or ""))
    except BadLink:
        return False


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
        takes_ours = "manage" in OWN.get((method, path), {"manage"})
        for token in [*tokens.values(), *others]:
            if not takes_ours and is_signed(reach, token):
                continue  # it is for something else: see the next test
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
    for number, (operation, scopes) in enumerate(OWN.items()):
        bob = await signed_up(reach, f"bob{number}@example.com")
        manage = token_of(reach.settings, bob.id)
        body = {"email": f"new{number}@example.org"}  # so many, one address would not be sent
        await reach.http.post("/v1/me/email", json=body, headers=by_link(manage))
        token = await new_address_token(reach, bob.id)
        for scope, by in (("manage", manage), ("address", token)):
            if scope in scopes and operation != ("DELETE", "/v1/me/email"):
                assert (await say(reach, operation, by)).is_success
            elif scope not in scopes:
                assert told(await say(reach, operation, by))[0] == 403


async def test_anothers_link_changes_another(reach: Reach) -> None:
    """Bob's link does to Bob whatever it is asked; Ada's record and messages stay as they are."""
    ada, bob = await signed_up(reach), await signed_up(reach, "bob@example.com")
    key = await reach.key()

    async def hers() -> list[dict[str, object]]:
        urls = (f"/v1/people/{ada.id}", f"/v1/people/{ada.id}/messages")
        return [(await reach.http.get(url, headers=key)).json() for url in urls]

    before = await hers()
    token = token_of(reach.settings, bob.id)
    for operation in [("PATCH", "/v1/me"), ("POST", "/v1/me/confirmation"), ("DELETE", "/v1/me")]:
        assert (await say(reach, operation, token)).is_success
        assert await hers() == before
    by_hers = await reach.http.get("/v1/me", headers=by_link(token_of(reach.settings, ada.id)))
    assert by_hers.json() == {**before[0], "pending_email": None}


# It is refused before any database is asked.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
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
