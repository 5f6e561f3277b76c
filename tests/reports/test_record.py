"""What follows from what is reported of a message: its state, and whether its address gets more."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from reach.auth.return_path import ReturnPaths
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.messages import outbox, suppressions
from reach.messages.model import Message, State
from reach.messages.outbox import Promise
from reach.messages.outcome import Sent
from reach.people import move, record
from reach.people.address_changes import CONFIRM, TOLD, AddressChange
from reach.reports.intake import Intake
from reach.reports.model import Category, Clues, Kind, Report, Verdict
from reach.reports.record import Claim, record_all
from reach.settings import Settings
from tests.support.database.outboxes import DAY, Outbox
from tests.support.database.stored import sign_up

if TYPE_CHECKING:
    from uuid import UUID

SENT = Sent("250 2.0.0 taken", 250, "2.0.0")
WORDS = "550 5.1.1 Nobody of that name"
BOUNCES = "bounces@mail.example.org"
#: Whether somebody waits for a lock on Postgres.
WAITS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
DELIVERIES = "SELECT sum(count) FROM counters WHERE name = 'deliveries'"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with return paths."""
    return settings.model_copy(update={"return_path": BOUNCES})


class Post:
    """An outbox whose mail comes back."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.database, self.settings = outbox.database, outbox.settings
        self.intake = Intake(self.settings, self.database)
        self.return_paths = ReturnPaths(self.settings)

    async def send(self, template: str = "news", *, days_ago: float = 0) -> Message:
        """Send Ada a message more, some days ago."""
        (ada,) = {message.person_id for message in await self.outbox.all()}
        promised = Promise(ada, "ada@example.com", template, {"name": "Ada", "by_operator": True})
        (id_,) = await self.database.write(outbox.promise, [promised], self.settings)
        (leased,) = await self.outbox.lease()
        assert (leased.id, leased.state) == (id_, "queued")
        await self.outbox.record(leased, SENT)
        await self.outbox.change(leased, finished_at=now(-days_ago * DAY))
        return leased

    async def report(
        self, message: Message | None, verdict: Verdict, clues: Clues | None = None, **given: Any
    ) -> str:
        """Report something of a message, to its return path unless other clues are given."""
        if clues is None:
            assert message is not None
            clues = Clues(self.return_paths.of(message.id))
        return await self.intake.take_in(Report("dsn", clues, (verdict,)), **given)

    async def bounce(self, message: Message, category: Category, kind: Kind = "bounced") -> str:
        """Have a message come back."""
        verdict = Verdict(kind, category, "ada@example.com", None, 550, "5.1.1", WORDS)
        return await self.report(message, verdict)

    async def suppressed(self) -> Sequence[tuple[str, str]]:
        """Which addresses nothing is sent to, and why."""
        page = self.database.read(suppressions.page, suppressions.Filter(), limit=50)
        return [(one.email_key, one.cause) for one in (await page)[0]]

    async def state(self, message: Message) -> State:
        """What has become of a message."""
        return (await self.database.read(outbox.view, message.id)).state


@pytest.fixture
async def post(outbox: Outbox) -> Post:
    """Ada, whose welcome was sent."""
    await sign_up(outbox.database, outbox.settings, "Ada@example.com")
    await outbox.record(await outbox.lease_one(), SENT)
    return Post(outbox)


async def test_a_bounce_ends_in_its_state_and_in_a_suppression(post: Post) -> None:
    """What is promised after that ends visibly; told again, nothing changes; lifted, it goes."""
    welcome = await post.outbox.only()
    assert await post.bounce(welcome, "permanent") == "recorded"
    assert await post.bounce(welcome, "permanent") == "known"
    found = await post.database.read(outbox.history, welcome.id)
    assert (found.message.state, found.message.last_error) == ("bounced", WORDS)
    assert [(one.kind, one.category, one.text) for one in found.reports] == [
        ("bounced", "permanent", WORDS)
    ]
    assert await post.suppressed() == [("ada@example.com", "bounced")]

    assert welcome.person_id is not None
    await post.database.write(record.promise, welcome.person_id, "news", {}, settings=post.settings)
    (leased,) = await post.outbox.lease()
    assert leased.state == "suppressed"
    ended = await post.database.read(outbox.view, leased.id)
    assert (ended.state, ended.attempts) == ("suppressed", 0)
    assert ended.last_error == suppressions.WHY["bounced"]
    assert await post.outbox.lease() == []
    (noted,), _ = await post.database.read(
        suppressions.page, suppressions.Filter("bounced"), limit=5
    )
    assert (noted.message_id, noted.text) == (welcome.id, WORDS)
    await post.database.write(suppressions.lift, noted.id)
    await post.database.write(outbox.retry, ended.id)
    assert (await post.outbox.lease_one()).state == "queued"


async def test_what_is_about_us_suppresses_nobody(post: Post) -> None:
    """It bounced, and that shows; so does a complaint after it, which does suppress."""
    message = await post.send()
    assert await post.bounce(message, "sender") == "recorded"
    assert (await post.state(message), await post.suppressed()) == ("bounced", [])
    assert await post.bounce(message, "permanent") == "known"
    assert await post.report(message, Verdict("delivered")) == "recorded"
    assert await post.state(message) == "bounced"
    assert await post.report(message, Verdict("complained")) == "recorded"
    assert await post.state(message) == "complained"
    assert await post.suppressed() == [("ada@example.com", "complained")]
    other = (await post.outbox.all())[0]
    assert await post.bounce(other, "permanent") == "recorded"
    assert await post.suppressed() == [("ada@example.com", "complained")]


async def test_a_full_mailbox_is_suppressed_after_five_over_seven_days(post: Post) -> None:
    """Not sooner, and not if one was delivered between."""
    ages = [30.0, 20.0, 12.0, 8.0, 6.0, 4.0, 2.0, 0.0]
    sent = [await post.send(days_ago=age) for age in ages]
    for message in sent[:2]:
        await post.bounce(message, "transient")
    # Nothing came back of the third, and it is old enough to have arrived.
    for message in sent[3:7]:
        await post.bounce(message, "transient")
        assert await post.suppressed() == []
    await post.bounce(sent[7], "undetermined")
    assert await post.suppressed() == [("ada@example.com", "bounced")]


async def test_what_comes_in_a_hurry_is_no_dead_mailbox(post: Post) -> None:
    """Ten in a week, less an hour; and a reported delivery begins the count again."""
    sent = [await post.send(days_ago=(6.9 - n * 0.7)) for n in range(10)]
    for message in sent:
        await post.bounce(message, "transient")
    assert await post.suppressed() == []
    last = await post.send(days_ago=-3)
    await post.report(sent[5], Verdict("delivered"))
    await post.bounce(last, "transient")
    assert await post.suppressed() == []


async def test_another_recipients_bounce_is_not_ours(post: Post) -> None:
    """Of several verdicts, that on our recipient counts; of several mailboxes, the best."""
    message = await post.send()
    clues = Clues(post.return_paths.of(message.id))
    bob = Verdict("bounced", "permanent", "bob@example.com")
    ada = Verdict("delayed", "transient", "ADA@example.com")
    mixed = Report("dsn", clues, (bob, ada))
    assert await post.intake.take_in(mixed) == "recorded"
    assert (await post.state(message), await post.suppressed()) == ("sent", [])
    home = Verdict("delivered", None, "ada@home.example", "ada@example.com")
    gone = Verdict("bounced", "permanent", "ada@work.example", "ada@example.com")
    assert await post.intake.take_in(Report("dsn", clues, (gone, home))) == "recorded"
    assert (await post.state(message), await post.suppressed()) == ("sent", [])
    passed_on = Verdict("bounced", "permanent", "ada@work.example")
    assert await post.report(message, passed_on) == "recorded"
    assert await post.suppressed() == [("ada@example.com", "bounced")]


async def test_what_is_forged_changes_nothing(post: Post) -> None:
    """A wrong signature; another message's id, without its recipient; nothing that names one."""
    message = await post.send()
    verdict = Verdict("bounced", "permanent", "ada@example.com")
    own = post.return_paths.of(message.id)
    assert own is not None
    local, _, domain = own.partition("@")
    last = "a" if local[-2] != "a" else "b"
    wrong = f"{local[:-2]}{last}{local[-1]}@{domain}"
    assert await post.report(None, verdict, Clues(wrong)) == "forged"
    assert await post.report(None, verdict, Clues(f"bounces+x@{domain}")) == "forged"
    stranger = Verdict("bounced", "permanent", "bob@example.com")
    named = Clues(BOUNCES, (message.message_id,))
    assert await post.report(None, stranger, named) == "unmatched"
    assert await post.report(None, Verdict("bounced", "permanent"), named) == "unmatched"
    assert (
        await post.report(None, verdict, Clues(BOUNCES, ("<nobody@example.org>",))) == "unmatched"
    )
    assert (await post.state(message), await post.suppressed()) == ("sent", [])

    # Who had the message knows its id and its recipient, and may as well press "spam".
    assert await post.report(None, verdict, named) == "recorded"


