"""The proof of work: each works once, wherever it is shown; without one, nobody signs up."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from altcha import Challenge, Payload, Solution
from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from reach.db.transaction import Transaction
from reach.db.types import now
from reach.people import antispam
from reach.people.antispam import (
    ASKED_AGAIN,
    CHALLENGE_SECONDS,
    FEWEST_TRIES,
    MOST_TRIES,
    AntiSpam,
)
from reach.people.schemas import SpamFields, Submission
from reach.problems import ServiceUnavailable
from reach.settings import Settings
from tests.support.forms import ENDPOINTS, NOW, hidden_in, shape
from tests.support.people import everybody, operator, solution, solved
from tests.support.processes.reach import ADA, Reach, running_reach


@pytest.fixture
async def guarded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reach]:
    """Reach with the proof of work switched on, and less of it: a fiftieth of the tries."""
    monkeypatch.setattr(antispam, "FEWEST_TRIES", FEWEST_TRIES // 50)
    monkeypatch.setattr(antispam, "MOST_TRIES", MOST_TRIES // 50)
    async with running_reach(settings.model_copy(update={"altcha": True})) as reach:
        yield reach


def forged(proof: str, **parameters: object) -> str:
    """Change a proof's challenge."""
    payload = json.loads(base64.b64decode(proof))
    payload["challenge"]["parameters"].update(parameters)
    return base64.b64encode(json.dumps(payload).encode()).decode()


def with_key(proof: str, key: str) -> str:
    """Change what a proof says it found."""
    payload = Payload.from_base64(proof)
    payload.solution.derived_key = key
    return payload.to_base64()


