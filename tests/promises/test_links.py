"""From the email to the deed: links that arrive work, and nobody acts by them unasked."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import httpx
from sqlalchemy import update

from reach.db.transaction import Transaction
from reach.messages.model import messages
from reach.messages.outbox import retry
from reach.people import record
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import all_sent, everything, messages_in
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.messages import links_in
from tests.support.people import by_link, signed_up, token_of
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import Reach, running_worker
from tests.support.processes.running import client, running_api, worker
from tests.support.processes.running import everything as written
from tests.support.servers.mail import MailServer


def links_of(mail_server: MailServer) -> Sequence[tuple[str, str]]:
    """The scope and token of every link in every part of every email."""
    parts = [part for mail in mail_server.messages for part in (mail.text, mail.html)]
    return list(dict.fromkeys(link for part in parts for link in links_in(part)))


async def sent(reach: Reach, mail_server: MailServer, count: int) -> None:
    """Let a worker send, until so many emails have come in all."""
    async with running_worker(reach.settings):
        await eventually(lambda: len(mail_server.messages) >= count)
        await all_sent(reach.database)


async def test_who_signs_up_can_confirm_and_remove(
    mailing: Settings, mail_server: MailServer
) -> None:
    """With real processes: sign up, the email, its confirm link, its manage link, gone."""
    async with running_api(mailing), worker(mailing), client(mailing) as http:
        body = {"email": "ada@example.com", "name": "Ada"}
        assert (await http.post("/v1/signups", json=body)).status_code == 202
        await eventually(lambda: mail_server.messages)
        (mail,) = mail_server.messages
        links = dict(links_in(mail.text))
        assert links == dict(links_in(mail.html))
        assert f"{mailing.origin}/confirm?token={links['confirm']}" in mail.text
        confirm, manage = by_link(links["confirm"]), by_link(links["manage"])
        assert (await http.get("/v1/me", headers=manage)).json()["confirmed_at"] is None
        answer = await http.post("/v1/me/confirmation", headers=confirm)
        assert answer.json()["confirmed_at"] is not None
        record = (await http.get("/v1/me", headers=manage)).json()
        assert record["confirmed_at"] == answer.json()["confirmed_at"]
        assert (await http.delete("/v1/me", headers=manage)).status_code == 204
        for headers in (confirm, manage):
            assert (await http.post("/v1/me/confirmation", headers=headers)).status_code == 401
        async with opened(mailing) as database:
            assert not any((await database.read(everything)).values())


async def test_an_old_message_carries_a_new_link(reach: Reach, mail_server: MailServer) -> None:
    """Promised long ago, refused, retried: the link works as long as any, from now on."""
    mail_server.script["rcpt"] = "550 5.1.1 no"
    await signed_up(reach)
    async with running_worker(reach.settings):

        async def has_failed() -> bool:
            return (await messages_in(reach.database))[0].state == "failed"

        await eventually(has_failed)
    (message,) = await messages_in(reach.database)

    def age(tx: Transaction) -> None:
        tx.execute(update(messages).values(created_at=message.created_at - timedelta(days=400)))

    await reach.database.write(age)
    mail_server.script.clear()
    await reach.database.write(retry, message.id)
    await sent(reach, mail_server, 1)
    links = dict(links_of(mail_server))
    assert (await reach.http.get("/v1/me", headers=by_link(links["manage"]))).status_code == 200
    answer = await reach.http.post("/v1/me/confirmation", headers=by_link(links["confirm"]))
    assert answer.status_code == 200


async def test_what_is_composed_after_voiding_works(reach: Reach, mail_server: MailServer) -> None:
    """A message that was queued when all links so far were voided is not one of those."""
    person = await signed_up(reach)
    for _ in range(3):
        await reach.database.write(record.void_links, person.id)
    await sent(reach, mail_server, 1)
    assert {scope for scope, _ in links_of(mail_server)} == {"confirm", "manage"}
    for _, token in links_of(mail_server):
        answer = await reach.http.post("/v1/me/confirmation", headers=by_link(token))
        assert answer.status_code == 200


async def test_an_unconfirmed_person_who_signs_up_again_is_asked_again(
    reach: Reach, mail_server: MailServer
) -> None:
    """A fresh welcome has the confirm link for as long as it is needed."""
    person = await signed_up(reach)
    async with running_worker(reach.settings):
        await all_sent(reach.database)
    for is_confirmed in (False, True):
        if is_confirmed:
            await reach.database.write(record.confirm, person.id)
        await signed_up(reach)
        await sent(reach, mail_server, 2 + is_confirmed)
        newest = mail_server.messages[-1]
        scopes = {scope for scope, _ in links_in(newest.text)}
        assert scopes == ({"manage"} if is_confirmed else {"confirm", "manage"})


#: What a scanner of mail, or a program that shows previews, does with every link that it sees.
BROWSER = {"User-Agent": "Mozilla/5.0", "Accept": "text/html"}


async def test_scanners_change_nothing(reach: Reach, mail_server: MailServer) -> None:
    """GET and HEAD of every link of every email, and of where they lead, leave all as it was."""
    person = await signed_up(reach)
    token = token_of(reach.settings, person.id)
    await reach.http.post("/v1/links", json={"email": person.email})
    await reach.http.patch("/v1/me", json={"name": "Ada B"}, headers=by_link(token))
    await sent(reach, mail_server, 3)
    links = links_of(mail_server)
    assert {scope for scope, _ in links} == {"confirm", "manage"}
    before = await reach.database.read(everything)
    statuses = set()
    async with httpx.AsyncClient(
        base_url=reach.settings.origin,
        verify=NO_CERTIFICATES,
        trust_env=False,
        headers=BROWSER,
        timeout=20,
    ) as scanner:
        for scope, found in links:
            for method in ("GET", "HEAD", "GET", "OPTIONS"):
                url = f"/{scope}?token={found}"
                for follow in (False, True):
                    answer = await scanner.request(method, url, follow_redirects=follow)
                    if method != "OPTIONS":
                        statuses.add(answer.status_code)
    assert await reach.database.read(everything) == before
    assert statuses <= {200, 303}


async def test_no_link_comes_into_a_log(mailing: Settings, mail_server: MailServer) -> None:
    """Of API and worker, at their most talkative, whatever is done with a link."""
    talkative = mailing.model_copy(update={"log_level": "debug", "port": free_port()})
    async with (
        running_api(talkative) as api,
        worker(talkative) as sender,
        client(talkative) as http,
    ):
        body = {"email": "ada@example.com", "name": "Ada"}
        assert (await http.post("/v1/signups", json=body)).status_code == 202
        assert (await http.post("/v1/links", json={"email": body["email"]})).status_code == 202
        await eventually(lambda: len(mail_server.messages) == 2)
        links = links_of(mail_server)
        for scope, token in links:
            for method in ("GET", "HEAD", "POST", "PUT"):
                await http.request(method, f"/{scope}?token={token}")
                await http.request(method, f"/v1/me?token={token}", headers=by_link(token))
                await http.request(method, f"/v1/me/{token}")
            bent = by_link(token[:-1] + "x")
            await http.get("/v1/me/export", headers=by_link(token))
            await http.get("/v1/me", headers=bent)
            await http.post("/v1/me/confirmation", headers=by_link(token))
            await http.patch("/v1/me", json={"name": "A"}, headers=by_link(token))
        mail_server.script["data"] = "550 5.7.1 no"
        await http.post("/v1/links", json={"email": body["email"]})
        await eventually(lambda: "not sent" in written(sender))
        assert_silent([api, sender], [token for _, token in links])


def assert_silent(processes: Iterable[ReachProcess], tokens: Iterable[str]) -> None:
    """Assert that no process wrote any part of a token that could be used."""
    for process in processes:
        said = written(process)
        assert len(said) > 100
        for token in tokens:
            for part in token.split(".")[1:]:
                assert part not in said
        assert "token=" not in said
        assert "ada@example.com" not in said
