"""Nobody learns from an answer whether an address is known, the first time and later.

A new endpoint is one line in ``ENDPOINTS``. How long answers take is measured by
benchmarks/timing.py.
"""

from collections import Counter
from collections.abc import Awaitable, Callable

import httpx
import pytest
from sqlalchemy import func, select, update

from reach.db.transaction import Transaction
from reach.messages.model import messages
from reach.people.link_requests import link_requests
from tests.support.database.stored import confirm_everybody, messages_in, people_in
from tests.support.forms import shape
from tests.support.processes.reach import Reach, running_reach

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
#: By its name, how somebody asks with an address.
ENDPOINTS: dict[str, Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]] = {
    "POST /v1/signups": lambda http, email: http.post(
        "/v1/signups", json={"email": email, "name": "Ada"}
    ),
    "POST /": lambda http, email: http.post(
        "/", data={"email": email, "name": "Ada", "description": ""}, headers=BROWSER
    ),
    "POST /v1/links": lambda http, email: http.post("/v1/links", json={"email": email}),
    "POST /links": lambda http, email: http.post("/links", data={"email": email}, headers=BROWSER),
}
TIMES = 3
#: What the known one may be, whether they have confirmed and what became of their welcome: with
#: what they are sent when they sign up that often, at most once in a day and each time.
KNOWN: dict[str, tuple[bool, str, list[str], list[str]]] = {
    "unconfirmed": (False, "sent", ["welcome"] * TIMES, ["welcome"] * TIMES),
    "confirmed": (True, "sent", ["already-signed-up"], ["already-signed-up"] * TIMES),
    "failed": (True, "failed", ["welcome"] * TIMES, ["welcome"] * TIMES),
    "undelivered": (True, "queued", ["welcome"] * TIMES, ["welcome"] * TIMES),
}


@pytest.mark.parametrize("hours", [24, 1e-9], ids=["quiet", "told"])
@pytest.mark.parametrize("known", KNOWN)
async def test_known_and_unknown_are_answered_alike(
    reach: Reach, hours: float, known: str, subtests: pytest.Subtests
) -> None:
    """Status, bytes and every header but the date and the request's id, three times each.

    However the known one is known, and whatever they are sent: within the quiet time and after it.
    """
    is_confirmed, state, *sent = KNOWN[known]
    for number in range(len(ENDPOINTS)):
        await reach.sign_up(f"known{number}@example.com")
    everybody = await people_in(reach.database)
    await reach.database.write(lambda tx: tx.execute(update(messages).values(state=state)))
    if is_confirmed:
        await confirm_everybody(reach.database)
    changed = reach.settings.model_copy(update={"already_hours": hours})
    async with running_reach(changed) as other:
        for number, (endpoint, ask) in enumerate(ENDPOINTS.items()):
            old, new = f"known{number}@example.com", f"new{number}@example.com"
            with subtests.test(endpoint):
                answers = [
                    await ask(other.http, email) for _ in range(TIMES) for email in (old, new)
                ]
                assert answers[0].status_code in (httpx.codes.ACCEPTED, httpx.codes.SEE_OTHER)
                assert len({str(shape(answer)) for answer in answers}) == 1
                assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
                everything = await messages_in(reach.database)
                _, *later = [one.template for one in everything if one.recipient == old]
                if endpoint.endswith("links"):
                    assert later == []
                    asked = await reach.database.read(asked_for)
                    assert (asked[old], asked[new]) == (TIMES, TIMES)
                    assert new not in await people_in(reach.database)
                else:
                    assert later == sent[hours < 1]
                    everybody = [*everybody, new]
                assert sorted(await people_in(reach.database)) == sorted(everybody)


def asked_for(tx: Transaction) -> Counter[str]:
    """How many requests for a link wait, by address."""
    key = link_requests.c.email_key
    return Counter({row[0]: row[1] for row in tx.execute(select(key, func.count()).group_by(key))})
