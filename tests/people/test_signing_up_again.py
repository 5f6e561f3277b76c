"""Signing up again: who has not confirmed, or never had their welcome, gets a fresh one."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from reach.db.transaction import Transaction
from reach.db.types import now
from reach.messages.model import messages
from reach.people.model import Person, people
from reach.people.signup import REPLACED
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import all_sent, attempts_in, confirm_everybody, messages_in
from tests.support.messages import links_in
from tests.support.people import at_work, by_link, everybody, operator, person_at, token_of
from tests.support.processes.reach import ADA, Reach, running_reach, running_worker
from tests.support.servers.mail import MailServer

HOUR = 3600.0
#: What strangers type.
SPAM = {**ADA, "name": "Spam", "description": "BUY-THIS"}


async def states(reach: Reach) -> list[tuple[str, str]]:
    """Template and state of every message, the oldest first."""
    return [(one.template, one.state) for one in await messages_in(reach.database)]


async def set_welcome(reach: Reach, state: str) -> None:
    """Say what became of every message so far."""
    change = update(messages).values(state=state, finished_at=None if state == "queued" else now())
    await reach.database.write(lambda tx: tx.execute(change))


@pytest.mark.parametrize("is_confirmed", [False, True], ids=["unconfirmed", "confirmed"])
async def test_who_never_had_their_welcome_gets_a_fresh_one(
    reach: Reach, mail_server: MailServer, is_confirmed: bool
) -> None:
    """It failed for good: what `check-your-inbox` advises, to sign up again, brings an email."""
    mail_server.script["rcpt"] = "550 5.1.1 no such mailbox"
    await reach.sign_up()
    if is_confirmed:  # by an operator's word, say
        await confirm_everybody(reach.database)
    async with running_worker(reach.settings):
        await eventually(lambda: is_now(reach, [("welcome", "failed")]))
        mail_server.script.clear()
        assert (await reach.sign_up()).status_code == 202
        await eventually(lambda: mail_server.messages)
    assert await states(reach) == [("welcome", "failed"), ("welcome", "sent")]
    (mail,) = mail_server.messages
    assert {scope for scope, _ in links_in(mail.text)} == {"confirm", "manage"}


async def is_now(reach: Reach, expected: Sequence[tuple[str, str]]) -> bool:
    """Whether these are the messages."""
    return await states(reach) == expected


@pytest.mark.parametrize("state", ["failed", "cancelled", "queued", "sent"])
@pytest.mark.parametrize("is_confirmed", [False, True], ids=["unconfirmed", "confirmed"])
async def test_what_each_is_sent(reach: Reach, state: str, is_confirmed: bool) -> None:
    """A fresh welcome, unless they have confirmed and had one: they are told, once in 24 hours."""
    await reach.sign_up()
    await set_welcome(reach, state)
    if is_confirmed:
        await confirm_everybody(reach.database)
    for _ in range(2):
        assert (await reach.sign_up()).status_code == 202
    _, *others = await states(reach)
    if is_confirmed and state == "sent":
        assert others == [("already-signed-up", "queued")]
    else:
        assert others == [("welcome", "cancelled"), ("welcome", "queued")]


async def test_who_was_told_is_told_again_after_the_quiet_time(reach: Reach) -> None:
    """`REACH_ALREADY_HOURS` after the last time; a welcome is no such time."""
    await reach.sign_up()
    await set_welcome(reach, "sent")
    await confirm_everybody(reach.database)

    async def told() -> int:
        await reach.sign_up()
        return [template for template, _ in await states(reach)].count("already-signed-up")

    def told_before(hours: float) -> Callable[[Transaction], object]:
        return lambda tx: tx.execute(update(people).values(greeted_at=now(-hours * HOUR)))

    assert [await told(), await told()] == [1, 1]
    await reach.database.write(told_before(23.9))
    assert await told() == 1
    await reach.database.write(told_before(24.1))
    assert await told() == 2


async def test_an_hour_s_outage_ends_in_one_email(reach: Reach, mail_server: MailServer) -> None:
    """A person who signed up time after time meanwhile gets the newest welcome, not all of them.

    The others are cancelled, and say why: also after a worker gave them back.
    """
    mail_server.script["greeting"] = "421 4.3.2 out of order"
    async with running_worker(reach.settings):
        for number in range(4):
            await reach.sign_up(name=f"Ada {number}")
            await eventually(lambda: was_tried(reach))
        mail_server.script.clear()
        await eventually(lambda: mail_server.messages)
        await eventually(lambda: is_finished(reach))
    assert await states(reach) == [("welcome", "cancelled")] * 3 + [("welcome", "sent")]
    *older, newest = await messages_in(reach.database)
    assert {message.last_error for message in older} == {REPLACED}
    assert [mail.message_id for mail in mail_server.messages] == [newest.message_id]
    assert "Ada 3" in mail_server.messages[0].text


async def was_tried(reach: Reach) -> bool:
    """Whether a message was tried, and given back."""
    return (await messages_in(reach.database))[0].last_error is not None


async def is_finished(reach: Reach) -> bool:
    """Whether nothing waits any more."""
    return "queued" not in {message.state for message in await messages_in(reach.database)}


@pytest.mark.parametrize("reply", [None, "451 4.3.0 later"], ids=["taken", "refused"])
async def test_one_that_is_being_sent(
    reach: Reach, mail_server: MailServer, reply: str | None
) -> None:
    """If the mail server takes it, it was sent; if not, it is not tried again."""
    gate = mail_server.gate("dot")
    await reach.sign_up()
    async with running_worker(reach.settings):
        await gate.wait_reached()
        await reach.sign_up()
        assert await states(reach) == [("welcome", "cancelled"), ("welcome", "queued")]
        mail_server.script["dot"] = reply
        gate.open(reply)
        await eventually(lambda: first_is_tried(reach))
        mail_server.script.clear()
        await eventually(lambda: is_finished(reach))
    expected = "sent" if reply is None else "cancelled"
    assert await states(reach) == [("welcome", expected), ("welcome", "sent")]
    (first, _) = await messages_in(reach.database)
    assert first.last_error == (None if reply is None else REPLACED)
    assert len(mail_server.messages) == (2 if reply is None else 1)


async def first_is_tried(reach: Reach) -> bool:
    """Whether the first attempt is noted."""
    return bool(await attempts_in(reach.database))


async def test_over_budget_nothing_is_cancelled(reach: Reach) -> None:
    """A 202 and no message; what was promised last is still owed."""
    poor = reach.settings.model_copy(update={"limit_mail_per_address": "2/hour"})
    async with running_reach(poor) as limited:
        for _ in range(4):
            assert (await limited.sign_up()).status_code == 202
    assert await states(reach) == [("welcome", "cancelled"), ("welcome", "queued")]


async def test_an_operators_welcome_is_no_strangers_to_cancel(reach: Reach) -> None:
    """Its words may be others: it is sent beside the fresh one. A stranger's is replaced."""
    body = {"email": "ada@example.com", "name": "Ada"}
    answer = await reach.http.post("/v1/people", json=body, headers=await reach.key())
    assert answer.status_code == 201
    for _ in range(2):
        assert (await reach.sign_up()).status_code == 202
    assert await states(reach) == [
        ("welcome", "queued"),
        ("welcome", "cancelled"),
        ("welcome", "queued"),
    ]


