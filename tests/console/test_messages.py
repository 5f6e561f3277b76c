"""Messages at the console: found, explained, shown as sent; retried and cancelled, one or all."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from reach.console.sessions import sessions
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.messages.model import messages
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.console import Console, at_console
from tests.support.people import signed_up
from tests.support.processes.reach import Reach, messages_of, running_reach, running_worker
from tests.support.servers.mail import MailServer
from tests.support.trail import trail

HERE = "/console/messages"
NOBODY = "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
async def operator(reach: Reach) -> AsyncIterator[Console]:
    """Somebody who is signed in with every scope, on both databases."""
    async with at_console(reach) as console:
        yield console


async def welcomed(reach: Reach, count: int = 3, state: str = "failed") -> list[str]:
    """Sign people up, whose welcomes have come to a state; gives these messages' ids."""
    ids = [(await signed_up(reach, f"p{n}@example.com")).id for n in range(count)]

    def come(tx: Transaction) -> None:
        tx.execute(update(messages).where(messages.c.person_id.in_(ids)).values(state=state))

    await reach.database.write(come)
    found = {one["person_id"]: str(one["id"]) for one in await messages_of(reach)}
    return [found[str(id_)] for id_ in ids]


def recipients(text: str) -> list[str]:
    """For whom a list shows messages, in order."""
    return re.findall(r'id="row-[^>]*>([^<]+)<', text)


async def states(reach: Reach) -> dict[str, str]:
    """The state of each message, by whom it is for."""
    return {str(one["recipient"]): str(one["state"]) for one in await messages_of(reach)}


async def noted(reach: Reach, action: str) -> list[tuple[int, dict[str, Any]]]:
    """What the audit trail says of an action: how many, and what more."""
    found = await trail(reach.database)
    return [(entry.count, dict(entry.details)) for entry in found if entry.action == action]


async def test_messages_are_found_in_each_way(reach: Reach, operator: Console) -> None:
    """Every filter finds what it says, with how many they are."""
    assert "No message was promised yet" in (await operator.get(HERE)).text
    await welcomed(reach, 2)
    grace = await signed_up(reach, "grace@example.com")
    for query, found in {
        "": ["grace", "p1", "p0"],
        "state=failed": ["p1", "p0"],
        "template=welcome&state=queued": ["grace"],
        "template=changed": [],
        f"recipient={quote(' P0@Example.com ')}": ["p0"],
        f"person={grace.id}": ["grace"],
        "since=2001-01-01&until=2001-12-31": [],
        "until=9998-12-31": ["grace", "p1", "p0"],
    }.items():
        answer = await operator.get(f"{HERE}?{query}")
        assert answer.status_code == 200, query
        assert recipients(answer.text) == [f"{name}@example.com" for name in found], query
        words = {0: "No messages", 1: "1 message"}.get(len(found), f"{len(found)} messages")
        assert f">{words}" in answer.text, query


@pytest.mark.parametrize(
    "query", ["state=lost", "template=A", "recipient=ada", "person=ada", "since=soon"]
)
async def test_what_is_wrong_with_a_filter_is_said(console: Console, query: str) -> None:
    """And nothing is shown in place of what was asked for, nor can be done to it."""
    for path in (HERE, f"{HERE}/retry"):
        answer = await console.get(f"{path}?{query}")
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
        assert "<button>Retry" not in answer.text


