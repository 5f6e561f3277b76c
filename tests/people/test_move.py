"""A record moves to another address once that one's mailbox says yes, and not before."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from reach.db.transaction import Transaction
from reach.messages import outbox
from reach.messages.model import messages
from reach.messages.outbox import Promise
from reach.people.link_requests import answer_some
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import everything, messages_in, people_in
from tests.support.forms import shape
from tests.support.messages import links_in
from tests.support.moving import ADA, NEW, Mover, mover, stored
from tests.support.people import by_link, operator, signed_up, token_of
from tests.support.processes.reach import Reach, running_reach, running_worker
from tests.support.servers.mail import MailServer


async def test_a_record_moves(mailing: Settings, mail_server: MailServer) -> None:
    """From end to end: both are written to; the link in the email to the new address does it."""
    async with running_reach(mailing) as reach, running_worker(mailing):
        ada = Mover(reach, await signed_up(reach))
        before = await ada.me()
        assert before["pending_email"] is None
        answer = await ada.ask()
        assert answer.status_code == 202
        assert (await ada.me())["pending_email"] == NEW
        await eventually(lambda: len(mail_server.messages) == 3)
        to = {mail.recipient: mail.text for mail in mail_server.messages[1:]}
        assert set(to) == {ADA, NEW}
        assert NEW in to[ADA]
        assert set(dict(links_in(to[ADA]))) == {"manage"}
        ((scope, token),) = set(links_in(to[NEW]))
        assert scope == "address"
        answer = await ada.say_yes(token)
        assert (answer.status_code, set(answer.json())) == (200, {"confirmed_at"})
        await eventually(lambda: len(mail_server.messages) == 4)
        last = mail_server.messages[-1]
        assert last.recipient == ADA
        assert links_in(last.text) == []
        assert NEW not in last.text
        assert (await reach.http.get("/v1/me", headers=ada.by_link)).status_code == 401
        after = await Mover(reach, ada.person, version=1).me()
        assert (after["email"], after["pending_email"]) == (NEW, None)
        assert after["confirmed_at"] == answer.json()["confirmed_at"]
        assert (after["id"], after["name"]) == (before["id"], before["name"])
        assert await people_in(reach.database) == [NEW]


async def test_its_version_counts_up(reach: Reach) -> None:
    """The ETag says that it changed, to its owner and to operators; so does ``updated_at``."""
    ada, key = await mover(reach), await reach.key()
    url = f"/v1/people/{ada.person.id}"
    was = await reach.http.get(url, headers=key)
    tags = [(await reach.http.get("/v1/me", headers=ada.by_link)).headers["etag"]]
    for email in (NEW, "third@example.org"):
        await ada.ask(email)
        tags.append((await reach.http.get("/v1/me", headers=ada.by_link)).headers["etag"])
    assert len(set(tags)) == 3
    for tag, status in ((tags[-1], 304), (tags[0], 200)):
        headers = {**ada.by_link, "If-None-Match": tag}
        assert (await reach.http.get("/v1/me", headers=headers)).status_code == status
    headers = {**ada.by_link, "If-Match": tags[-1]}
    changed = await reach.http.patch("/v1/me", json={"name": "A"}, headers=headers)
    assert (changed.status_code, changed.json()["pending_email"]) == (200, "third@example.org")
    seen = (await reach.http.get(url, headers=key)).json()
    assert "pending_email" not in seen
    moved = await ada.say_yes(await ada.token())
    now_seen = await reach.http.get(url, headers=key)
    assert moved.headers["etag"] == now_seen.headers["etag"] != was.headers["etag"]
    assert now_seen.json()["updated_at"] > seen["updated_at"]


async def test_nobody_learns_whose_the_new_address_is(reach: Reach) -> None:
    """Free, somebody's, one's own: one answer, the same emails, and the same to be seen."""
    ada, bob = await mover(reach), await signed_up(reach, "bob@example.com")
    answers, seen = [], []
    for email in (NEW, bob.email, "BOB@example.com", ADA, "Ada@example.com"):
        answers.append(shape(await ada.ask(email)))
        seen.append({**(await ada.me()), "pending_email": None})
        recipients = [one.recipient for one in (await ada.owed("queued"))[-2:]]
        assert recipients == [email, ADA]
        assert (await ada.me())["pending_email"] == email
    assert answers == [answers[0]] * 5
    assert answers[0][0] == 202
    assert seen == [seen[0]] * 5


async def test_an_address_that_has_a_record_stays_where_it_is(reach: Reach) -> None:
    """Only its owner is told, when they say yes; nothing changes, and who asked sees nothing."""
    ada, bob = await mover(reach), await mover(reach, "bob@example.com")
    await ada.ask("BOB@example.com")
    token = await ada.token()
    before = await reach.database.read(everything), await ada.me(), await bob.me()
    for _ in range(2):
        answer = await ada.say_yes(token)
        assert (answer.status_code, answer.json()["type"][-14:]) == (409, "/address-taken")
        assert ADA not in answer.text
    assert (await reach.database.read(everything), await ada.me(), await bob.me()) == before
    assert (await reach.http.delete("/v1/me", headers=bob.by_link)).status_code == 204
    assert (await ada.say_yes(token)).status_code == 200
    assert await people_in(reach.database) == ["BOB@example.com"]


async def test_ones_own_address_can_be_written_otherwise(reach: Reach) -> None:
    """It is the same mailbox, so nobody has it already."""
    ada = await mover(reach)
    await ada.ask("Ada@EXAMPLE.com")
    assert (await ada.say_yes(await ada.token())).status_code == 200
    assert await people_in(reach.database) == ["Ada@EXAMPLE.com"]
    assert await signed_up_again(reach, ADA) == 1


async def signed_up_again(reach: Reach, email: str) -> int:
    """Sign an address up; how many people there are then."""
    await reach.sign_up(email)
    return len(await people_in(reach.database))


async def test_operators_find_what_went_to_either_address(reach: Reach) -> None:
    """By the address that they have now; the former one is nobody's, and finds nothing."""
    ada, http = await mover(reach), await operator(reach)
    await ada.ask()

    async def found(address: str) -> dict[str, str]:
        answer = await http.get("/v1/messages", params={"recipient": address})
        items = answer.raise_for_status().json()["items"]
        return {one["template"]: one["recipient"] for one in items}

    before = {"welcome": ADA, "confirm-address": NEW, "address-change": ADA}
    assert (await found(ADA), await found(NEW)) == (before, {})
    assert (await ada.say_yes(await ada.token())).status_code == 200
    after = await found(NEW)
    assert (after["welcome"], after["address-changed"]) == (ADA, ADA)
    assert (set(after), await found(ADA)) == ({*before, "address-changed"}, {})


