"""Who may do what: every operator's address is guarded, before anything else is looked at."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx
import pytest
from sqlalchemy import update

from reach.auth import keys
from reach.db.transaction import Transaction
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import held
from tests.support.http.bodies import JSON
from tests.support.http.document import OPEN, SCOPES, operations
from tests.support.people import NOBODY, OWN, operator
from tests.support.processes.reach import ADA, Reach, running_reach


async def call(
    reach: Reach, operation: tuple[str, str], authorization: str | None
) -> httpx.Response:
    """Do an operation, with a body that cannot be read."""
    method, path = operation
    headers = {} if authorization is None else {"Authorization": authorization}
    url = path.replace("{id}", NOBODY)
    return await reach.http.request(method, url, content=b"{", headers={**JSON, **headers})


async def test_every_operation_has_its_scopes(reach: Reach) -> None:
    """A new one has its place in the table above, or this fails; each needs what it says there.

    The guard comes first: the body that cannot be read is not what is complained about.
    """
    documented = (await reach.http.get("/openapi.json")).json()["paths"]
    in_document = {(m.upper(), path) for path, methods in documented.items() for m in methods}
    assert operations(reach) - OPEN == in_document - OPEN == set(SCOPES) | set(OWN)
    every = set(keys.SCOPES)
    lacking = {scope: (await reach.key(*(every - {scope})))["Authorization"] for scope in every}
    alone: dict[frozenset[str], str] = {}
    for needed in map(frozenset, SCOPES.values()):
        alone[needed] = (await reach.key(*needed))["Authorization"]
    for operation, scopes in SCOPES.items():
        for scope, key in lacking.items():
            answer = await call(reach, operation, key)
            assert (answer.status_code == 403) == (scope in scopes), (operation, scope)
            if scope in scopes:
                assert answer.json()["detail"] == f"This call needs the scope {scope}."
        answer = await call(reach, operation, alone[frozenset(scopes)])
        assert answer.status_code in (200, 400, 404), operation


async def test_who_is_nobody_gets_one_answer(reach: Reach) -> None:
    """No key, junk, unknown, revoked, expired: the same 401 for every reason, at every address."""
    good = (await reach.key())["Authorization"].removeprefix("Bearer ")
    revoked, expired = keys.generate(), keys.generate()
    await reach.database.write(keys.add, revoked, "revoked", keys.SCOPES)
    await reach.database.write(keys.revoke, "revoked")
    past = datetime.now(UTC) - timedelta(seconds=1)
    await reach.database.write(keys.add, expired, "expired", keys.SCOPES, past)
    wrong = [None, "", "Bearer", "Bearer junk", f"Bearer {good[:-1]}", f"Basic {good}"]
    wrong += [f"Bearer {keys.generate()}", f"Bearer {revoked}", f"Bearer {expired}", good]
    wrong += [f"Bearer {good}x", f"Bearer {good} x", f"Bearer {good[:3]}{good}", f"Token {good}"]
    wrong += [f"Bearer {good.swapcase()}", f"Bearer{good}", f"Bearer rk_{good}"]
    answers = {}
    answer = await call(reach, ("GET", "/v1/people"), None)
    for operation in sorted(SCOPES):
        for authorization in wrong if operation[1] == "/v1/people" else wrong[:1]:
            answer = await call(reach, operation, authorization)
            shown = {n: v for n, v in answer.headers.items() if n not in ("date", "x-request-id")}
            answers[operation, authorization] = (answer.status_code, answer.content, str(shown))
    assert len(set(answers.values())) == 1, answers
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="reach"')
    assert answer.json()["type"].endswith("/problems/unauthorised")


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer   {}"])
async def test_the_scheme_has_no_case(reach: Reach, form: str) -> None:
    """RFC 9110 §11.1."""
    key = (await reach.key())["Authorization"].removeprefix("Bearer ")
    headers = {"Authorization": form.format(key)}
    assert (await reach.http.get("/v1/people", headers=headers)).status_code == 200


async def test_no_body_is_read_for_a_stranger(reach: Reach) -> None:
    """A body too large to be read is a 401 first, at once."""

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 100_000

    answer = await reach.http.post("/v1/people", content=body(), headers=JSON)
    assert answer.status_code == 401


async def test_junk_costs_no_look_up(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """Without a database, what cannot be a key is still a 401; what could be one is a 503."""
    gone = f"sqlite:///{tmp_path}/moved-away.sqlite3"
    async with running_reach(make_settings(database_url=gone)) as reach:
        key = keys.generate()
        last = "a" if key[-1] != "a" else "b"
        for junk in (None, "Bearer x", f"Bearer {key[:-1]}{last}", f"Bearer {key[:-1]}"):
            assert (await call(reach, ("GET", "/v1/people"), junk)).status_code == 401
        away = await call(reach, ("GET", "/v1/people"), f"Bearer {key}")
        assert (away.status_code, away.headers["retry-after"]) == (503, "2")


async def test_a_key_ends_when_it_is_revoked(reach: Reach) -> None:
    """At once, for the next request."""
    http = await operator(reach)
    assert (await http.get("/v1/people")).status_code == 200
    await reach.database.write(keys.revoke, "test")
    assert (await http.get("/v1/people")).status_code == 401
    assert (await http.post("/v1/people", json=ADA)).status_code == 401


async def test_its_last_use_is_noted_once_a_minute(reach: Reach) -> None:
    """The first time, and again when a minute has passed; not with every request."""

    async def last_used_at() -> datetime | None:
        (key,) = await reach.database.read(keys.all_keys)
        return key.last_used_at

    def use(tx: Transaction, at: datetime) -> None:
        tx.execute(update(keys.api_keys).values(last_used_at=at))

    async def is_later_than(time: datetime) -> bool:
        last = await last_used_at()
        return last is not None and last > time

    http = await operator(reach)
    assert await last_used_at() is None
    await http.get("/v1/people")
    first = await eventually(last_used_at)
    assert first is not None
    await http.get("/v1/people")
    assert await last_used_at() == first
    await reach.database.write(use, first - timedelta(seconds=30))
    await http.get("/v1/people")
    assert await last_used_at() == first - timedelta(seconds=30)
    await reach.database.write(use, first - timedelta(seconds=61))
    await http.get("/v1/people")
    await eventually(lambda: is_later_than(first))


async def test_reading_needs_no_writing(reach: Reach, told: Callable[[], str]) -> None:
    """While nothing can be written, operators see all there is; a use not noted is logged once."""
    http = await operator(reach)
    async with held(reach.settings, "SELECT id FROM api_keys FOR UPDATE"):
        with anyio.fail_after(reach.settings.database_seconds / 2):
            for _ in range(3):
                assert (await http.get("/v1/people")).status_code == 200
        await eventually(lambda: "was not noted" in told())
        assert (await http.get("/v1/people")).status_code == 200
    assert told().count("was not noted") == 1
