"""Nobody learns from an answer whether an address is known: every door, the first time and later.

A new door is one line in ``DOORS``. How long answers take is measured: see benchmarks/timing.py.
"""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.people.test_door import shape
from tests.promises.stored import messages_in, people_in
from tests.servers.reach import Reach, running_reach

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
#: By its name, how somebody knocks with an address.
DOORS: dict[str, Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]] = {
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


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("hours", [24, 1e-9], ids=["quiet", "told"])
async def test_known_and_unknown_are_answered_alike(reach: Reach, door: str, hours: float) -> None:
    """Status, bytes and every header but the date and the request's id, three times each.

    Within the quiet time, when nothing is sent to somebody known, and after it.
    """
    await reach.sign_up("known@example.com")
    knock = DOORS[door]
    changed = reach.settings.model_copy(update={"already_hours": hours})
    async with running_reach(changed) as other:
        answers = [
            await knock(other.http, email)
            for _ in range(TIMES)
            for email in ("known@example.com", "new@example.com")
        ]
    assert answers[0].status_code in (httpx.codes.ACCEPTED, httpx.codes.SEE_OTHER)
    assert len({str(shape(answer)) for answer in answers}) == 1
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    assert "known@example.com" in await people_in(reach.database)
    sent = [message.template for message in await messages_in(reach.database)]
    if door.endswith("links"):
        assert sent.count("manage-link") == TIMES
    else:
        assert ("already-signed-up" in sent) == (hours < 1)
