"""The maker hears of each sign-up: who it was, and nothing that is not theirs to know."""

from collections.abc import Callable

import anyio
import pytest
from sqlalchemy import func, select, update

from reach.db.database import Database
from reach.db.types import now
from reach.messages.model import NOTICE, messages
from reach.messages.queue import lease_due
from reach.people import notices, record, signup
from reach.people.address import parse_address
from reach.people.model import people
from reach.people.notices import Notices, begin
from reach.people.schemas import SignUp
from reach.runtime.process import opened
from reach.settings import BadSettings, Settings, load
from tests.support.clock import eventually
from tests.support.database.stored import addresses, sign_up
from tests.support.notices import MAKER, OTHER, finish, hear, later, notices_at, told_in
from tests.support.people import add, at_work, operator, signed_up
from tests.support.processes.reach import Reach, running_reach, running_worker
from tests.support.servers.mail import MailServer


async def test_the_maker_hears_at_once(
    site: Reach, mail_server: MailServer, told: Callable[[], str]
) -> None:
    """Who it was, their note, and where to see more; in no line of the log is any of it."""
    async with running_worker(site.settings):
        await signed_up(site, description="I like tea")
        await eventually(lambda: len(mail_server.messages) == 2)
    (mail,) = notices_at(mail_server)
    assert mail.headers["Subject"] == "Ada signed up to Reach"
    for part in (mail.text, mail.html):
        for words in ("Ada", "ada@example.com", "I like tea", f"{site.settings.origin}/console"):
            assert words in part
    assert "That makes one person in all" in mail.text
    assert "token" not in mail.text
    for private in (MAKER, "ada@example.com", "I like tea"):
        assert private not in told()


async def test_what_came_before_any_worker_ran(site: Reach, mail_server: MailServer) -> None:
    """The API has begun to count; a worker tells of it, whenever it comes."""
    await signed_up(site)
    async with running_worker(site.settings):
        await eventually(lambda: len(notices_at(mail_server)) == 1)


async def test_an_old_database_tells_of_nobody_who_was_there(
    heard: Settings,
) -> None:
    """It begins when it is asked for; and so does each address that is added."""
    async with opened(heard) as database:
        await sign_up(database, heard, *addresses(20))
        await database.write(begin, heard)
        assert await hear(database, heard) == []
        await sign_up(database, heard, "ada@example.com")
        both = heard.model_copy(update={"notify": f"{MAKER}, {OTHER}"})
        assert await hear(database, both) == [(1, "ada@example.com")]
        await sign_up(database, heard, "bob@example.com")
        assert await hear(database, both) == [(1, "bob@example.com")] * 2
        assert {one.recipient for one in await told_in(database)} == {MAKER, OTHER}


async def test_an_address_that_is_taken_out_is_forgotten(heard: Settings, stored: Database) -> None:
    """Put in again, it begins again."""
    other = heard.model_copy(update={"notify": OTHER})
    await stored.write(notices.begin_again, other)
    await sign_up(stored, heard, "ada@example.com")
    kept = await stored.read(lambda tx: tx.execute(select(notices.notices.c.address)).all())
    assert [tuple(row) for row in kept] == [(OTHER,)]
    await stored.write(notices.begin_again, heard)
    assert await hear(stored, heard) == []


async def test_who_is_told_no_more_is_forgotten(heard: Settings, stored: Database) -> None:
    """By the next worker, though it has nobody to tell; and then it does nothing."""
    await stored.write(notices.begin_again, heard)
    nobody = heard.model_copy(update={"notify": ""})
    count = select(func.count()).select_from(notices.notices)
    async with anyio.create_task_group() as group:
        group.start_soon(Notices(nobody, stored).run)
        await eventually(lambda: stored.read(lambda tx: tx.execute(count).scalar_one() == 0))
        group.cancel_scope.cancel()


async def test_only_who_signed_up_themselves(heard: Settings, stored: Database) -> None:
    """Whom an operator adds is no news to them; nor is an address that signs up again."""
    await sign_up(stored, heard, "ada@example.com")
    form = SignUp.model_construct(
        email=parse_address("grace@example.com"), name="Grace", description=None
    )
    await stored.write(signup.add_person, form, heard)
    assert await hear(stored, heard) == [(1, "ada@example.com")]
    await sign_up(stored, heard, "ada@example.com", "grace@example.com")
    assert await hear(stored, heard) == []


async def test_operators_add_people_in_silence(site: Reach) -> None:
    """By the API, too."""
    http = await operator(site)
    assert (await add(http)).status_code == 201
    assert await hear(site.database, site.settings) == []


async def test_without_details_nothing_personal_leaves(heard: Settings, stored: Database) -> None:
    """Not even a reference to whom it is about."""
    bare = heard.model_copy(update={"notify_details": False})
    await sign_up(stored, bare, "ada@example.com")
    assert await hear(stored, bare) == [(1, None)]
    (one,) = await told_in(stored)
    assert one.person_id is None
    assert "ada" not in str(one.data).lower()
    await sign_up(stored, heard, "bob@example.com")
    assert await hear(stored, heard) == [(1, "bob@example.com")]


