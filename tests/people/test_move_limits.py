"""A change of address floods nobody, ends, leaves nothing, and meets others without harm."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import anyio
import pytest
from sqlalchemy import delete, select, update

from reach.db.transaction import Transaction
from reach.db.types import now
from reach.messages import recipient_budget
from reach.messages.model import messages
from reach.messages.recipient_budget import recipient_budgets
from reach.people import address_changes
from reach.people.address_changes import address_changes as changes
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import everything, messages_in, people_in
from tests.support.forms import shape
from tests.support.moving import ADA, NEW, Mover, mover, stored
from tests.support.people import by_link, person_at
from tests.support.processes.reach import Reach, running_reach, running_worker


@pytest.fixture
async def three_an_hour(
    make_settings: Callable[..., Settings], database_url: str
) -> AsyncIterator[Reach]:
    """Reach on both databases, where strangers have three emails an hour sent to an address."""
    settings = make_settings(
        database_url=database_url, limit_signups="off", limit_mail_per_address="3/hour"
    )
    async with running_reach(settings) as running:
        yield running


async def test_it_counts_as_a_sign_up_of_the_clients(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """Beyond the limit: 429, and nothing is changed; to stop it and to say yes are no sign-ups."""
    settings = make_settings(database_url=sqlite, limit_signups="3/hour")
    async with running_reach(settings) as reach:
        ada = await mover(reach)
        assert [(await ada.ask()).status_code for _ in range(3)] == [202, 202, 429]
        assert (await ada.me())["pending_email"] == NEW
        token = await ada.token()
        assert (await ada.stop()).status_code == 204
        assert (await ada.say_yes(token)).status_code == 401


async def test_many_records_together_flood_nobody(three_an_hour: Reach) -> None:
    """The budget is the address's, over all people, in any spelling; erased ones count as well."""
    movers = [await mover(three_an_hour, f"m{number}@example.com") for number in range(6)]
    answers = []
    for number, one in enumerate(movers):
        spelling = ("victim@example.org", "VICTIM@Example.org")[number % 2]
        answers.append(shape(await one.ask(spelling)))
        assert (await one.me())["pending_email"] == spelling
        if number == 0:
            await three_an_hour.http.delete("/v1/me", headers=one.by_link)
    assert answers == [answers[0]] * 6
    sent = [len(await one.owed()) for one in movers]
    assert sent == [0, 3, 3, 1, 1, 1]
    assert (await movers[-1].ask("other@example.org")).status_code == 202
    assert len(await movers[-1].owed()) == 3
    kept = await three_an_hour.database.read(everything)
    assert "victim" not in str(kept["recipient_budgets"]).lower()


async def test_one_record_does_not_write_to_many(three_an_hour: Reach) -> None:
    """Nor can its old address be flooded; who asks for more is told so, and has what they had."""
    ada = await mover(three_an_hour)
    answers = [await ada.ask(f"v{number}@example.org") for number in range(6)]
    assert [answer.status_code for answer in answers] == [202] * 3 + [429] * 3
    assert 0 < int(answers[-1].headers["retry-after"]) <= 3600
    templates = [one.template for one in await ada.owed()]
    assert templates == ["welcome", *["confirm-address", "address-change"] * 3]
    assert (await ada.me())["pending_email"] == "v2@example.org"
    queued = [one.recipient for one in await ada.owed("queued")]
    assert queued == ["v2@example.org", ADA]


async def test_records_at_once_do_not_exceed_it(three_an_hour: Reach) -> None:
    """Whose request comes first is decided in the database."""
    movers = [await mover(three_an_hour, f"m{number}@example.com") for number in range(12)]
    async with anyio.create_task_group() as group:
        for one in movers:
            group.start_soon(one.ask)
    sent = [one for one in await messages_in(three_an_hour.database) if one.recipient == NEW]
    assert len(sent) == 3


