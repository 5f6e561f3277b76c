"""News of the mailbox: one request that stays open, ends with the process, and is no slow one."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import httpx
import pytest

from reach.mailbox.news import MOST_LISTENERS
from reach.mailbox.pages import GAP_SECONDS
from reach.mailbox.server import Mailbox
from reach.settings import Settings
from reach.telemetry.metrics import REQUEST_SECONDS
from tests.support.clock import eventually
from tests.support.processes.reach import Reach, running_reach

PATH = "/mailbox/events"


@pytest.fixture
def mailbox(make_settings: Callable[..., Settings]) -> Mailbox:
    """A mailbox."""
    return Mailbox(make_settings().data_dir / "mailbox")


@pytest.fixture
async def here(
    sqlite: str, make_settings: Callable[..., Settings], mailbox: Mailbox
) -> AsyncIterator[Reach]:
    """Reach with its mailbox. The grace time is longer than any test may take."""
    settings = make_settings(database_url=sqlite, grace_seconds=300)
    async with running_reach(settings, mailbox=mailbox) as reach:
        yield reach


@asynccontextmanager
async def listening(reach: Reach, query: str = "") -> AsyncIterator[AsyncIterator[str]]:
    """Listen; gives the lists that are told."""
    async with reach.http.stream("GET", f"{PATH}{query}", timeout=20) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[str]:
    data: list[str] = []
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            data.append(line.removeprefix("data: "))
        elif not line and data:
            yield "\n".join(data)
            data.clear()


def put(mailbox: Mailbox, subject: str) -> None:
    """Put a mail in the mailbox."""
    mailbox.put(f"To: ada@example.com\r\nSubject: {subject}\r\n\r\n".encode())


def requests_in(told: str) -> list[dict[str, object]]:
    """Find the lines of requests for news."""
    lines = [json.loads(line) for line in told.splitlines()]
    return [line for line in lines if PATH in json.dumps(line)]


async def test_every_change_is_told_by_one_request(
    here: Reach, mailbox: Mailbox, told: Callable[[], str]
) -> None:
    """How the list looks at first, and after a mail came, was read, and was deleted."""
    put(mailbox, "First")
    before = _observed()
    async with listening(here) as lists:
        first = await anext(lists)
        assert "First" in first
        assert "1 email, 1 unread" in first
        await anyio.to_thread.run_sync(put, mailbox, "Second & <b>last")
        second = await anext(lists)
        assert "Second &amp; &lt;b&gt;last" in second
        assert second.index("Second") < second.index("First")
        newest = mailbox.list()[0].id
        mailbox.mark_read(newest)
        assert "2 emails, 1 unread" in await anext(lists)
        mailbox.delete(newest)
        assert "Second" not in await anext(lists)
        mailbox.clear()
        assert "No email yet" in await anext(lists)
        assert not requests_in(told())
    await eventually(lambda: len(requests_in(told())) == 1)
    count, seconds = (now - then for now, then in zip(_observed(), before, strict=True))
    assert count == 1
    assert seconds < 0.8  # GAP_SECONDS, of which there were five, are 1 s


def _observed() -> tuple[float, float]:
    """How many requests for news there were, and how long they took in all."""
    found = {"count": 0.0, "sum": 0.0}
    for sample in (one for metric in REQUEST_SECONDS.collect() for one in metric.samples):
        kind = sample.name.rpartition("_")[2]
        if sample.labels.get("route") == PATH and kind in found:
            found[kind] += sample.value
    return found["count"], found["sum"]


async def test_a_search_hears_of_what_it_finds(here: Reach, mailbox: Mailbox) -> None:
    """Of other mails it hears that there are more."""
    async with listening(here, "?q=wanted") as lists:
        await anext(lists)
        put(mailbox, "Other")
        other = await anext(lists)
        assert "0 of 1 email" in other
        assert 'class="entry' not in other
        put(mailbox, "Wanted")
        assert "Wanted" in await anext(lists)


async def test_it_ends_when_the_process_is_to_stop(
    sqlite: str, make_settings: Callable[..., Settings], mailbox: Mailbox
) -> None:
    """At once, however long requests under way are waited for."""
    settings = make_settings(database_url=sqlite, grace_seconds=300)
    async with AsyncExitStack() as stack:
        reach = await stack.enter_async_context(running_reach(settings, mailbox=mailbox))
        http = httpx.AsyncClient(base_url=reach.settings.origin, trust_env=False, timeout=60)
        async with http, http.stream("GET", PATH) as answer:
            lists = _events(answer)
            await anext(lists)
            began = time.monotonic()
            await stack.aclose()
            assert time.monotonic() - began < 20
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(lists)


async def test_so_many_may_listen(here: Reach, mailbox: Mailbox) -> None:
    """One more is told to come back; one that leaves makes room, also one that just vanishes."""
    async with AsyncExitStack() as stack:
        kept = [await stack.enter_async_context(listening(here)) for _ in range(MOST_LISTENERS)]
        for lists in kept:
            await anext(lists)
        answer = await here.http.get(PATH)
        assert answer.status_code == 429
        assert answer.json()["type"].endswith("/problems/too-many-listeners")
        assert int(answer.headers["retry-after"]) > 0
        page = await here.http.get("/mailbox")
        assert page.status_code == 200
    await eventually(lambda: _is_free(here))
    put(mailbox, "Nobody listens")


async def test_a_rush_is_told_all_at_once(here: Reach, mailbox: Mailbox) -> None:
    """After each piece of news there is a gap, however soon there is more."""
    began = time.monotonic()
    async with listening(here) as lists:
        for n in range(3):
            await anext(lists)
            put(mailbox, f"Mail {n}")
        await anext(lists)
    assert time.monotonic() - began > 2.5 * GAP_SECONDS  # timers may be early by a little


async def _is_free(reach: Reach) -> bool:
    """Whether one may listen."""
    async with reach.http.stream("GET", PATH) as answer:
        return answer.status_code == 200