@pytest.mark.parametrize("way", ["case", "header", "provider"])
async def test_a_message_is_found_without_its_return_path_as_it_was(post: Post, way: str) -> None:
    """Mail servers change its case; others have lost it, or it is a provider's webhook."""
    message = await post.send()
    verdict = Verdict("bounced", "permanent", "ada@example.com")
    token = post.return_paths.token(message.id)
    if way == "case":
        clues = Clues(f"BOUNCES+{token.upper()}@Mail.Example.Org")
        assert await post.report(None, verdict, clues) == "recorded"
    elif way == "header":
        assert await post.report(None, Verdict("bounced"), Clues(None, (token,))) == "recorded"
    else:
        clues = Clues(provider_id="2.0.0 taken")
        assert await post.report(None, verdict, clues) == "unmatched"
        assert await post.report(None, verdict, clues, is_verified=True) == "recorded"
    found: list[UUID] = [one.id for one in await post.outbox.all() if one.state == "bounced"]
    assert found == [message.id]


async def test_a_report_may_come_before_the_outcome_is_recorded(post: Post) -> None:
    """A mail server close by is quicker than our commit, which may wait for the report's.

    Its words are kept, and it counts as a delivery to the mail server.
    """
    (ada,) = {message.person_id for message in await post.outbox.all()}
    promised = [Promise(ada, "ada@example.com", name, {"name": "Ada"}) for name in ("one", "two")]
    await post.database.write(outbox.promise, promised, post.settings)
    first, second = sorted(await post.outbox.lease(), key=lambda message: message.id)
    assert await post.bounce(first, "sender") == "recorded"
    assert await post.state(first) == "queued"
    assert await post.outbox.record(first, SENT) == "bounced"

    about = Report("dsn", Clues(), (Verdict("complained"),))
    claim = Claim(about, second.id, (), is_verified=False)
    recorded: list[asyncio.Task[State | None]] = []
    loop = asyncio.get_running_loop()

    def report_slowly(tx: Transaction) -> None:
        record_all(tx, [claim])
        recorded.append(loop.create_task(post.outbox.record(second, SENT)))
        while not tx.execute(text(WAITS)).scalar_one():
            tx.execute(text("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()"))

    if post.settings.database.is_sqlite:  # it has one writer at a time
        await post.database.write(record_all, [claim])
        assert await post.outbox.record(second, SENT) == "complained"
    else:
        await post.database.write(report_slowly)
        assert await recorded[0] == "complained"
    words = [one.last_error for one in await post.outbox.all() if one.id == first.id]
    assert words == [WORDS]

    def deliveries(tx: Transaction) -> int:
        return int(tx.execute(text(DELIVERIES)).scalar_one())

    assert await post.database.read(deliveries) == 3


