"""One address, many sign-ups: one person, one welcome, and an answer that gives nothing away."""

import asyncio
from itertools import product

from reach.people.signup import REPLACED
from tests.support.clock import eventually
from tests.support.database.stored import all_sent, confirm_everybody, messages_in, people_in
from tests.support.forms import shape
from tests.support.processes.reach import Reach, running_reach, running_worker
from tests.support.servers.mail import MailServer

SPELLINGS = [
    f"{local}@{domain}"
    for local, domain in product(
        ("ada.lovelace", "Ada.Lovelace", "ADA.LOVELACE", "aDA.lOVELACE", " ada.lovelace"),
        ("example.com", "Example.Com", "EXAMPLE.COM", "eXAMPLE.cOM"),
    )
]
TIMES = 5
#: How many emails strangers can have sent to one address in an hour.
BUDGET = 5


async def test_a_hundred_sign_ups_at_once_are_one_person(
    reach: Reach, mail_server: MailServer
) -> None:
    """A hundred 202s, all alike; one person, and one email: the newest welcome of a few.

    Until they have confirmed, a person who signs up once more gets a fresh one.
    """
    calls = [reach.sign_up(spelling) for spelling in SPELLINGS * TIMES]
    answers = await asyncio.gather(*calls)
    assert len(answers) == 100
    assert {answer.status_code for answer in answers} == {202}
    assert len({shape(answer) for answer in answers}) == 1
    *older, newest = await messages_in(reach.database)
    assert len(older) < BUDGET
    assert {(one.state, one.last_error) for one in older} <= {("cancelled", REPLACED)}
    async with running_worker(reach.settings):
        await eventually(lambda: mail_server.messages)
        if len(older) + 1 < BUDGET:
            assert shape(await reach.sign_up(SPELLINGS[0])) == shape(answers[0])
            await eventually(lambda: len(mail_server.messages) == 2)
    (person,) = await people_in(reach.database)
    assert person.lower() == SPELLINGS[0]
    assert mail_server.messages[0].message_id == newest.message_id
    assert {one.template for one in await messages_in(reach.database)} == {"welcome"}


async def test_a_known_address_is_told_so_once_it_is_time(
    reach: Reach, mail_server: MailServer
) -> None:
    """Its owner hears of each sign-up after the quiet time; the caller sees no difference."""
    changes = {"already_hours": 1e-9, "brand_name": "Reach"}
    async with running_worker(reach.settings):
        unknown = await reach.sign_up("ada@example.com")
        await all_sent(reach.database)
        await confirm_everybody(reach.database)
        async with running_reach(reach.settings.model_copy(update=changes)) as hasty:
            known = [await hasty.sign_up("ADA@Example.com") for _ in range(3)]
        assert {shape(answer) for answer in known} == {shape(unknown)}
        assert len(await people_in(reach.database)) == 1
        templates = [message.template for message in await messages_in(reach.database)]
        assert templates == ["welcome", *["already-signed-up"] * 3]
        await all_sent(reach.database)
    assert mail_server.recipients == ["ada@example.com"] * 4