async def test_others_messages_are_left_alone(reach: Reach) -> None:
    """Of the same person, only welcomes are replaced; of others, none."""
    http, person = await at_work(reach)
    await reach.sign_up("bob@example.com")
    await http.patch("/v1/me", json={"name": "Ada B"})
    await reach.sign_up()
    found = [
        (m.person_id == person.id, m.template, m.state) for m in await messages_in(reach.database)
    ]
    assert found == [
        (True, "welcome", "cancelled"),
        (False, "welcome", "queued"),
        (True, "changed", "queued"),
        (True, "welcome", "queued"),
    ]


async def test_what_a_stranger_typed_is_replaced(reach: Reach, mail_server: MailServer) -> None:
    """Name and description are the next sign-up's, in the record and in the email.

    The version moves as with any change: who has seen the spam does not write over the rest.
    """
    http = await operator(reach)
    await http.post("/v1/signups", json=SPAM)
    spam = (await http.get(f"/v1/people/{(await person_at(reach)).id}")).headers["etag"]
    before = await person_at(reach)
    assert (await reach.sign_up(name="Ada")).status_code == 202
    after = await person_at(reach)
    assert (after.id, after.name, after.description) == (before.id, "Ada", None)
    assert (before.version, after.version) == (1, 2)
    assert after.updated_at > before.updated_at
    stale = await http.patch(
        f"/v1/people/{after.id}", json={"name": "Eve"}, headers={"If-Match": spam}
    )
    assert stale.status_code == 412
    async with running_worker(reach.settings):
        await eventually(lambda: mail_server.messages)
    (mail,) = mail_server.messages
    assert "Ada" in mail.text
    assert "Spam" not in mail.content.decode()


async def test_the_same_again_is_no_change(reach: Reach) -> None:
    """Neither version nor time moves."""
    await reach.sign_up()
    before = await person_at(reach)
    await reach.sign_up()
    after = await person_at(reach)
    assert (after.version, after.updated_at) == (before.version, before.updated_at)


async def by_operator(reach: Reach, person: Person) -> None:
    """An operator changes the record."""
    key = await reach.key()
    url = f"/v1/people/{person.id}"
    answer = await reach.http.patch(url, json={"name": "Ada Lovelace"}, headers=key)
    assert answer.status_code == 200


async def by_their_link(reach: Reach, person: Person) -> None:
    """They do so themselves."""
    headers = by_link(token_of(reach.settings, person.id))
    answer = await reach.http.patch("/v1/me", json={"name": "Ada Lovelace"}, headers=headers)
    assert answer.status_code == 200


async def by_an_older_version(reach: Reach, person: Person) -> None:
    """A Reach does so that knows nothing of who typed what; all count the version up."""
    older = update(people).where(people.c.id == person.id)
    older = older.values(name="Ada Lovelace", version=people.c.version + 1)
    await reach.database.write(lambda tx: tx.execute(older))