async def test_each_message_is_on_some_page_once(
    reach: Reach, operator: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter stays from page to page; what is beyond what is counted is said to be more."""
    monkeypatch.setattr("reach.console.messages.PAGE_ROWS", 2)
    monkeypatch.setattr("reach.db.keyset.MOST_COUNTED", 4)
    await welcomed(reach, 5)
    url, seen = f"{HERE}?state=failed", []
    while url:
        text = (await operator.get(url)).text
        assert ">More than 4 messages found<" in text
        seen += recipients(text)
        next_ = re.search(r'href="([^"]+cursor=[^"]+)"', text)
        url = next_[1].replace("&amp;", "&") if next_ else ""
    assert seen == [f"p{n}@example.com" for n in (4, 3, 2, 1, 0)]


async def test_what_is_looked_through_in_parts_is_not_said_to_be_nothing(
    reach: Reach, operator: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while there is more to look through, nor where the list ends behind what was found."""
    for name, value in {"MOST_LOOKED_AT": 2, "COUNTED_STEP": 1, "COUNT_SECONDS": 0.0}.items():
        monkeypatch.setattr(f"reach.db.keyset.{name}", value)
    await welcomed(reach, 5)

    def change_the_third(tx: Transaction) -> None:
        third = messages.c.recipient == "p2@example.com"
        tx.execute(update(messages).where(third).values(template="changed"))

    await reach.database.write(change_the_third)
    url, seen = f"{HERE}?state=failed&template=changed", []
    while url:
        text = (await operator.get(url)).text
        found = recipients(text)
        counted = re.search(r'class="count" role="status">([^<]+)', text)
        assert counted is not None
        words = re.search(r'class="panel empty"><p>([^<.]+)', text)
        seen.append((found, counted[1].strip(), words and words[1]))
        assert "Retry all" in text
        next_ = re.search(r'href="([^"]+cursor=[^"]+)"', text)
        url = next_[1].replace("&amp;", "&") if next_ else ""
    empty: list[str] = []
    looking = (empty, "Still none found", "Among those looked through so far none is like this")
    assert seen == [
        looking,
        (["p2@example.com"], "At least 1 message found", None),
        ([], "Still none found", "There are no more"),
    ]


async def test_all_of_a_filter_are_retried_and_their_number_comes_first(
    reach: Reach, operator: Console
) -> None:
    """Asked with the number and the filter; done to these and no others; noted with it."""
    await welcomed(reach, 3)
    await signed_up(reach, "grace@example.com")
    text = (await operator.get(f"{HERE}?state=failed")).text
    assert f'{HERE}/retry?state=failed"' in text
    assert f"{HERE}/cancel" not in text
    query = "state=failed&template=welcome&since=2001-01-01"
    asked = (await operator.get(f"{HERE}/retry?{query}")).text
    assert "Retry 3 messages?" in asked
    assert set((await states(reach)).values()) == {"failed", "queued"}
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)"', asked))
    answer = await operator.post(f"{HERE}/retry", form)
    shown = (await operator.get(answer.headers["location"])).text
    assert "3 messages are queued again" in shown
    assert set((await states(reach)).values()) == {"queued"}
    ((count, details),) = await noted(reach, "messages.retry")
    assert (count, details["state"], details["template"]) == (3, "failed", "welcome")
    none = (await operator.get(f"{HERE}/retry?{query}")).text
    assert "There is nothing to retry" in none
    assert "<button>Retry" not in none


async def test_all_of_a_filter_are_cancelled(reach: Reach, operator: Console) -> None:
    """Only what is queued can be."""
    await welcomed(reach, 2, "queued")
    await welcomed(reach, 0)
    form = {"state": "queued", "recipient": "p1@example.com"}
    answer = await operator.post(f"{HERE}/cancel", form)
    assert "1 message is cancelled" in (await operator.get(answer.headers["location"])).text
    assert await states(reach) == {"p0@example.com": "queued", "p1@example.com": "cancelled"}
    assert (await noted(reach, "messages.cancel"))[0][0] == 1
    for state in ("", "sent", "failed"):
        assert (await operator.post(f"{HERE}/cancel", {"state": state})).status_code == 422
    for state in ("", "sent"):
        assert (await operator.post(f"{HERE}/retry", {"state": state})).status_code == 422