async def test_over_the_budget_what_waits_for_another_address_is_cancelled(
    three_an_hour: Reach,
) -> None:
    """Its links do nothing any more; what waits for the same address stays good, and stays."""
    others = [await mover(three_an_hour, f"m{number}@example.com") for number in range(3)]
    for one in (*others, others[0]):
        assert (await one.ask("victim@example.org")).status_code == 202
    assert len(await others[0].owed("queued")) == 2
    ada = await mover(three_an_hour)
    await ada.ask()
    await ada.ask("victim@example.org")
    assert await ada.owed("queued") == []


async def test_a_budget_comes_back(settings: Settings, reach: Reach) -> None:
    """After its window; a clock that was ahead for a moment does not use it up for longer."""

    def take(tx: Transaction) -> bool:
        return recipient_budget.take(tx, NEW, settings)

    def sent_at(*seconds: float) -> Callable[[Transaction], object]:
        def write(tx: Transaction) -> object:
            at = tx.execute(select(now())).scalar_one().timestamp()
            return tx.execute(update(recipient_budgets).values(sent=[at + s for s in seconds]))

        return write

    assert await reach.database.write(take)

    def grow_old(tx: Transaction) -> None:
        at = tx.execute(select(now())).scalar_one().timestamp()
        tx.execute(update(recipient_budgets).values(sent=[at - 3601] * 5, last_at=now(-3601)))

    await reach.database.write(grow_old)
    assert await reach.database.write(take)
    for times, is_within in (
        ([-5] * 5, False),
        ([-3601] * 5, True),
        ([-3601] * 20, False),
        ([-86_401] * 20, True),
        ([5000] * 20, True),
    ):
        await reach.database.write(sent_at(*times))
        assert await reach.database.write(take) is is_within, times


async def test_it_ends(reach: Reach) -> None:
    """After `REACH_LINK_DAYS` nobody sees it, its link does nothing, and a worker deletes it."""
    ada = await mover(reach)
    await ada.ask()
    token = await ada.token()

    def end(tx: Transaction) -> None:
        tx.execute(update(changes).values(ends_at=now(-1)))
        tx.execute(update(recipient_budgets).values(last_at=now(-90_000)))

    await reach.database.write(end)
    assert (await ada.me())["pending_email"] is None
    assert (await ada.say_yes(token)).status_code == 401
    assert (await ada.stop(token)).status_code == 401
    await ada.ask()
    assert (await ada.say_yes(token)).status_code == 401  # it is another change
    assert (await ada.me())["pending_email"] == NEW
    (change,) = await reach.database.read(stored)
    assert change.ends_at - change.created_at == timedelta(reach.settings.link_days)
    await reach.database.write(end)
    async with running_worker(reach.settings):
        await eventually_gone(reach)


async def eventually_gone(reach: Reach) -> None:
    """Wait until nothing is kept of any change."""

    def is_gone(tx: Transaction) -> bool:
        return not stored(tx) and not tx.execute(select(recipient_budgets)).all()

    async def look() -> bool:
        return await reach.database.read(is_gone)

    await eventually(look)


async def test_what_has_not_ended_is_not_swept(reach: Reach) -> None:
    """Neither the change nor what the address was sent."""
    ada = await mover(reach)
    await ada.ask()
    before = await reach.database.read(everything)
    assert await reach.database.write(address_changes.sweep) == 0
    assert await reach.database.write(recipient_budget.sweep, reach.settings) == 0
    assert await reach.database.read(everything) == before
    # It counts for a day, too.
    two_hours_ago = update(recipient_budgets).values(last_at=now(-7200))
    await reach.database.write(lambda tx: tx.execute(two_hours_ago))
    assert await reach.database.write(recipient_budget.sweep, reach.settings) == 0