async def test_a_former_address_is_nobodys(reach: Reach) -> None:
    """Who signs up with it is new; who signs up with the new one is known."""
    ada = await mover(reach)
    await ada.ask()
    await ada.say_yes(await ada.token())
    assert await signed_up_again(reach, NEW) == 1
    assert await signed_up_again(reach, ADA) == 2
    for email, template in ((NEW, "manage-link"), (ADA, "manage-link")):
        assert (await reach.http.post("/v1/links", json={"email": email})).status_code == 202
        await reach.database.write(answer_some, reach.settings)
        newest = (await messages_in(reach.database))[-1]
        assert (newest.template, newest.recipient) == (template, email)
        assert (newest.person_id == ada.person.id) == (email == NEW)


async def test_an_old_link_does_not_confirm_a_later_change(reach: Reach) -> None:
    """Nor stop it. Neither one that was replaced, nor stopped, nor done."""
    ada = await mover(reach)
    old = []
    for email, end in ((NEW, "replaced"), ("second@example.org", "stopped"), (NEW, "replaced")):
        await ada.ask(email)
        old.append(await ada.token())
        if end == "stopped":
            assert (await ada.stop()).status_code == 204
    await ada.ask("evil@example.org")
    before = await reach.database.read(everything)
    for token in old:
        for answer in (await ada.say_yes(token), await ada.stop(token)):
            assert (answer.status_code, answer.json()["type"][-9:]) == (401, "link-void")
    assert await reach.database.read(everything) == before
    token = await ada.token()
    assert (await ada.say_yes(token)).status_code == 200
    assert (await ada.say_yes(token)).status_code == 401
    assert await people_in(reach.database) == ["evil@example.org"]


async def test_asking_again_for_the_same_address_sends_the_email_again(reach: Reach) -> None:
    """Of two emails with the same link the older one is not sent any more; either link works."""
    ada = await mover(reach)
    await ada.ask()
    first = await ada.token()
    await ada.ask()
    states = [(one.template, one.state) for one in await ada.owed()][1:]
    both = ("confirm-address", "address-change")
    assert states == [(name, state) for state in ("cancelled", "queued") for name in both]
    assert (await ada.say_yes(first)).status_code == 200


