"""Asking for a link: who is signed up gets one by email, and nobody learns whether they are."""

from functools import partial

import anyio
import pytest

from reach.messages.filters import Filter, page
from reach.people.link_requests import answer_some, is_any
from tests.support.clock import eventually
from tests.support.database.stored import everything
from tests.support.forms import shape
from tests.support.messages import links_in
from tests.support.people import by_link, signed_up
from tests.support.processes.reach import Reach, running_worker
from tests.support.servers.mail import MailServer


async def ask(reach: Reach, email: object) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
    """Ask for a link; all of the answer that a stranger could learn something from."""
    return shape(await reach.http.post("/v1/links", json={"email": email}))


async def looked_up(reach: Reach) -> None:
    """Answer what waits, as a worker does."""
    await reach.database.write(answer_some, reach.settings)
    assert not await reach.database.read(is_any)


def has_more(mail_server: MailServer, than: int) -> bool:
    """Whether a link has come since."""
    return any("asked for" in mail.text for mail in mail_server.messages[than:])


async def test_known_and_unknown_get_the_same_answer(reach: Reach) -> None:
    """Byte for byte; only who is known gets a message, in whatever case they are asked for."""
    ada = await signed_up(reach)
    answers = [await ask(reach, email) for email in ("ada@example.com", "bob@example.com")]
    answers += [await ask(reach, email) for email in ("ADA@Example.com", "eve@example.com")]
    said = b'{"message":"If that address is signed up, a link is on its way."}'
    assert answers[0][:2] == (202, said)
    assert answers == [answers[0]] * 4
    await looked_up(reach)
    found, _ = await reach.database.read(page, Filter(), limit=200)
    assert [one.template for one in found] == ["manage-link", "welcome"]
    for one in found:
        assert (one.person_id, one.recipient, one.data) == (
            (ada.id, "ada@example.com", {"name": "Ada"})
        )


async def test_nothing_is_kept_of_who_is_unknown(reach: Reach) -> None:
    """Once a worker has looked, no row of any table; of who is known, only the message is new."""
    await signed_up(reach)
    before = await reach.database.read(everything)
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(ask, reach, f"p{number}@example.com")
    await looked_up(reach)
    assert await reach.database.read(everything) == before
    await ask(reach, "ada@example.com")
    await looked_up(reach)
    after = await reach.database.read(everything)
    assert after["people"] == before["people"]
    assert len(after["messages"]) == 2


async def test_requests_at_once_do_not_get_in_each_others_way(reach: Reach) -> None:
    """Fifty for one address, and fifty for others: each is answered, and the owner gets mail."""
    await signed_up(reach)
    answers = []

    async def one(email: str) -> None:
        answers.append(await ask(reach, email))

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(one, "ada@example.com")
            group.start_soon(one, f"p{number}@example.com")
    assert answers == [answers[0]] * 100
    assert answers[0][0] == 202
    await looked_up(reach)
    found, _ = await reach.database.read(page, Filter(), limit=200)
    assert {one.recipient for one in found} == {"ada@example.com"}
    assert [one.template for one in found] == ["manage-link", "welcome"]


@pytest.mark.parametrize("email", [None, 5, "", "ada", "ada@", "a@b@c", "a" * 255 + "@example.com"])
async def test_what_is_no_address_is_refused(reach: Reach, email: object) -> None:
    """By the rules of signing up."""
    assert (await ask(reach, email))[0] == 422


async def test_the_link_that_arrives_works(reach: Reach, mail_server: MailServer) -> None:
    """Also after all the older ones were voided."""
    await signed_up(reach)
    async with running_worker(reach.settings):
        await eventually(lambda: mail_server.messages)  # the welcome
        for _ in range(2):
            had = len(mail_server.messages)
            assert (await ask(reach, "ada@example.com"))[0] == 202
            await eventually(partial(has_more, mail_server, had))
            ((scope, token),) = set(links_in(mail_server.messages[-1].text))
            assert scope == "manage"
            answer = await reach.http.delete("/v1/me/links", headers=by_link(token))
            assert answer.status_code == 204
            answer = await reach.http.get("/v1/me", headers=by_link(token))
            assert answer.status_code == 401
