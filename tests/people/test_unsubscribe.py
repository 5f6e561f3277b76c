"""People unsubscribe by one click, and it counts at once; they alone can take it back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr

from reach.db.types import now
from reach.messages import queue
from reach.messages.model import messages
from reach.messages.outcome import Deferred, Outcome, Sent
from reach.messages.queue import AttemptOutcome, Held
from reach.messages.recording import record_outcomes
from reach.people import record, unsubscribe
from reach.problems import BadRequest
from reach.settings import Settings
from reach.web.body import parse_multipart
from tests.support.clock import eventually
from tests.support.console import at_console
from tests.support.database.stored import messages_in
from tests.support.messages import a_key, is_believed, signing
from tests.support.people import Holder, by_link, holder, token_of
from tests.support.processes.reach import Reach, running_reach, running_worker
from tests.support.servers.mail import MailServer

NEWS = {
    "news.subject": "News",
    "news.txt": "Hello {{ name }}\n{{ link('unsubscribe') }}",
    "news.html": '{% from "ends.html" import unsubscribe %}{{ unsubscribe(link("unsubscribe")) }}',
    "receipt.subject": "Receipt",
    "receipt.txt": "Hello {{ name }}",
    "receipt.html": "<p>Hello</p>",
}
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
ORIGIN = "https://signup.example.org"
WELCOME, RECEIPT = "welcome", "receipt"


@pytest.fixture
async def maker(
    make_settings: Callable[..., Settings],
    database_url: str,
    mail_server: MailServer,
    tmp_path: Path,
) -> AsyncIterator[Reach]:
    """Reach of somebody who sends news."""
    for name, text in NEWS.items():
        (tmp_path / name).write_text(text)
    settings = make_settings(
        database_url=database_url,
        smtp_url=mail_server.url,
        templates_dir=tmp_path,
        unsubscribe_templates="news",
    )
    async with running_reach(settings) as running:
        running.http.headers.update(await running.key())
        yield running


async def send(person: Holder, template: str = "news") -> httpx.Response:
    """Send somebody an email, as an operator does."""
    body = {"person_id": str(person.person_id), "template": template}
    return await person.reach.http.post("/v1/messages", json=body)


async def states(person: Holder, template: str = "news") -> list[tuple[str, str | None]]:
    """What became of their emails, the oldest first."""
    found = [one for one in await messages_in(person.reach.database) if one.template == template]
    return [(one.state, one.last_error) for one in found if one.person_id == person.person_id]


async def unsubscribed_at(person: Holder) -> datetime | None:
    """Since when somebody gets no more news."""
    return await person.reach.database.read(unsubscribe.since, person.person_id)


def page_of(person: Holder) -> str:
    """Where the link in their news leads to."""
    return f"/unsubscribe?token={token_of(person.reach.settings, person.person_id, 'unsubscribe')}"


async def test_one_click_counts_at_once(maker: Reach, mail_server: MailServer) -> None:
    """By the header of a real mail, which is signed: what is queued ends, and no more is taken."""
    ada, bob = await holder(maker), await holder(maker, email="bob@example.com")
    assert (await send(ada)).status_code == 201
    given = {**signing(), "dkim_private_key": SecretStr(signing()["dkim_private_key"])}
    async with running_worker(maker.settings.model_copy(update={"public_url": ORIGIN, **given})):
        await eventually(lambda: len(mail_server.messages) == 3)
    (mail,) = [one for one in mail_server.messages if one.headers["Subject"] == "News"]
    url = str(mail.headers["List-Unsubscribe"]).strip("<>")
    assert mail.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert url.startswith(f"{ORIGIN}/unsubscribe?token=rlt_")
    assert url in mail.text
    assert url in mail.html
    key = a_key()
    assert is_believed(mail.content, key)
    assert not is_believed(mail.content.replace(b"=One-Click", b"=One-Clack"), key)
    assert not is_believed(mail.content.replace(b"unsubscribe?token=", b"unsubscribe?tokem="), key)
    assert not is_believed(b"List-Unsubscribe: <https://evil.example>\r\n" + mail.content, key)
    others = [one for one in mail_server.messages if one is not mail]
    assert not any("unsubscribe" in one.content.decode().lower() for one in others)

    for person, template in ((ada, "news"), (ada, RECEIPT), (bob, "news"), (ada, "news")):
        assert (await send(person, template)).status_code == 201
    stop = f"{urlsplit(url).path}?{urlsplit(url).query}"
    bare = httpx.AsyncClient(base_url=maker.settings.origin, trust_env=False)
    async with bare as http:
        answer = await http.post(stop, data=ONE_CLICK)
        assert (answer.status_code, answer.cookies) == (200, httpx.Cookies())
        assert "You have unsubscribed" in answer.text
        first = await unsubscribed_at(ada)
        assert first is not None
        again = await http.post(stop, files={"List-Unsubscribe": (None, "One-Click")})
        assert (again.status_code, await unsubscribed_at(ada)) == (200, first)
    gone = ("suppressed", "Not sent: the person has unsubscribed.")
    assert await states(ada) == [("sent", None), gone, gone]
    assert await states(ada, RECEIPT) == await states(bob) == [("queued", None)]
    refused = await send(ada)
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "unsubscribed")
    assert [(await send(ada, name)).status_code for name in (RECEIPT, WELCOME)] == [201, 201]
    assert (await send(bob)).status_code == 201


async def test_pages_show_it_and_take_it_back(maker: Reach) -> None:
    """Nothing happens before a button is pressed; operators see it, and can do nothing about it."""
    ada = await holder(maker)
    before, url = await ada.stored(), page_of(ada)
    assert (await maker.http.head(url)).status_code == 200
    looked = await maker.http.get(url)
    assert (looked.status_code, await unsubscribed_at(ada)) == (200, None)
    assert "a…@example.com" in looked.text
    assert "ada@example.com" not in looked.text
    assert ">Unsubscribe</button>" in (await ada.get("/manage")).text
    pressed = await ada.post("/manage/unsubscribe")
    assert pressed.headers["location"] == "/manage?done=unsubscribed"
    since = await unsubscribed_at(ada)
    assert since is not None
    shown = [await ada.get("/manage"), await maker.http.get(url)]
    assert all("Get these emails again" in one.text for one in shown)
    own = by_link(ada.token)
    export = (await maker.http.get("/v1/me/export", headers=own)).json()
    assert datetime.fromisoformat(export["person"]["unsubscribed_at"]) == since
    columns = {"columns": "email,unsubscribed_at"}
    (_, row) = (await maker.http.get("/v1/people/export", params=columns)).text.splitlines()
    assert row.startswith("ada@example.com,20")
    async with at_console(maker) as console:
        place = f"/console/people/{ada.person_id}"
        assert "<dt>Unsubscribed</dt>" in (await console.get(place)).text
        form = {"template": "news", "once": "once-and-no-more-than-once"}
        told = await console.post(f"{place}/send", form)
        assert (told.status_code, "they have unsubscribed" in told.text) == (409, True)
    assert await ada.stored() == before  # it is no change of the record: no version, no time
    resumed = await maker.http.post(url, data={"resume": "yes"})
    assert (resumed.status_code, "You get these emails again" in resumed.text) == (200, True)
    assert (await send(ada)).status_code == 201
    await ada.post("/manage/unsubscribe")
    await ada.post("/manage/resume")
    assert (await send(ada)).status_code == 201


async def test_the_link_lasts_and_does_nothing_else(maker: Reach) -> None:
    """It outlives other links, and opens no record; wrong ones and other forms change nothing."""
    ada, bob = await holder(maker), await holder(maker, email="bob@example.com")
    url = page_of(ada)
    token = url.partition("=")[2]
    for path in ("/v1/me", "/v1/me/export"):
        assert (await maker.http.get(path, headers=by_link(token))).status_code == 403
    led = await maker.http.get(f"/manage?token={token}")
    assert led.headers["location"] == url
    cookie = {"Cookie": f"reach-manage={token}", "Accept": "text/html"}
    assert (await maker.http.get("/manage", headers=cookie)).status_code == 401
    for other in (ada.token, token[:-1], "", f"{token}x", token.swapcase()):
        for method, data in (("GET", None), ("POST", ONE_CLICK)):
            wrong = await maker.http.request(method, f"/unsubscribe?token={other}", data=data)
            assert (wrong.status_code, "This link does not work" in wrong.text) == (401, True)
    files = {"List-Unsubscribe": ("a.txt", "One-Click")}
    assert (await maker.http.post(url, files=files)).status_code == 400
    for data in ({}, {"List-Unsubscribe": "one"}, {"resume": "no"}):
        assert (await maker.http.post(url, data=data)).status_code in (400, 415)
    assert (await maker.http.post(url, json=ONE_CLICK)).status_code == 415
    assert await unsubscribed_at(ada) is None
    await ada.post("/manage/links")
    assert (await maker.http.post(url, data=ONE_CLICK)).status_code == 200
    assert await unsubscribed_at(ada) is not None
    await maker.database.write(record.erase, ada.person_id)
    for method, data in (("GET", None), ("POST", ONE_CLICK)):
        gone = await maker.http.request(method, url, data=data)
        assert (gone.status_code, "You get no emails from us" in gone.text) == (200, True)
    assert await unsubscribed_at(bob) is None


PART = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
KIND = 'multipart/form-data; charset=utf-8; boundary="b"'
END = b"--b--\r\n"


def test_a_form_in_parts_is_read_strictly() -> None:
    """Fields of text alone: what two readers could read differently is refused."""
    both = PART % (b"a", "ä\r\n\r\n--c".encode()) + PART % (b"b", b"") + END
    assert parse_multipart(KIND, both) == {"a": "ä\r\n\r\n--c", "b": ""}
    assert parse_multipart("multipart/form-data;Boundary=b", b"\r\n" + PART % (b"a", b"1") + END)
    one = PART % (b"a", b"1")
    bad = [
        b"",
        END[2:],
        one,
        b"x" + one + END,
        one + one + END,
        one * 51 + END,
        one + PART + b"--b",
    ]
    bad += [PART % (b"a", b"\xff") + END, PART % (b"\xff", b"") + END, b"--b\r\n\r\n1\r\n" + END]
    bad += [(PART % (b"a", b"")).replace(b'"a"', b'"a"; filename="f"') + END]
    bad += [(PART % (b"a", b"")).replace(b"form-data", b"attachment") + END]
    for body in bad:
        with pytest.raises(BadRequest):
            parse_multipart(KIND, body)
    with pytest.raises(BadRequest):
        parse_multipart("multipart/form-data; boundary=", one + END)


async def lease(reach: Reach, limit: int = 100) -> list[Any]:
    """Take what is due, as a worker does."""
    leased = await reach.database.write(queue.lease_due, limit=limit, lease_seconds=60)
    return [one for one in leased if one.template == "news"]


async def ended(reach: Reach, message: Any, outcome: Outcome) -> Any:
    """Say what became of an attempt, as a worker does."""
    at, held = message.created_at, Held(message.id, message.lease)
    attempt = AttemptOutcome(held, "worker", at, at, outcome, 0)
    return await reach.database.write(record_outcomes, [attempt], reach.settings)


async def test_what_no_worker_holds_is_not_sent(maker: Reach) -> None:
    """Beside leases and promises of the same moment; what is being sent is told as it ends."""
    ada = await holder(maker)
    await lease(maker)
    url = page_of(ada)
    assert [(await send(ada)).status_code for _ in range(2)] == [201, 201]
    held, late = await lease(maker)
    assert (await send(ada)).status_code == 201
    assert (await maker.http.post(url, data=ONE_CLICK)).status_code == 200
    assert await lease(maker) == []
    assert await ended(maker, late, Deferred("450 busy")) == ["suppressed"]
    assert await ended(maker, held, Sent("250 ok", 250, "2.0.0")) == ["sent"]
    assert [state for state, _ in await states(ada)] == ["sent", "suppressed", "suppressed"]

    for _ in range(5):
        assert (await maker.http.post(url, data={"resume": "yes"})).status_code == 200
        assert (await send(ada)).status_code == 201
        stop = maker.http.post(url, data=ONE_CLICK)
        _, done, beside = await asyncio.gather(lease(maker), stop, send(ada))
        assert (done.status_code, beside.status_code in (201, 409)) == (200, True)
        assert [state for state, _ in await states(ada) if state == "queued"] == []
        assert await lease(maker) == []

    (*_, last) = await messages_in(maker.database)
    await maker.database.write(lambda tx: tx.execute(messages.update().values(due_at=now())))
    assert (await maker.http.post(f"/v1/messages/{last.id}/retry")).status_code == 200
    async with running_worker(maker.settings):

        async def failed() -> bool:
            return (await states(ada))[-1][0] == "failed"

        await eventually(failed)
    assert "has unsubscribed" in str((await states(ada))[-1][1])
