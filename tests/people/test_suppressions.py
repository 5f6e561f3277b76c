"""Addresses that nothing is sent to: operators list, add and lift them, by HTTP."""

from typing import Any

import pytest

from reach.messages.outcome import Sent
from reach.people import record
from tests.support.database.outboxes import Outbox
from tests.support.people import NOBODY, operator
from tests.support.processes.reach import Reach
from tests.support.reported import NO_SUCH_USER, report
from tests.support.trail import trail

HERE = "/v1/suppressions"
SENT = Sent("250 2.0.0 taken", 250, "2.0.0")


async def sent(reach: Reach, count: int) -> list[dict[str, Any]]:
    """Sign people up, whose welcomes were sent: the oldest first."""
    outbox = Outbox(reach.database, reach.settings)
    await outbox.fill(count)
    await outbox.record_outcomes([(one, SENT) for one in await outbox.lease()])
    found = (await reach.http.get("/v1/messages")).raise_for_status().json()["items"]
    return list(reversed(found))


async def test_operators_find_and_lift_what_bounced(reach: Reach) -> None:
    """The newest first, by cause, by address in any spelling; then what was kept back is sent."""
    http = await operator(reach)
    first, second, third = await sent(reach, 3)
    await report(reach.database, first["id"])
    await report(reach.database, second["id"], "complained", None)
    listed = (await http.get(HERE)).raise_for_status().json()
    assert listed["next_cursor"] is None
    complaint, bounce = listed["items"]
    assert (complaint["email"], complaint["cause"]) == (second["recipient"], "complained")
    assert {name: bounce[name] for name in ("email", "cause", "text", "message_id")} == {
        "email": first["recipient"],
        "cause": "bounced",
        "text": NO_SUCH_USER,
        "message_id": first["id"],
    }
    part = (await http.get(HERE, params={"limit": 1})).json()
    rest = (await http.get(HERE, params={"cursor": part["next_cursor"]})).json()
    assert part["items"] + rest["items"] == listed["items"]
    for query, found in (
        ({"cause": "bounced"}, [bounce]),
        ({"cause": "operator"}, []),
        ({"address": first["recipient"].upper()}, [bounce]),
        ({"address": first["recipient"], "cause": "complained"}, []),
        ({"address": third["recipient"]}, []),
    ):
        assert (await http.get(HERE, params=query)).json()["items"] == found, query
    assert (await http.get(f"{HERE}/{bounce['id']}")).json() == bounce
    shown = (await http.get(f"/v1/messages/{first['id']}")).json()
    assert (shown["state"], shown["last_error"]) == ("bounced", NO_SUCH_USER)
    assert [(one["kind"], one["category"]) for one in shown["reports"]] == [
        ("bounced", "permanent")
    ]
    counted = (await http.get("/v1/stats")).json()
    assert counted["messages"]["bounced"] == counted["messages"]["complained"] == 1
    assert sum(one["bounces"] for one in counted["per_hour"][-2:]) == 1
    assert sum(one["complaints"] for one in counted["per_day"][-2:]) == 1

    assert (await http.delete(f"{HERE}/{bounce['id']}")).status_code == 204
    for again in (await http.delete(f"{HERE}/{bounce['id']}"), await http.get(f"{HERE}/nothing")):
        assert again.status_code == 404
        assert again.json()["type"].endswith("/no-such-suppression")
    (noted,) = await trail(reach.database)
    assert (noted.action, str(noted.subject)) == ("suppression.lift", bounce["id"])
    assert noted.details == {"cause": "bounced"}


async def test_operators_add_an_address(reach: Reach) -> None:
    """Once, whatever is done twice; of a bounce it makes more, and of a complaint nothing."""
    http = await operator(reach)
    known, complaint = await sent(reach, 2)
    body = {"email": known["recipient"].upper(), "note": "By telephone."}
    key = {"Idempotency-Key": "once"}
    await report(reach.database, known["id"])
    again = await http.post(HERE, json=body, headers=key)
    made = again.json()
    assert again.status_code == 200
    assert (made["email"], made["cause"], made["text"]) == (
        known["recipient"],
        "operator",
        "By telephone.",
    )
    assert await report(reach.database, known["id"], "complained", None) == "recorded"
    assert (await http.get(f"{HERE}/{made['id']}")).json()["cause"] == "complained"
    assert (await http.post(HERE, json=body, headers=key)).json() == made

    await report(reach.database, complaint["id"], "complained", None)
    kept = (await http.post(HERE, json={"email": complaint["recipient"]})).json()
    assert (kept["cause"], kept["message_id"]) == ("complained", complaint["id"])
    new = await http.post(HERE, json={"email": "nobody@example.com"})
    assert (new.status_code, new.json()["text"], new.json()["message_id"]) == (201, "", None)
    assert (await http.get(new.headers["Location"])).json() == new.json()
    noted = await trail(reach.database)
    assert [(one.action, str(one.subject)) for one in noted] == [
        ("suppression.add", new.json()["id"]),
        ("suppression.add", made["id"]),
    ]
    assert "@" not in repr([one.details for one in noted])

    # What is kept for who repeats a request is about the person, and goes with them.
    await reach.database.write(record.erase, await _person(reach, known))
    assert (await http.get(HERE, params={"address": known["recipient"]})).json()["items"] == []
    assert (await http.post(HERE, json=body, headers=key)).status_code == 201


async def _person(reach: Reach, message: dict[str, Any]) -> Any:
    (found,) = [
        one
        for one in await Outbox(reach.database, reach.settings).all()
        if str(one.id) == message["id"]
    ]
    return found.person_id


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_wrong_is_refused(reach: Reach) -> None:
    """With the words that all other lists and bodies have."""
    http = await operator(reach)
    for body in ({}, {"email": "ada"}, {"email": "a@example.com", "note": "x" * 501}, {"mail": 1}):
        assert (await http.post(HERE, json=body)).status_code == 422, body
    for query in ({"cause": "spam"}, {"address": "ada"}, {"cursor": "x"}, {"email": "a@b.c"}):
        assert (await http.get(HERE, params=query)).status_code == 422, query
    assert (await http.delete(f"{HERE}/{NOBODY}")).status_code == 404
    http = await operator(reach, "messages:read")
    assert (await http.post(HERE, json={"email": "a@example.com"})).status_code == 403
