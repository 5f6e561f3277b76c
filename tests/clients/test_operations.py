"""What Reach's Python client can do, with a real Reach."""

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, assert_type

import pytest

from reach.people import antispam
from reach.settings import Settings
from reach_client import (
    AsyncClient,
    AsyncListing,
    Client,
    Conflict,
    Invalid,
    Listing,
    MessageWithHistory,
    NotFound,
    Person,
    PreconditionFailed,
    Unauthorised,
)
from tests.support.clients import Kind, Using, key_of, using
from tests.support.clock import eventually
from tests.support.people import NOBODY, new_address_token, signed_up, token_of
from tests.support.processes.reach import Reach, running_reach, running_worker

if TYPE_CHECKING:

    async def types_are_those_of_each_kind(client: Client, other: AsyncClient) -> None:
        """Mypy runs this: what a method gives is typed, and so is what it takes."""
        assert_type(client.people.get(NOBODY), Person)
        assert_type(await other.people.get(NOBODY), Person)
        assert_type(client.people.list(), Listing[Person])
        assert_type(other.people.list(), AsyncListing[Person])
        assert_type(client.people.get_if_changed(NOBODY, "*"), Person | None)
        client.people.get(7)  # type: ignore[arg-type]
        client.people.list(confirmd=True)  # type: ignore[call-arg]
        client.messages.list(state="lost")  # type: ignore[arg-type]
        client.keys.create("shop", ["people:reed"])  # type: ignore[list-item]


async def test_a_record_from_its_beginning_to_its_end(operator: Using) -> None:
    """Add, read, change, clear, erase: each by the etag of the one before."""
    people = operator.client.people
    ada = await operator.do(people.add, "Ada@example.com", "Ada", description="Engines")
    assert (ada.email, ada.description, ada.welcome.state) == (
        "Ada@example.com",
        "Engines",
        "queued",
    )
    assert ada.created_at.tzinfo is not None
    assert await operator.do(people.get, ada.id, if_match=ada.etag) == ada
    assert await operator.do(people.get_if_changed, ada.id, ada.etag) is None
    changed = await operator.do(
        people.change, ada.id, name="Ada King", description=None, if_match=ada.etag
    )
    assert (changed.name, changed.description) == ("Ada King", None)
    assert await operator.do(people.get_if_changed, ada.id, ada.etag) == changed
    for method in (people.erase, people.change):
        with pytest.raises(PreconditionFailed) as caught:
            await operator.do(method, ada.id, if_match=ada.etag)
        assert not caught.value.perhaps_done
    with pytest.raises(FrozenInstanceError):
        changed.name = "Eve"
    await operator.do(people.erase, str(ada.id), if_match=changed.etag)
    with pytest.raises(NotFound) as missing:
        await operator.do(people.get, ada.id)
    assert (missing.value.slug, missing.value.status) == ("no-such-person", 404)
    with pytest.raises(NotFound):  # nothing was lost on the way, so it is told
        await operator.do(people.erase, ada.id)


async def test_lists_are_asked_for_as_they_are_read(operator: Using) -> None:
    """Part by part, and from the beginning each time; a page's cursor goes on from there."""
    people = operator.client.people
    for number in range(5):
        await operator.do(people.add, f"ada{number}@example.com", "Ada", welcome=False)
    operator.line.requests.clear()
    listing = people.list(q="ada", confirmed=False, page_size=2)
    assert operator.line.requests == []
    names = [person.email for person in await operator.all(listing)]
    assert names == [f"ada{number}@example.com" for number in (4, 3, 2, 1, 0)]
    assert len(operator.line.requests) == 3
    pages = await operator.pages(listing)
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert pages[-1].next_cursor is None
    rest = await operator.all(people.list(q="ada", cursor=pages[1].next_cursor))
    assert [person.email for person in rest] == ["ada0@example.com"]
    assert await operator.all(people.list(confirmed=True)) == []