async def test_more_than_a_call_takes_are_done_in_steps(
    reach: Reach, operator: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step says how many were done and what is left, and is noted."""
    monkeypatch.setattr("reach.console.messages.MOST_AT_ONCE", 2)
    await welcomed(reach, 5)
    form, said = {"state": "failed"}, []
    asked = (await operator.get(f"{HERE}/retry?state=failed")).text
    assert "Retry more than 2 messages?" in asked
    assert "Retry the first 2" in asked
    for _ in range(3):
        answer = await operator.post(f"{HERE}/retry", form)
        text = (await operator.get(answer.headers["location"])).text
        said.append(re.findall(r"(\d) messages? (?:is|are) queued again", text))
        assert ("are left" in text) == (len(said) < 3)
    assert said == [["2"], ["2"], ["1"]]
    assert [count for count, _ in await noted(reach, "messages.retry")] == [1, 2, 2]


async def test_one_is_retried_and_cancelled(reach: Reach, operator: Console) -> None:
    """Each by its button, as far as its state allows; else nothing is done, and it is said."""
    (id_,) = await welcomed(reach, 1)
    page = f"{HERE}/{id_}"
    assert f"{page}/cancel" not in (await operator.get(page)).text
    answer = await operator.post(f"{page}/retry")
    text = (await operator.get(answer.headers["location"])).text
    assert "queued again" in text
    assert f'hx-get="{page}/now"' in text
    assert 'id="now"' in (await operator.get(f"{page}/now")).text
    answer = await operator.post(f"{page}/cancel")
    assert "It is cancelled" in (await operator.get(answer.headers["location"])).text
    again = await operator.post(f"{page}/cancel")
    assert again.status_code == 409
    assert "Only a message that is still queued can be cancelled" in again.text
    assert len(await noted(reach, "message.retry")) == 1
    assert len(await noted(reach, "message.cancel")) == 1
    assert (await operator.get(f"{HERE}/{NOBODY}")).status_code == 404
    assert (await operator.post(f"{HERE}/{NOBODY}/retry")).status_code == 404


async def test_who_may_only_read_is_offered_nothing(here: Reach) -> None:
    """No button, and no email, which says more of a person than messages do."""
    (id_,) = await welcomed(here, 1)
    async with at_console(here, "messages:read") as console:
        for path in (f"{HERE}?state=failed", f"{HERE}/{id_}"):
            text = (await console.get(path)).text
            assert "retry" not in text
            assert "/console/people" not in text
            assert f"{id_}/email" not in text
        for path in ("retry", "cancel", f"{id_}/retry", f"{id_}/cancel"):
            assert (await console.post(f"{HERE}/{path}", {"state": "failed"})).status_code == 403
        for path in (f"{id_}/email", f"{id_}/email/html"):
            assert (await console.get(f"{HERE}/{path}")).status_code == 403


async def test_a_page_that_watches_keeps_nobody_signed_in(here: Reach, console: Console) -> None:
    """What a page asks by itself is no use of the session; what somebody asks is."""

    def grow_old(tx: Transaction) -> None:
        tx.execute(update(sessions).values(seen_at=now(-1800)))

    def age(tx: Transaction) -> float:
        seen_at: datetime = tx.execute(select(sessions.c.seen_at)).scalar_one()
        return (datetime.now(UTC) - seen_at).total_seconds()

    async def is_noted() -> bool:
        return await here.database.write(age) < 1000

    await here.database.write(grow_old)
    assert (await console.get(f"{HERE}/now?state=queued")).status_code == 200
    assert not await is_noted()  # it is a write too: what was to be noted is by now
    assert (await console.get(f"{HERE}?state=queued")).status_code == 200
    await eventually(is_noted)


REPLIES = {
    "rejected": ("550 5.1.1 No such user", "it is about this message", "fails at once"),
    "grey": ("451 4.7.1 Greylisted", "Not now", "is tried again"),
    "policy": ("554 5.7.1 <script> policy", "perhaps it is about us", "others are sent fails"),
}


async def test_what_the_server_said_and_what_that_means(
    sqlite: str, make_settings: Callable[..., Settings], mail_server: MailServer
) -> None:
    """Each attempt, by the table of replies; and of one that the server lets nobody send."""

    def rcpt(_: object, argument: str) -> str | None:
        return next((said for name, (said, *_) in REPLIES.items() if name in argument), None)

    mail_server.script["rcpt"] = rcpt
    settings = make_settings(
        database_url=sqlite,
        smtp_url=SecretStr(mail_server.url),
        retry_first_seconds=600,
        retry_cap_seconds=600,
    )
    async with running_reach(settings) as reach, at_console(reach) as console:
        for name in (*REPLIES, "taken"):
            await signed_up(reach, f"{name}@example.com")

        async def all_tried() -> bool:
            return all(one["attempts"] for one in await messages_of(reach))

        async with running_worker(reach.settings):
            await eventually(all_tried)
        ids = {str(one["recipient"]).split("@")[0]: one["id"] for one in await messages_of(reach)}
        for name, (said, *meant) in REPLIES.items():
            text = (await console.get(f"{HERE}/{ids[name]}")).text
            code, _, words = said.partition(" ")
            assert f"<strong>{code}</strong> RCPT TO: {escape(words)}" in text
            assert [one for one in meant if one not in text] == [], name
        assert "The mail server has taken it" in (await console.get(f"{HERE}/{ids['taken']}")).text
        mail_server.script["mail"] = "451 4.3.0 Come back later"
        await signed_up(reach, "waits@example.com")

        async def is_told() -> bool:
            (one,) = await messages_of(reach, recipient="waits@example.com")
            return one["last_error"] is not None

        async with running_worker(reach.settings):
            await eventually(is_told)
        (one,) = await messages_of(reach, recipient="waits@example.com")
        text = (await console.get(f"{HERE}/{one['id']}")).text
        assert "The mail server takes nothing from us now" in text
        assert "It was not tried yet" in text


async def test_an_email_is_shown_as_it_was_sent(
    sqlite: str, make_settings: Callable[..., Settings], mail_server: MailServer
) -> None:
    """The same subject, text and HTML, in the person's language; but no link opens anything."""
    smtp_url = SecretStr(mail_server.url)
    settings = make_settings(database_url=sqlite, smtp_url=smtp_url, languages="en, de")
    async with running_reach(settings) as reach, at_console(reach) as console:
        await signed_up(reach, name=SCRIPT, language="de")
        async with running_worker(reach.settings):
            await eventually(lambda: mail_server.messages)
        (mail,) = mail_server.messages
        (message,) = await messages_of(reach)
        page = f"{HERE}/{message['id']}/email"
        shown = {part: await console.get(f"{page}?part={part}") for part in ("text", "source")}
        html = await console.get(f"{page}/html")
        assert 'sandbox="allow-popups' in (await console.get(page)).text
    policy = html.headers["content-security-policy"]
    assert "sandbox " in policy
    assert "default-src 'none'" in policy
    assert html.headers["content-language"] == "de"
    for text in (shown["text"].text, shown["source"].text, html.text):
        assert "this-link-is-a-sample" in text
        assert SCRIPT not in text
    assert escape(f"Message-ID: {mail.message_id}") in shown["source"].text
    sent = re.sub(r"token=[^\s\"&<]+", "token=this-link-is-a-sample", mail.html)
    assert sent.replace("\r\n", "\n").strip() in html.text