async def test_erasure_takes_the_notice_along(heard: Settings, stored: Database) -> None:
    """Nothing of somebody who is erased stays in what the maker was told, or will be."""
    await sign_up(stored, heard, "ada@example.com")
    assert await hear(stored, heard) == [(1, "ada@example.com")]
    await sign_up(stored, heard, *addresses(2))
    assert await hear(stored, heard) == [(2, None)]
    (ada, *_) = await stored.read(
        lambda tx: tx.execute(select(people.c.id).order_by(people.c.id)).scalars().all()
    )
    await stored.write(record.erase, ada)
    (left,) = await told_in(stored)
    assert left.data["count"] == 2
    await sign_up(stored, heard, "eve@example.com")
    (*_, eve) = await stored.read(
        lambda tx: tx.execute(select(people.c.id).order_by(people.c.id)).scalars().all()
    )
    await stored.write(record.erase, eve)
    assert await hear(stored, heard) == [(1, None)]  # somebody did sign up


async def test_confirmation_is_not_the_maker_s_affair(
    mailing: Settings, mail_server: MailServer
) -> None:
    """Who has not confirmed gets no other mail; of them the maker hears, of several too."""
    settings = mailing.model_copy(update={"notify": MAKER, "confirm": "required"})
    async with running_reach(settings) as reach:
        await signed_up(reach)
        async with running_worker(reach.settings):
            await eventually(lambda: len(notices_at(mail_server)) == 1)
        await later(reach.database)
        await sign_up(reach.database, settings, *addresses(2))
        async with running_worker(reach.settings):
            await eventually(lambda: len(notices_at(mail_server)) == 2)


async def test_what_others_see_of_it(site: Reach) -> None:
    """Operators see it, with its person or none. Whom it names sees what it says, not to whom."""
    http, person = await at_work(site)
    assert await hear(site.database, site.settings) == [(1, person.email)]
    export = (await http.get("/v1/me/export")).json()
    (notice,) = [one for one in export["messages"] if one["template"] == NOTICE]
    assert set(notice) == {"id", "template", "data", "created_at"}
    assert MAKER not in str(export)
    await sign_up(site.database, site.settings, *addresses(2))
    assert await hear(site.database, site.settings) == [(2, None)]
    http = await operator(site)
    found = (await http.get("/v1/messages", params={"template": NOTICE})).json()["items"]
    assert [one["person_id"] for one in found] == [None, str(person.id)]
    whole = (await http.get(f"/v1/messages/{found[0]['id']}")).json()
    assert (whole["person_id"], whole["recipient"]) == (None, MAKER)
    by_address = (await http.get("/v1/messages", params={"recipient": person.email})).json()
    assert [one["template"] for one in by_address["items"]] == ["welcome"]
    of_theirs = (await http.get(f"/v1/people/{person.id}/messages")).json()["items"]
    assert [one["template"] for one in of_theirs] == [NOTICE, "welcome"]
    headers = {"Idempotency-Key": "again"}
    await finish(site.database, "failed")
    queued = update(messages).values(state="failed")
    await site.database.write(lambda tx: tx.execute(queued))
    answer = await http.post(f"/v1/messages/{found[0]['id']}/retry", headers=headers)
    assert answer.json()["person_id"] is None
    wanted = {"filter": {"state": "failed", "template": NOTICE}}
    assert (await http.post("/v1/messages/retry", json=wanted)).json()["queued"] == 1
    mine = {"person_id": str(person.id), "template": NOTICE}
    assert (await http.post("/v1/messages", json=mine)).status_code == 422


async def test_nobody_asked(settings: Settings) -> None:
    """Without an address nothing is kept, and no worker looks."""
    async with running_reach(settings) as reach:
        await signed_up(reach)
        count = select(func.count()).select_from(notices.notices)
        assert await reach.database.read(lambda tx: tx.execute(count).scalar()) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        "maker",
        "Maker <maker@example.org>",
        "a@b@c",
        "a@x.org;b@x.org",
        "a@x..org",
        '"-@[:?=',
        '"a@b"',
        ", ".join(addresses(11)),
    ],
)
def test_addresses_are_addresses(wrong: str) -> None:
    """What cannot be one is told at start."""
    with pytest.raises(BadSettings, match="REACH_NOTIFY: "):
        load({"notify": wrong})


def test_several_addresses() -> None:
    """With commas or blanks between them, each once."""
    found = load({"notify": f"{MAKER}, {OTHER},{MAKER}"}).notify_addresses
    assert found == [MAKER, OTHER]


async def test_it_is_in_the_makers_language(heard: Settings, stored: Database) -> None:
    """Not in that of whom it names."""
    await sign_up(stored, heard, "ada@example.com")
    await stored.write(lambda tx: tx.execute(update(people).values(language="de")))
    assert await hear(stored, heard) == [(1, "ada@example.com")]
    again = update(messages).values(state="queued", due_at=now(-1), finished_at=None)
    await stored.write(lambda tx: tx.execute(again))
    leased = await stored.write(lease_due, limit=10, lease_seconds=60)
    assert {one.template: one.language for one in leased} == {"welcome": "de", NOTICE: None}