@pytest.mark.parametrize("by", ["the old address", "the new address", "voiding"])
async def test_both_can_stop_it(reach: Reach, by: str) -> None:
    """What was not sent of it stays unsent, and its link does nothing; again is no harm."""
    ada = await mover(reach)
    await ada.ask()
    token = await ada.token()
    if by == "voiding":
        answer = await reach.http.delete("/v1/me/links", headers=ada.by_link)
    else:
        answer = await ada.stop(token if by == "the new address" else None)
    assert (answer.status_code, answer.content) == (204, b"")
    assert await reach.database.read(stored) == []
    assert await ada.owed("queued") == []
    assert (await ada.say_yes(token)).status_code == 401
    if by == "the old address":
        assert (await ada.stop()).status_code == 204
        assert (await ada.me())["pending_email"] is None
    assert await people_in(reach.database) == [ADA]


async def test_a_link_is_for_one_thing(reach: Reach) -> None:
    """That to the new address shows nobody's record; that to the record confirms no address."""
    ada = await mover(reach)
    await ada.ask()
    token = await ada.token()
    confirm = token_of(reach.settings, ada.person.id, "confirm")
    manage = ada.by_link["Authorization"].removeprefix("Bearer ")
    before = await reach.database.read(everything)
    answers = [await ada.say_yes(one) for one in (confirm, manage)]
    answers.append(await ada.stop(confirm))
    for method, path in (
        *(("GET", "/v1/me"), ("PATCH", "/v1/me"), ("DELETE", "/v1/me"), ("GET", "/v1/me/export")),
        *(("POST", "/v1/me/confirmation"), ("DELETE", "/v1/me/links"), ("POST", "/v1/me/email")),
    ):
        json = {"name": "E"} if method == "PATCH" else None
        answers.append(await reach.http.request(method, path, json=json, headers=by_link(token)))
    for answer in answers:
        assert (answer.status_code, answer.json()["type"][-10:]) == (403, "wrong-link")
    assert await reach.database.read(everything) == before


async def test_what_is_still_to_be_sent_goes_to_the_new_address(
    mailing: Settings, mail_server: MailServer
) -> None:
    """An email to the former one would carry a link to the record; what was sent stays."""
    async with running_reach(mailing) as reach:
        ada = await mover(reach)
        for template in ("welcome", "manage-link", "changed"):
            body = {
                "person_id": str(ada.person.id),
                "template": template,
                "data": {"fields": ["name"]},
            }
            made = await reach.http.post("/v1/messages", json=body, headers=await reach.key())
            assert made.status_code == 201, made.text

        def fail(tx: Transaction) -> None:
            is_changed = messages.c.template == "changed"
            tx.execute(update(messages).where(is_changed).values(state="failed"))
            told = Promise(ada.person.id, "maker@example.net", "notice", {})
            outbox.promise(tx, [told], reach.settings)

        await reach.database.write(fail)
        await ada.ask()
        await ada.say_yes(await ada.token())
        found = [(m.template, m.state, m.recipient) for m in await ada.owed()]
        assert found == [
            ("welcome", "sent", ADA),
            ("welcome", "queued", NEW),
            ("manage-link", "queued", NEW),
            ("changed", "failed", NEW),
            ("notice", "queued", "maker@example.net"),
            ("confirm-address", "cancelled", NEW),
            ("address-change", "cancelled", NEW),
            ("address-changed", "queued", ADA),
        ]
        async with running_worker(mailing):
            await eventually(lambda: len(mail_server.messages) == 3)
        (told,) = [mail for mail in mail_server.messages if mail.recipient == ADA]
        assert links_in(told.text) == []


@pytest.mark.parametrize("email", ["nobody", "a@localhost", "ä@example.org", "x" * 65 + "@a.org"])
async def test_the_rules_of_sign_ups_hold(reach: Reach, email: str) -> None:
    """What is no address here is said to be none, and nothing is changed."""
    ada = await mover(reach)
    before = await reach.database.read(everything)
    answer = await ada.ask(email)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/email")
    assert email not in answer.text
    for body in ({}, {"email": None}, {"email": NEW, "name": "Eve"}, [NEW]):
        wrong = await reach.http.post("/v1/me/email", json=body, headers=ada.by_link)
        assert wrong.status_code == 422
    assert await reach.database.read(everything) == before


async def test_domains_that_cannot_sign_up_are_refused(
    make_settings: Callable[..., Settings], sqlite: str, tmp_path: Any
) -> None:
    """Those of disposable addresses, and all but those that may."""
    file = tmp_path / "disposable"
    file.write_text("thrown.example.com\n")
    settings = make_settings(
        database_url=sqlite, only_domains="example.com, .example.com", disposable_domains_file=file
    )
    async with running_reach(settings) as reach:
        ada = await mover(reach)
        for email in ("a@thrown.example.com", NEW):
            answer = await ada.ask(email)
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/email")
        assert (await ada.ask("a@sub.example.com")).status_code == 202
