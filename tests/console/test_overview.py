"""The overview: the figures of the statistics, a verdict, and live while one is signed in."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import anyio
import pytest
from sqlalchemy import select, update

from reach.auth import keys
from reach.console import live, overview, sessions
from reach.console.live import Watched
from reach.console.overview import Delivery
from reach.console.plots import period
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.delivery import open_breakers
from reach.messages.model import messages
from reach.messages.outcome import Unavailable
from reach.people import stats
from reach.people.stats import Day, Hour, Stats
from tests.support.clock import eventually
from tests.support.console import Console, at_console
from tests.support.processes.reach import Reach

NOBODY = Delivery([], None, None, None, "SQLite 3", "0016")


@pytest.fixture
async def operator(reach: Reach) -> AsyncIterator[Console]:
    """Somebody who is signed in, on both databases."""
    async with at_console(reach) as console:
        yield console


async def test_it_shows_what_the_statistics_say(reach: Reach, operator: Console) -> None:
    """People, messages by state, sign-ups by hour: in words, in a plot, and in a table."""
    for n in range(3):
        await reach.sign_up(f"p{n}@example.com")
    text = (await operator.get("/console")).text
    figures = re.findall(r'<span class="label">([^<]+)</span><strong>([^<]+)</strong>', text)
    shown = dict(figures)
    assert (shown["People"], shown["In the outbox"], shown["Failed"]) == ("3", "3", "0")
    assert '<td class="number">3</td>' in text
    assert re.search(r"<title>[^<]+ UTC: 3</title>", text)
    assert "All is well" in text
    assert "The last 48 hours" in text
    assert "The last 90 days" in text
    assert text.count("<figure") == 2 * 5
    found = await reach.database.read(overview.read)
    assert found.database in text


async def test_why_nothing_goes_out_is_said(reach: Reach, operator: Console) -> None:
    """What the mail server said to the message that has been due for longest."""
    await reach.sign_up()
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    late = messages.update().values(due_at=long_ago, last_error="421 4.7.0 Try again later")
    await reach.database.write(lambda tx: tx.execute(late))
    text = (await operator.get("/console")).text
    assert "Mail has been due for" in text
    assert "421 4.7.0 Try again later" in text
    assert "<strong>closed</strong>" in text


async def test_an_open_breaker_is_said_first(reach: Reach, operator: Console) -> None:
    """Since when, what the server answers, and how many workers it is."""
    said = Unavailable("535 5.7.8 no", 535, "5.7.8")
    for worker in ("one:1", "two:2"):
        await reach.database.write(open_breakers.note, worker, said, 60.0)
    text = (await operator.get("/console")).text
    assert "Nothing is sent: the circuit breaker is open since" in text
    assert "(of 2 workers)" in text
    assert "The mail server answers 535 5.7.8" in text
    assert "<strong>open</strong>" in text
    await reach.database.write(open_breakers.note, "one:1", None, 60.0)
    assert "It does not answer" in (await operator.get("/console")).text


def some(**changes: Any) -> Stats:
    """Make statistics of a good day."""
    now = datetime.now(UTC)
    usual: dict[str, Any] = {
        "people": 1,
        "confirmed": 0,
        "messages": {"queued": 0, "sent": 1, "failed": 0, "cancelled": 0},
        "oldest_due_seconds": 0.0,
        "late": 0,
        "mail_seconds": None,
        "per_hour": [],
        "per_day": [],
        "as_of": now,
    }
    return Stats(**{**usual, **changes})


def week(deliveries: int, bounces: int, complaints: int) -> list[Day]:
    """Make eight days, of which the first is over for longer than a week."""
    first = Day(date(2026, 1, 1), 0, 1000, 0, 1000, 1000)
    none = replace(first, deliveries=0, bounces=0, complaints=0)
    last = replace(first, deliveries=deliveries, bounces=bounces, complaints=complaints)
    return [first, *[none] * 6, last]


@pytest.mark.parametrize(
    ("changes", "waits_for", "tone", "words"),
    [
        ({}, None, "good", "All is well"),
        ({"oldest_due_seconds": 59.0}, None, "good", "All is well"),
        ({"late": 2}, None, "wait", "Some mail is late"),
        ({"messages": {"failed": 1}}, None, "wait", "some has failed"),
        ({"per_day": week(99, 99, 99)}, None, "good", "All is well"),
        ({"per_day": week(1000, 49, 0)}, None, "good", "All is well"),
        ({"per_day": week(1000, 50, 0)}, None, "wait", "Much comes back"),
        ({"per_day": week(1000, 0, 1)}, None, "wait", "Much comes back"),
        ({"per_day": week(1000, 100, 0)}, None, "wrong", "Too much comes back"),
        ({"per_day": week(1000, 0, 3)}, None, "wrong", "Too much comes back"),
        ({"oldest_due_seconds": 61.0}, None, "wrong", "due for 1 min"),
        ({"oldest_due_seconds": 7200.0, "late": 9}, "454 TLS", "wrong", "due for 2 h"),
    ],
)
def test_the_verdict(changes: dict[str, Any], waits_for: str | None, tone: str, words: str) -> None:
    """What is worst comes first."""
    found = overview.verdict(some(**changes), replace(NOBODY, waits_for=waits_for))
    assert found.tone == tone
    assert words in found.title
    assert waits_for is None or waits_for in found.says


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0123, "12 ms"), (1.25, "1.2 s"), (42.4, "42 s"), (90, "2 min"), (7200, "2 h")],
)
def test_how_long_something_took(seconds: float, said: str) -> None:
    """In one unit, with as much as matters."""
    assert overview.span(seconds) == said
    assert overview.span(3 * 86_400) == "3 days"


def test_a_plot_shows_each_count_to_scale() -> None:
    """The highest is as high as the plot, nothing is no bar, and little can still be seen."""
    counts = [0, 1, 1000, 500]
    hours = [
        Hour(datetime(2026, 1, 1, n, tzinfo=UTC), count, 0, 0, 0, 0)
        for n, count in enumerate(counts)
    ]
    found = period("hour", "4 hours", hours, lambda at: f"{at:%H}")
    signed_up, sent, *_, complained = found.plots
    assert [bar.height for bar in signed_up.bars] == [0, 2.5, 100, 50]
    assert (signed_up.total, signed_up.most, signed_up.path.count("M")) == (1501, 1000, 3)
    assert found.rows[0] == ("03", (500, 0, 0, 0, 0))
    assert (sent.path, complained.path) == ("", "")


class Listener:
    """A page that listens; what it was told, by event."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.beats = 0
        self.has_ended = False

    async def listen(self, console: Console) -> None:
        """Listen until the server ends it."""
        async with console.http.stream("GET", "/console/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line.startswith(("event: ", "data: ")):
                    self.told.append(line)
                self.beats += line == ":"
        self.has_ended = True

    def events(self) -> list[str]:
        """Name the events so far."""
        return [line.removeprefix("event: ") for line in self.told if line.startswith("event: ")]


async def test_the_page_goes_on_by_itself_until_the_session_is_over(
    here: Reach, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes is told, what does not is not; a revoked key ends it."""
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.02)
    monkeypatch.setattr(stats, "FRESH_SECONDS", 0.0)
    listener = Listener()
    async with anyio.create_task_group() as group:
        group.start_soon(listener.listen, console)
        await eventually(listener.events)
        assert Watched.count == 1
        await here.sign_up()
        await eventually(lambda: "".join(listener.told).count("<strong>1</strong>") >= 2)
        seen = listener.beats
        await eventually(lambda: listener.beats > seen + 3)
        assert len(listener.events()) < 5
        await here.database.write(keys.revoke, console.key)
        await eventually(lambda: listener.has_ended)
    assert listener.events()[-1] == "over"
    assert Watched.count == 0


async def test_a_page_that_goes_on_by_itself_keeps_nobody_signed_in(
    here: Reach, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it listens is no use of the session; that somebody looks at a page is."""
    table = sessions.sessions

    async def seen_at() -> datetime:
        found = select(table.c.seen_at)
        seen: datetime = await here.database.read(lambda tx: tx.execute(found).scalar_one())
        return seen

    monkeypatch.setattr(live, "EVERY_SECONDS", 0.02)
    await here.database.write(Transaction.execute, update(table).values(seen_at=now(-300)))
    before = await seen_at()
    listener = Listener()
    async with anyio.create_task_group() as group:
        group.start_soon(listener.listen, console)
        await eventually(lambda: listener.beats > 3)
        assert await seen_at() == before
        group.cancel_scope.cancel()
    await console.get("/console")

    async def is_seen() -> bool:
        return await seen_at() > before

    await eventually(is_seen)


async def test_no_more_pages_watch_than_can_be_served(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next is told so, and when to ask again; the page itself is shown all the same."""
    monkeypatch.setattr(live, "MOST_LISTENERS", 0)
    answer = await console.get("/console/events")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
    assert (await console.get("/console")).status_code == 200