def asks_again(answer: httpx.Response, rule: str) -> bool:
    """Whether an answer, of page or API, is the refusal for this rule."""
    pointer, words = ASKED_AGAIN[rule]
    if answer.status_code != 422 or words not in answer.text:
        return False
    if answer.headers["content-type"].startswith("text/html"):
        return "Almost done: please press the button once more" in answer.text
    problem = answer.json()
    is_ours = problem["type"].endswith("/problems/send-again")
    return is_ours and [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_proof_works_once(guarded: Reach, endpoint: str) -> None:
    """Who brings none, a wrong one, or a used one is told so, and can bring another."""
    http = await operator(guarded)
    proof = await solved(guarded)
    wrong = {
        "proof missing": [""],
        "proof wrong": [
            "junk",
            "é",
            base64.b64encode(b"[]").decode(),
            forged(proof, cost=1, keyPrefix=""),
            forged(proof, nonce="00" * 16),
            forged(proof, expiresAt=None),
            with_key(proof, "00" * 32),
        ],
    }
    for rule, texts in wrong.items():
        for text in texts:
            with capture_logs() as said:
                answer = await ENDPOINTS[endpoint](http, {**ADA, "altcha": text})
            assert asks_again(answer, rule), text
            assert [line["rule"] for line in said if "rule" in line] == [rule], text
    assert await everybody(http) == []
    assert (await ENDPOINTS[endpoint](http, {**ADA, "altcha": proof})).status_code in (202, 303)
    other = {**ADA, "email": "bob@example.com"}
    with capture_logs() as said:
        used = await ENDPOINTS[endpoint](http, {**other, "altcha": proof})
    assert asks_again(used, "proof used before")
    assert [line["rule"] for line in said if "rule" in line] == ["proof used before"]
    assert [one["email"] for one in await everybody(http)] == ["ada@example.com"]
    fresh = await ENDPOINTS[endpoint](http, {**other, "altcha": await solved(guarded)})
    assert fresh.status_code in (202, 303)
    assert len(await everybody(http)) == 2


async def test_a_used_proof_tells_nobody_whose_address_is_known(guarded: Reach) -> None:
    """The same refusal, whether the address is known or not, to sign up or for a link."""
    http = await operator(guarded)
    proof = await solved(guarded)
    assert (await http.post("/v1/signups", json={**ADA, "altcha": proof})).status_code == 202
    for path, more in (("/v1/signups", {"name": "Ada"}), ("/v1/links", {})):
        known, unknown = [
            await http.post(path, json={"email": f"{who}@example.com", "altcha": proof, **more})
            for who in ("ada", "nobody")
        ]
        assert asks_again(known, "proof used before")
        assert shape(known) == shape(unknown)


async def test_a_proof_works_once_over_all_replicas(guarded: Reach) -> None:
    """Forty sign-ups at once at two replicas, with one proof: one person, 39 are told."""
    http = await operator(guarded)
    proof = await solved(guarded)
    async with running_reach(guarded.settings) as other:
        callers = [guarded.http, other.http] * 20
        answers = await asyncio.gather(
            *(
                caller.post(
                    "/v1/signups", json={**ADA, "email": f"p{n}@example.com", "altcha": proof}
                )
                for n, caller in enumerate(callers)
            )
        )
    (taken,) = [n for n, answer in enumerate(answers) if answer.status_code == 202]
    others = [answer for answer in answers if not asks_again(answer, "proof used before")]
    assert others == [answers[taken]]
    assert [one["email"] for one in await everybody(http)] == [f"p{taken}@example.com"]


async def test_a_refusal_for_a_used_proof_is_not_kept(guarded: Reach) -> None:
    """Its Idempotency-Key is free: with a new proof, the same key signs up."""
    http = await operator(guarded)
    proof = await solved(guarded)
    assert (await http.post("/v1/signups", json={**ADA, "altcha": proof})).status_code == 202
    other = {**ADA, "email": "bob@example.com"}
    key = {"Idempotency-Key": "bob"}
    both = await asyncio.gather(
        *(http.post("/v1/signups", json={**other, "altcha": proof}, headers=key) for _ in range(2))
    )
    assert all(asks_again(answer, "proof used before") for answer in both)
    new = {**other, "altcha": await solved(guarded)}
    first = await http.post("/v1/signups", json=new, headers=key)
    again = await http.post("/v1/signups", json=new, headers=key)
    assert first.status_code == 202
    assert shape(first) == shape(again)
    assert len(await everybody(http)) == 2


async def test_what_was_refused_used_no_proof(guarded: Reach) -> None:
    """Who mistyped their address sends the same proof with the right one."""
    http = await operator(guarded)
    proof = await solved(guarded)
    bad = await http.post("/v1/signups", json={**ADA, "email": "ada", "altcha": proof})
    assert bad.status_code == 422
    assert (await http.post("/v1/signups", json={**ADA, "altcha": proof})).status_code == 202
    assert len(await everybody(http)) == 1


async def test_an_old_challenge_is_a_persons(guarded: Reach) -> None:
    """422 and why; the page comes again as it was typed."""
    http = await operator(guarded)
    old = await solution(AntiSpam(guarded.settings).challenge(time.time() - CHALLENGE_SECONDS - 60))
    told = await ENDPOINTS["API"](http, {**ADA, "altcha": old})
    assert told.status_code == 422
    assert [error["pointer"] for error in told.json()["errors"]] == ["/altcha"]
    page = await ENDPOINTS["page"](http, {**ADA, "altcha": old})
    assert page.status_code == 422
    assert "The spam check is out of date. Please send it again." in page.text
    assert 'value="ada@example.com"' in page.text
    assert hidden_in(page.text)["altcha"] == ""
    assert await everybody(http) == []


async def test_an_answer_outlives_its_proof(
    guarded: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same key and form again get the stored answer, when the challenge is long over too."""
    http = await operator(guarded)
    form = {**ADA, "altcha": await solved(guarded)}
    key = {"Idempotency-Key": "one"}
    first = await http.post("/v1/signups", json=form, headers=key)
    later = time.time() + CHALLENGE_SECONDS + 60
    monkeypatch.setattr("time.time", lambda: later)
    again = await http.post("/v1/signups", json=form, headers=key)
    assert shape(again) == shape(first)
    other = await http.post("/v1/signups", json={**form, "name": "Eve"}, headers=key)
    assert other.json()["type"].endswith("/problems/idempotency-key-reused")
    new = {"Idempotency-Key": "two"}
    assert (await http.post("/v1/signups", json=form, headers=new)).status_code == 422
    assert len(await everybody(http)) == 1


async def test_challenges_are_there_where_they_are_asked_for(guarded: Reach, reach: Reach) -> None:
    """Each is another one, and no cache keeps it; where none is needed, there is none."""
    answers = [await guarded.http.get("/v1/challenge") for _ in range(2)]
    for answer in answers:
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert set(answer.json()) == {"parameters", "signature"}
    assert answers[0].json()["parameters"]["nonce"] != answers[1].json()["parameters"]["nonce"]
    assert (await reach.http.get("/v1/challenge")).status_code == 404
    assert 'name="altcha"' not in (await reach.http.get("/")).text


async def test_the_page_says_what_to_do_without_scripts(guarded: Reach) -> None:
    """The form cannot be sent, so nothing is taken for spam; its script is ours and no other."""
    answer = await guarded.http.get("/")
    assert re.search('role="status"[^>]*>[^<]*needs JavaScript', answer.text)
    assert '<button type="submit" disabled>' in answer.text
    policy = answer.headers["content-security-policy"]
    (nonce,) = re.findall(r"script-src 'nonce-([^']+)';", policy)
    assert re.findall(r"<script nonce=.([^ >]+). src=./static/altcha-", answer.text) == [nonce]
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy


async def test_used_proofs_are_not_kept_for_ever(guarded: Reach) -> None:
    """They are forgotten once no challenge could be answered with them any more."""
    http = await operator(guarded)

    def count(tx: Transaction) -> int:
        return tx.execute(select(func.count()).select_from(antispam.proofs)).scalar_one()

    def make_old(tx: Transaction) -> None:
        tx.execute(update(antispam.proofs).values(used_at=now(-antispam.KEPT_SECONDS - 1.0)))

    for email in ("ada@example.com", "bob@example.com"):
        body = {**ADA, "email": email, "altcha": await solved(guarded)}
        assert (await http.post("/v1/signups", json=body)).status_code == 202
        assert await guarded.database.read(count) == 1
        await guarded.database.write(make_old)
    assert len(await everybody(http)) == 2
    assert antispam.KEPT_SECONDS >= 2 * CHALLENGE_SECONDS


async def test_keys_rotate(make_settings: Callable[..., Settings]) -> None:
    """A challenge given out before the keys were changed may be answered after."""
    old, new = "o" * 32, "n" * 32
    challenge = AntiSpam(make_settings(altcha=True, secret_key=old)).challenge(4e9)
    form = SpamFields(altcha=await solution(challenge))
    both = AntiSpam(make_settings(altcha=True, secret_key=f"{new} {old}"))
    assert both.rule_broken(form, NOW) is None
    alone = AntiSpam(make_settings(altcha=True, secret_key=new))
    assert alone.rule_broken(form, NOW) == "proof wrong"


async def test_nobody_is_unlucky(make_settings: Callable[..., Settings]) -> None:
    """The number of tries is ours to choose: never few, never many."""
    challenge = AntiSpam(make_settings(altcha=True)).challenge(4e9)
    tries = Payload.from_base64(await solution(challenge)).solution.counter
    assert FEWEST_TRIES <= tries < MOST_TRIES


async def test_who_gets_a_503_keeps_their_proof(guarded: Reach) -> None:
    """A transaction that comes to nothing has used nothing; of two forms in one, one has it."""
    challenge = Challenge.from_dict(AntiSpam(guarded.settings).challenge(time.time()))
    form = Submission(SpamFields(altcha=Payload(challenge, Solution(0, "")).to_base64()))
    without = Submission(SpamFields())

    def use(tx: Transaction, *forms: Submission[SpamFields]) -> list[bool]:
        admitted, responses = antispam.admit(tx, forms, "yes")
        assert admitted == [
            one for one, said in zip(forms, responses, strict=True) if said == "yes"
        ]
        return [said == "yes" for said in responses]

    def use_in_vain(tx: Transaction) -> None:
        assert use(tx, form) == [True]
        raise ServiceUnavailable

    with pytest.raises(ServiceUnavailable):
        await guarded.database.write(use_in_vain)
    assert await guarded.database.write(use, form, form, without) == [True, False, False]
    assert await guarded.database.write(use, form) == [False]