@pytest.mark.parametrize("change", [by_operator, by_their_link, by_an_older_version])
async def test_what_others_typed_is_not_a_stranger_s_to_replace(reach: Reach, change: Any) -> None:
    """An operator's change, or their own, stays; the fresh welcome has their name too."""
    await reach.sign_up()
    await change(reach, await person_at(reach))
    before = await person_at(reach)
    await reach.http.post("/v1/signups", json=SPAM)
    after = await person_at(reach)
    assert (after.name, after.description) == ("Ada Lovelace", None)
    assert (after.version, after.updated_at) == (before.version, before.updated_at)
    newest = (await messages_in(reach.database))[-1]
    assert (newest.template, newest.data) == ("welcome", {"name": "Ada Lovelace"})


@pytest.mark.parametrize("welcome", [True, False])
async def test_whom_an_operator_added_is_not_renamed(reach: Reach, welcome: bool) -> None:
    """Nor one of whom it is not known who typed it: from before that was noted."""
    http = await operator(reach)
    body = {**ADA, "name": "Ada Lovelace", "welcome": welcome}
    assert (await http.post("/v1/people", json=body)).status_code == 201
    await reach.http.post("/v1/signups", json=SPAM)
    assert (await person_at(reach)).name == "Ada Lovelace"
    assert (await states(reach))[-1] == ("welcome", "queued")


async def test_no_description_is_mailed_to_who_has_not_confirmed(
    reach: Reach, mail_server: MailServer
) -> None:
    """Whatever strangers can have sent, time after time; nor is it in a message's data."""
    await reach.http.post("/v1/signups", json=SPAM)
    await reach.http.post("/v1/links", json={"email": ADA["email"]})
    async with running_worker(reach.settings):
        await eventually(lambda: len(mail_server.messages) == 2)
        await reach.http.post("/v1/signups", json={**SPAM, "description": "BUY-THAT"})
        await eventually(lambda: len(mail_server.messages) == 3)
        await all_sent(reach.database)
    assert (await person_at(reach)).description == "BUY-THAT"
    for mail in mail_server.messages:
        assert "Spam" in mail.text
        assert "BUY" not in f"{mail.headers['Subject']}{mail.text}{mail.html}"
    assert "BUY" not in "".join(str(message.data) for message in await messages_in(reach.database))


#: Who signs up, each made known beforehand as it says: to all of them the same is done.
KINDS = ("new", "unconfirmed", "failed", "told now", "told before", "operator's", "over budget")


async def make(reach: Reach, kind: str) -> str:
    """Make one of KINDS; returns the address."""
    email = f"{kind.replace(' ', '-').replace(chr(39), '')}@example.com"
    if kind == "operator's":
        body = {**ADA, "email": email, "welcome": False}
        answer = await reach.http.post("/v1/people", json=body, headers=await reach.key())
        assert answer.status_code == 201
    elif kind != "new":
        await reach.sign_up(email)
        await set_welcome(reach, "failed" if kind == "failed" else "sent")
    if kind.startswith("told"):
        await confirm_everybody(reach.database)
        if kind == "told before":
            await reach.sign_up(email)
    if kind == "over budget":
        for _ in range(5):
            await reach.sign_up(email)
    return email


@contextmanager
def statements() -> Iterator[list[str]]:
    """Note every statement that is executed meanwhile on what sign-ups read and write."""
    found: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if any(table in statement for table in ("people", "messages", "proofs", "idempotency")):
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_as_many_statements_for_everybody(reach: Reach) -> None:
    """They do not depend on who signs up; or their time would tell who is known."""
    done = {}
    for kind in KINDS:
        email = await make(reach, kind)
        with statements() as found:
            await reach.sign_up(email)
        done[kind] = found
    # On Postgres the first one to use a statement prepares it, which is no statement itself.
    assert len(done["new"]) > 4
    assert {kind: found for kind, found in done.items() if found != done["new"]} == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_one_durable_write_for_everybody(
    make_settings: Callable[..., Settings], sqlite: str, kind: str
) -> None:
    """SQLite writes nothing, and syncs nothing, if no byte has changed: here some always has."""
    async with running_reach(make_settings(database_url=sqlite)) as reach:
        email = await make(reach, kind)
        path = sqlite.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as watcher:

            def version() -> int:
                return int(watcher.execute("PRAGMA data_version").fetchone()[0])

            before = version()
            assert (await reach.sign_up(email)).status_code == 202
            assert version() != before


async def test_a_stranger_changes_no_language_of_a_record_that_others_wrote_in(
    reach: Reach,
) -> None:
    """Nor the name that an operator wrote."""
    http = await operator(reach)
    await http.post("/v1/signups", json={**ADA, "language": "de"})
    (ada,) = await everybody(http)
    await http.patch(f"/v1/people/{ada['id']}", json={"name": "Ada King"})
    await http.post("/v1/signups", json={**ADA, "language": "fr"})
    (ada,) = await everybody(http)
    assert (ada["name"], ada["language"]) == ("Ada King", "de")
