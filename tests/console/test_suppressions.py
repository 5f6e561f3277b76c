"""Suppressions at the console: found, added, lifted; and where else they and reports are shown."""

from collections.abc import AsyncIterator

import pytest

from reach.messages import suppressions
from reach.messages.outcome import Sent
from tests.support.console import Console, at_console
from tests.support.database.outboxes import Outbox
from tests.support.processes.reach import Reach
from tests.support.reported import NO_SUCH_USER, report

HERE = "/console/suppressions"


@pytest.fixture
async def operator(reach: Reach) -> AsyncIterator[Console]:
    """Somebody who is signed in, on both databases."""
    async with at_console(reach) as console:
        yield console


async def test_what_bounced_is_shown_and_lifted(reach: Reach, operator: Console) -> None:
    """On the page of the message, of the person, of suppressions, and the overview."""
    outbox = Outbox(reach.database, reach.settings)
    (message,) = await outbox.fill()
    await outbox.record(await outbox.lease_one(), Sent("250 2.0.0 taken", 250, "2.0.0"))
    await report(reach.database, message.id, "delayed", "transient")
    await report(reach.database, message.id)
    shown = (await operator.get(f"/console/messages/{message.id}")).text
    assert "the address takes no mail" in shown
    assert "goes on trying" in shown
    assert NO_SUCH_USER in shown
    assert "<dt>Sent</dt>" in shown
    assert 'id="retry"' not in shown
    assert "<strong>1</strong> bounced" in (await operator.get("/console")).text
    listed = (await operator.get("/console/messages?state=bounced")).text
    assert f"row-{message.id}" in listed

    person = f"/console/people/{message.person_id}"
    assert "earlier mail to it came back" in (await operator.get(person)).text
    (found,), _ = await reach.database.read(suppressions.page, suppressions.Filter(), limit=5)
    for query in ("", "?cause=bounced", f"?address={message.recipient.upper()}"):
        assert f"{HERE}/{found.id}/lift" in (await operator.get(f"{HERE}{query}")).text, query
    assert "None is like this" in (await operator.get(f"{HERE}?cause=operator")).text
    assert (await operator.get(f"{HERE}?address=ada")).status_code == 422
    assert NO_SUCH_USER in (await operator.get(f"{HERE}/{found.id}/lift")).text
    form = {"person": str(message.person_id)}
    lifted = await operator.post(f"{HERE}/{found.id}/lift", form)
    assert lifted.headers["Location"] == f"{person}?done=lifted"
    assert "Nothing is sent to this address" not in (await operator.get(person)).text
    assert (await operator.post(f"{HERE}/{found.id}/lift")).status_code == 404


async def test_an_address_is_added(reach: Reach, operator: Console) -> None:
    """Its messages end as suppressed, with what to do; what is wrong with the form is beside it."""
    wrong = await operator.post(HERE, {"email": "ada", "note": "By letter."})
    assert wrong.status_code == 422
    assert 'id="email-error"' in wrong.text
    assert 'value="By letter."' in wrong.text
    outbox = Outbox(reach.database, reach.settings)
    (message,) = await outbox.fill()
    added = await operator.post(HERE, {"email": message.recipient, "note": "<b>letter"})
    assert added.headers["Location"] == f"{HERE}?done=added"
    assert "&lt;b&gt;letter" in (await operator.get(HERE)).text
    await outbox.lease_one()
    shown = (await operator.get(f"/console/messages/{message.id}")).text
    assert suppressions.WHY["operator"] in shown
    assert "before you retry it" in shown
    assert 'id="retry"' in shown
    (found,), _ = await reach.database.read(suppressions.page, suppressions.Filter(), limit=5)
    assert (await operator.post(f"{HERE}/{found.id}/lift")).headers["Location"] == (
        f"{HERE}?done=lifted"
    )