async def test_it_is_exported_and_erased(reach: Reach) -> None:
    """It is part of what is stored of a person, and goes with them."""
    ada = await mover(reach)
    await ada.ask()
    export = (await reach.http.get("/v1/me/export", headers=ada.by_link)).json()
    (change,) = export["address_changes"]
    assert set(change) == {"email", "email_key", "created_at", "ends_at"}
    assert change["email"] == NEW
    assert (await reach.http.delete("/v1/me", headers=ada.by_link)).status_code == 204
    assert NEW not in str(await reach.database.read(everything))


async def test_a_key_makes_it_once(reach: Reach) -> None:
    """The same request again: the same answer, no second email; another body: refused."""
    ada = await mover(reach)
    key = {"Idempotency-Key": "k"}
    answers = [shape(await ada.ask(**key)) for _ in range(2)]
    assert answers == [answers[0]] * 2
    assert len(await ada.owed()) == 3
    assert (await ada.ask("other@example.org", **key)).status_code == 422
    assert (await reach.http.delete("/v1/me", headers=ada.by_link)).status_code == 204
    assert (await reach.database.read(everything))["idempotency_keys"] == []


async def test_a_yes_whose_answer_was_lost_can_be_said_again(reach: Reach) -> None:
    """With a key: the same answer, though the link is void by then; without one it is a 401."""
    ada = await mover(reach)
    await ada.ask()
    url, headers = "/v1/me/email/confirmation", by_link(await ada.token())
    keyed = {**headers, "Idempotency-Key": "yes"}
    answers = [shape(await reach.http.post(url, headers=keyed)) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0][0] == 200
    assert (await reach.http.post(url, headers=headers)).status_code == 401
    assert [one.template for one in await ada.owed()].count("address-changed") == 1


@pytest.mark.parametrize("confirmed", [False, True])
async def test_who_must_confirm_confirms_first(
    make_settings: Callable[..., Settings], database_url: str, confirmed: bool
) -> None:
    """With `REACH_CONFIRM=required` nothing else goes out for somebody who has not."""
    settings = make_settings(database_url=database_url, confirm="required")
    async with running_reach(settings) as reach:
        ada = await mover(reach)
        if confirmed:
            await reach.http.post("/v1/me/confirmation", headers=ada.by_link)
        answer = await ada.ask()
        assert answer.status_code == (202 if confirmed else 409)
        assert len(await ada.owed()) == (3 if confirmed else 1)
        assert (await ada.me())["pending_email"] == (NEW if confirmed else None)


async def test_two_move_to_one_address_at_once(reach: Reach) -> None:
    """And strangers sign up with it: one gets it; nobody gets an error, or waits in a circle."""
    movers = [await mover(reach, f"m{number}@example.com") for number in range(4)]
    for round_ in range(3):
        new = f"new{round_}@example.org"
        tokens = []
        for one in movers:
            await one.ask(new)
            tokens.append(await one.token())
        answers: list[int] = []

        async def yes(one: Mover, token: str, into: list[int]) -> None:
            into.append((await one.say_yes(token)).status_code)

        async with anyio.create_task_group() as group:
            for one, token in zip(movers, tokens, strict=True):
                group.start_soon(yes, one, token, answers)
                group.start_soon(reach.sign_up, new)
                group.start_soon(reach.sign_up, one.person.email)
        assert set(answers) <= {200, 409}
        assert answers.count(200) <= 1
        assert (await people_in(reach.database)).count(new) == 1
        await reach.database.write(lambda tx: tx.execute(delete(messages)))
        await reach.database.write(lambda tx: tx.execute(delete(recipient_budgets)))
        if 200 in answers:
            moved = await person_at(reach, new)
            movers = [one for one in movers if one.person.id != moved.id]


async def test_nothing_of_it_is_logged(reach: Reach, told: Callable[[], str]) -> None:
    """Neither address, nor a token."""
    ada = await mover(reach)
    await ada.ask()
    token = await ada.token()
    await ada.stop("x")
    await ada.say_yes(token)
    written = told()
    assert "/v1/me/email" in written
    for part in (ADA, NEW, token):
        assert not re.search(re.escape(part), written)