async def test_people_are_found_and_written_into_a_file(operator: Using) -> None:
    """By part of a name, in an order; and the same ones in an export, read while it comes."""
    people = operator.client.people
    for number in range(3):
        await operator.do(people.add, f"ada{number}@example.com", "Ada Lovelace", welcome=False)
    await operator.do(people.add, "grace@example.com", "Grace", welcome=False, language="de")
    found = await operator.all(people.list(search="lovel", sort="address", page_size=2))
    assert [person.email for person in found] == [f"ada{number}@example.com" for number in range(3)]
    assert [one.name for one in await operator.all(people.list(language="de"))] == ["Grace"]
    chosen = {"columns": ["name", "email"], "q": "ada2", "since": found[0].created_at}
    lines = await operator.lines(people.export(**chosen))
    assert lines == ["name,email", "Ada Lovelace,ada2@example.com"]
    (line,) = await operator.lines(people.export(format="ndjson", **chosen))
    assert json.loads(line) == {"name": "Ada Lovelace", "email": "ada2@example.com"}
    with pytest.raises(Invalid, match="columns"):
        await operator.lines(people.export(columns=["password"]))
    consent = await operator.do(people.consent, found[0].id)
    assert (consent.form, consent.consented_at) == ("operator", found[0].created_at)


async def test_messages_are_found_retried_and_cancelled(operator: Using) -> None:
    """By state, template, recipient and time; one, or all that are chosen."""
    client, messages = operator.client, operator.client.messages
    ada = await operator.do(client.people.add, "ada@example.com", "Ada")
    sent = await operator.do(messages.send, ada.id, "manage-link")
    assert sent.state == "queued"
    chosen = {"recipient": "ada@example.com", "since": ada.created_at - timedelta(minutes=1)}
    found = await operator.all(messages.list(state="queued", template="manage-link", **chosen))
    assert found == [sent]
    assert await operator.all(messages.list(until=chosen["since"])) == []
    theirs = await operator.all(client.people.messages(ada.id, page_size=1))
    assert [one.template for one in theirs] == ["manage-link", "welcome"]
    dry = await operator.do(messages.cancel_all, person_id=ada.id, dry_run=True)
    assert (dry.cancelled, dry.more, dry.dry_run) == (2, False, True)
    for method in (messages.cancel_all, messages.retry_all):
        with pytest.raises(Invalid, match="/filter"):  # all of them, only if that is said
            await operator.do(method)
    done = await operator.do(messages.cancel_all, state="queued", template="manage-link")
    assert done.cancelled == 1
    assert (await operator.do(messages.get, sent.id)).state == "cancelled"
    with pytest.raises(Conflict):
        await operator.do(messages.cancel, sent.id)
    dry = await operator.do(messages.retry_all, state="cancelled", dry_run=True, **chosen)
    assert (dry.queued, dry.more, dry.dry_run) == (1, False, True)
    done = await operator.do(messages.retry_all, state="cancelled", person_id=ada.id)
    assert (done.queued, done.dry_run) == (1, False)
    assert (await operator.do(messages.get, sent.id)).state == "queued"


async def test_attempts_are_read_with_the_servers_words(mailing: Settings, kind: Kind) -> None:
    """What the mail server said of a message that was sent; and the numbers say so too."""
    async with running_reach(mailing) as reach, running_worker(reach.settings):
        key = await reach.key()
        async with using(kind, reach.settings.origin, key_of(key)) as client:
            ada = await client.do(client.client.people.add, "ada@example.com", "Ada")
            (welcome,) = await client.all(client.client.people.messages(ada.id))
            got = client.client.messages.get

            async def is_sent() -> bool:
                found: MessageWithHistory = await client.do(got, welcome.id)
                return found.state == "sent"

            await eventually(is_sent)
            (attempt,) = (await client.do(got, welcome.id)).history
            assert (attempt.outcome, attempt.smtp_code) == ("sent", 250)
            assert attempt.started_at <= attempt.finished_at
            stats = await client.do(client.client.stats)
            assert (stats.people, len(stats.per_hour), len(stats.per_day)) == (1, 48, 90)
            assert stats.mail_seconds.p50 <= stats.mail_seconds.p99
            with pytest.raises(Conflict):
                await client.do(client.client.messages.retry, welcome.id)