async def test_a_sign_up_that_is_confirmed_lifts_a_bounce(post: Post) -> None:
    """It is tried again, a day later; a complaint stays, and so does what an operator notes."""
    welcome = await post.outbox.only()
    assert welcome.person_id is not None
    await post.database.write(record.confirm, welcome.person_id)
    await post.bounce(welcome, "permanent")
    await post.database.write(record.confirm, welcome.person_id)
    assert await post.suppressed() == [("ada@example.com", "bounced")]

    await sign_up(post.database, post.settings, "ada@example.com")
    (second,) = await post.outbox.lease()
    assert (second.template, second.state) == ("welcome", "suppressed")

    def age(tx: Any) -> None:
        tx.execute(suppressions.suppressions.update().values(updated_at=now(-2 * DAY)))

    await post.database.write(age)
    await post.outbox.change(welcome, created_at=now(-3 * DAY))
    await sign_up(post.database, post.settings, "ada@example.com")
    (third,) = await post.outbox.lease()
    assert (third.template, third.state) == ("welcome", "queued")
    await post.database.write(record.confirm, welcome.person_id)
    assert await post.suppressed() != []
    await post.outbox.record(third, SENT)
    await post.database.write(record.confirm, welcome.person_id)
    assert await post.suppressed() == []


@pytest.mark.parametrize("cause", ["complained", "operator"])
async def test_a_sign_up_lifts_nothing_but_a_bounce(post: Post, cause: suppressions.Cause) -> None:
    """However old it is: not even a welcome is sent, and a link that is used lifts nothing."""
    noted = suppressions.Suppressed("ada@example.com", cause)
    await post.database.write(suppressions.suppress_all, [noted])

    def age_it(tx: Any) -> None:
        tx.execute(suppressions.suppressions.update().values(updated_at=now(-30 * DAY)))

    await post.database.write(age_it)
    await sign_up(post.database, post.settings, "ada@example.com")
    (welcome,) = await post.outbox.lease()
    assert (welcome.template, welcome.state) == ("welcome", "suppressed")
    assert welcome.person_id is not None
    await post.database.write(record.confirm, welcome.person_id)
    assert await post.suppressed() == [("ada@example.com", cause)]


