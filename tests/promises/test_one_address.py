"""One address, many sign-ups: one person, one welcome, and an answer that gives nothing away."""

import asyncio
from itertools import product

import httpx

from tests.promises.stored import all_sent, messages_in, people_in
from tests.servers.mail import MailServer
from tests.servers.reach import Reach, running_reach, running_worker

SPELLINGS = [
    f"{local}@{domain}"
    for local, domain in product(
        ("ada.lovelace", "Ada.Lovelace", "ADA.LOVELACE", "aDA.lOVELACE", " ada.lovelace"),
        ("example.com", "Example.Com", "EXAMPLE.COM", "eXAMPLE.cOM"),
    )
]
TIMES = 5
#: An answer's own: when it was given, and which it was.
ITS_OWN = ("date", "x-request-id")


def seen(answer: httpx.Response) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
    """What a stranger can compare: status, bytes and headers."""
    headers = [(k, v) for k, v in answer.headers.raw if k.decode().lower() not in ITS_OWN]
    return answer.status_code, answer.content, tuple(headers)


async def test_a_hundred_sign_ups_at_once_are_one_person(
    reach: Reach, mail_server: MailServer
) -> None:
    """A hundred 202s, all alike; one person, one welcome and no other email; then once again."""
    calls = [reach.sign_up(spelling) for spelling in SPELLINGS * TIMES]
    answers = await asyncio.gather(*calls)
    assert len(answers) == 100
    assert {answer.status_code for answer in answers} == {202}
    assert len({seen(answer) for answer in answers}) == 1
    async with running_worker(reach.settings):
        (message,) = await all_sent(reach.database)
        assert seen(await reach.sign_up(SPELLINGS[0])) == seen(answers[0])
        assert await messages_in(reach.database) == [message]
    (person,) = await people_in(reach.database)
    assert person.lower() == SPELLINGS[0]
    assert message.template == "welcome"
    assert [mail.message_id for mail in mail_server.messages] == [message.message_id]


async def test_a_known_address_is_told_so_once_it_is_time(
    reach: Reach, mail_server: MailServer
) -> None:
    """Its owner hears of each sign-up after the quiet time; the caller sees no difference."""
    changes = {"already_hours": 1e-9, "brand_name": "Reach"}
    async with running_reach(reach.settings.model_copy(update=changes)) as hasty:
        unknown = await hasty.sign_up("ada@example.com")
        known = [await hasty.sign_up("ADA@Example.com") for _ in range(3)]
    assert {seen(answer) for answer in known} == {seen(unknown)}
    assert len(await people_in(reach.database)) == 1
    templates = [message.template for message in await messages_in(reach.database)]
    assert templates == ["welcome", *["already-signed-up"] * 3]
    async with running_worker(reach.settings):
        await all_sent(reach.database)
    assert mail_server.recipients == ["ada@example.com"] * 4