async def test_keys_are_made_and_revoked(operator: Using, reach: Reach, kind: Kind) -> None:
    """A new key works at once, and no longer once it is revoked."""
    keys = operator.client.keys
    until = datetime.now(UTC) + timedelta(days=1)
    made = await operator.do(keys.create, "shop", ["people:read"], expires_at=until)
    assert (made.scopes, made.expires_at, made.state) == (("people:read",), until, "valid")
    assert made.key.startswith(made.prefix)
    async with using(kind, reach.settings.origin, made.key) as shop:
        assert await shop.all(shop.client.people.list()) == []
        await operator.do(keys.revoke, made.id)
        with pytest.raises(Unauthorised):
            await shop.all(shop.client.people.list())
    (listed,) = [key for key in await operator.all(keys.list()) if key.id == made.id]
    assert listed.state == "revoked"


async def test_who_did_what_is_read(operator: Using) -> None:
    """Every change is in the audit trail, by this key; it is found by what was done to whom."""
    people, audit = operator.client.people, operator.client.audit
    ada = await operator.do(people.add, "ada@example.com", "Ada")
    await operator.do(people.change, ada.id, name="Ada King")
    entries = await operator.all(audit.list(subject=ada.id, page_size=1))
    assert [entry.action for entry in entries] == ["person.change", "person.add"]
    (changed,) = await operator.all(audit.list(action="person.change", since=ada.created_at))
    assert (changed, changed.details) == (entries[0], {"fields": ["name"]})
    assert (changed.actor.kind, changed.actor.via) == ("key", "api")
    assert await operator.all(audit.list(actor=changed.actor.id)) == entries
    assert await operator.all(audit.list(until=ada.created_at - timedelta(minutes=1))) == []


async def test_a_person_acts_by_their_link(operator: Using, reach: Reach) -> None:
    """Read, change, confirm, move, take everything along, void the links, go."""
    person = await signed_up(reach)
    me = operator.client.me(token_of(reach.settings, person.id))
    own = await operator.do(me.get)
    assert (own.id, own.pending_email) == (person.id, None)
    assert await operator.do(me.get_if_changed, own.etag) is None
    assert (await operator.do(me.confirm)).confirmed_at is not None
    changed = await operator.do(me.change, description="Tea", language="de")
    assert (changed.description, changed.language) == ("Tea", "de")
    assert (await operator.do(me.move, "ada@example.org")).message
    assert (await operator.do(me.get)).pending_email == "ada@example.org"
    await operator.do(me.stop_move)
    assert (await operator.do(me.get)).pending_email is None
    exported = await operator.do(me.export)
    assert exported.person["email"] == "ada@example.com"
    assert len(exported.messages) > 1
    await operator.do(me.move, "ada@example.org")
    moving = operator.client.me(await new_address_token(reach, person.id))
    assert (await operator.do(moving.confirm_move)).confirmed_at is not None
    again = operator.client.me(token_of(reach.settings, person.id, version=1))
    assert (await operator.do(again.get)).email == "ada@example.org"
    await operator.do(again.void_links)
    with pytest.raises(Unauthorised):
        await operator.do(again.get)
    last = operator.client.me(token_of(reach.settings, person.id, version=2))
    await operator.do(last.erase)
    assert await operator.all(operator.client.people.list()) == []


async def test_anyone_signs_up_and_does_the_work_asked_for(
    make_settings: Callable[..., Settings],
    sqlite: str,
    kind: Kind,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a key: a challenge is fetched, solved with what Python has, and accepted."""
    monkeypatch.setattr(antispam, "FEWEST_TRIES", 10)  # a task of milliseconds, for seconds' worth
    monkeypatch.setattr(antispam, "MOST_TRIES", 20)
    settings = make_settings(database_url=sqlite, altcha=True)
    async with running_reach(settings) as reach, using(kind, reach.settings.origin) as client:
        for method, arguments in (
            (client.client.sign_up, ("ada@example.com", "Ada")),
            (client.client.request_link, ("ada@example.com",)),
        ):
            with pytest.raises(Exception, match="altcha"):
                await client.do(method, *arguments)
            challenge = await client.do(client.client.challenge)
            accepted = await client.do(method, *arguments, altcha=challenge.solve())
            assert accepted.message


async def test_no_challenge_is_there_where_none_is_asked_for(operator: Using) -> None:
    """And signing up needs none."""
    with pytest.raises(NotFound):
        await operator.do(operator.client.challenge)
    await operator.do(operator.client.sign_up, "ada@example.com", "Ada", language="de")
    (ada,) = await operator.all(operator.client.people.list())
    assert ada.language == "de"
