"""An operator stops many emails that are not to be sent after all, by one call."""

from typing import Any

import httpx
import pytest

from reach.auth import audit
from reach.db.types import now
from reach.messages import filters
from reach.messages.filters import Filter
from reach.messages.outcome import Rejected, Sent
from tests.support.database.outboxes import HOUR, Outbox
from tests.support.people import NOBODY, operator, owed
from tests.support.processes.reach import Reach
from tests.support.trail import trail

QUEUED = {"state": "queued"}
SENT, REJECTED = Sent("250 2.0.0 taken", 250, "2.0.0"), Rejected("550 5.1.1 no", 550, "5.1.1")


@pytest.fixture
def outbox(reach: Reach) -> Outbox:
    """The outbox of the Reach that is served."""
    return Outbox(reach.database, reach.settings)


async def ask(http: httpx.AsyncClient, chosen_by: object, **others: object) -> dict[str, Any]:
    """Cancel all of a filter."""
    body = {"filter": chosen_by, **others}
    answer = await http.post("/v1/messages/cancel", json=body, headers={"Idempotency-Key": "once"})
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def test_what_is_queued_is_cancelled(reach: Reach, outbox: Outbox) -> None:
    """The count first; what was sent or has failed stays so; it is noted as one change."""
    http = await operator(reach)
    sent, failed, *others = await outbox.fill(6)
    held = await outbox.lease(3)
    await outbox.record(next(one for one in held if one.id == sent.id), SENT)
    await outbox.record(next(one for one in held if one.id == failed.id), REJECTED)
    await outbox.change(others[1], due_at=now(HOUR))
    body = {"filter": QUEUED, "dry_run": True}
    dry = (await http.post("/v1/messages/cancel", json=body)).raise_for_status().json()
    assert dry == {"cancelled": 4, "more": False, "dry_run": True}
    assert await reach.database.read(filters.count, Filter(state="queued")) == (4, True)
    done = {"cancelled": 4, "more": False, "dry_run": False}
    assert await ask(http, QUEUED) == done
    assert await ask(http, QUEUED) == done, "repeated, it is the same answer"
    states = [one["state"] for one in reversed(await owed(http))]
    assert states == ["sent", "failed", *["cancelled"] * 4]
    (entry,) = await trail(reach.database, audit.Filter(action="messages.cancel"))
    assert (entry.count, entry.details, entry.subject) == (4, QUEUED, None)
    # A worker was sending it all the time, and the mail server took it.
    assert await outbox.record(next(one for one in held if one.id == others[0].id), SENT) == "sent"


async def test_a_filter_says_which(reach: Reach, outbox: Outbox) -> None:
    """By whom they are for, their template, and their time; those alone."""
    http = await operator(reach)
    first, second, *_ = await outbox.fill(4)
    body = {"filter": {"recipient": "ADA0@example.com"}}
    assert (await http.post("/v1/messages/cancel", json=body)).json()["cancelled"] == 1
    body = {"filter": {"person_id": str(second.person_id), "template": "changed"}}
    assert (await http.post("/v1/messages/cancel", json=body)).json()["cancelled"] == 0
    body = {"filter": {"until": "2026-01-01T00:00:00Z"}}
    assert (await http.post("/v1/messages/cancel", json=body)).json()["cancelled"] == 0
    found = await outbox.all()
    assert [one.id for one in found if one.state == "cancelled"] == [first.id]
    with pytest.raises(ValueError, match="queued"):
        await reach.database.read(filters.cancellable, Filter(state="sent"))


@pytest.mark.parametrize(
    "chosen_by",
    [{}, {"state": None}, {"state": "failed"}, {"recipient": None}, {"person_id": "x"}, {"x": 1}],
    ids=str,
)
async def test_nothing_said_is_not_everything(
    reach: Reach, outbox: Outbox, chosen_by: object
) -> None:
    """Refused, and nothing is changed; nor is what is not queued cancelled."""
    http = await operator(reach)
    await outbox.fill()
    answer = await http.post("/v1/messages/cancel", json={"filter": chosen_by})
    assert answer.status_code == 422, answer.text
    assert (await outbox.only()).state == "queued"


async def test_it_is_a_call_and_no_message(reach: Reach) -> None:
    """To read it is the wrong method; it needs the scope to write."""
    http = await operator(reach, "messages:read")
    assert (await http.get("/v1/messages/cancel")).headers["allow"] == "POST"
    body = {"filter": {"person_id": NOBODY}}
    assert (await http.post("/v1/messages/cancel", json=body)).status_code == 403