async def test_a_link_that_was_used_shows_that_mail_arrives(post: Post) -> None:
    """After five bounces in a row it takes five more: one alone suppresses nobody again."""
    welcome = await post.outbox.only()
    assert welcome.person_id is not None
    await post.outbox.change(welcome, created_at=now(-12 * DAY), finished_at=now(-12 * DAY))
    for age in (11, 9, 7, 5, 3):
        await post.bounce(await post.send(days_ago=age), "transient")
    assert await post.suppressed() == [("ada@example.com", "bounced")]

    def age_it(tx: Any) -> None:
        tx.execute(suppressions.suppressions.update().values(updated_at=now(-2 * DAY)))

    await post.database.write(age_it)
    await post.outbox.change(welcome, state="failed")
    await sign_up(post.database, post.settings, "ada@example.com")
    again = await post.outbox.lease_one()
    await post.outbox.record(again, SENT)
    await post.database.write(record.confirm, welcome.person_id)
    assert await post.suppressed() == []
    await post.bounce(await post.send(), "transient")
    assert await post.suppressed() == []


async def test_what_is_about_nobody_any_more_is_swept(post: Post) -> None:
    """An earlier version erased them; what an operator noted stays, and what is a person's."""
    await post.bounce(await post.outbox.only(), "permanent")
    noted = suppressions.Suppressed("bob@example.com", "operator")
    await post.database.write(suppressions.suppress_all, [noted])
    assert await post.database.write(suppressions.sweep) == 0
    await post.outbox.erase_everybody()
    assert await post.database.write(suppressions.sweep) == 1
    assert await post.suppressed() == [("bob@example.com", "operator")]


async def test_erased_with_the_person(post: Post) -> None:
    """With the reports; and all of it is theirs to see before."""
    welcome = await post.outbox.only()
    assert welcome.person_id is not None
    await post.bounce(welcome, "permanent")
    told = await post.database.read(record.export, welcome.person_id)
    assert told["suppression"]["cause"] == "bounced"
    assert told["messages"][0]["reports"][0]["text"] == WORDS
    await post.database.write(record.erase, welcome.person_id)
    assert await post.suppressed() == []


async def test_an_address_that_its_person_has_left_is_not_kept(post: Post) -> None:
    """The email that tells the former mailbox of the change comes back, for it is closed."""
    welcome = await post.outbox.only()
    ada = welcome.person_id
    assert ada is not None
    change = AddressChange("ada@example.org", "ada@example.org", 1)

    def leave(tx: Transaction) -> None:
        move.make(tx, ada, change, post.settings, reserved=move.reserve(tx, change))

    await post.database.write(leave)
    told = await post.outbox.lease_one()
    assert (told.template, told.recipient) == (TOLD, "Ada@example.com")
    await post.outbox.record(told, SENT)
    await post.bounce(told, "permanent")
    await post.report(welcome, Verdict("complained"))
    assert (await post.state(told), await post.state(welcome)) == ("bounced", "complained")
    assert await post.suppressed() == []
    await post.send(CONFIRM)
    (asked,) = [one for one in await post.outbox.all() if one.template == CONFIRM]
    await post.report(asked, Verdict("complained"))
    assert await post.suppressed() == [("ada@example.com", "complained")]
