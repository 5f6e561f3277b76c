"""Reach's Python client tries again, and nothing is done twice by it."""

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from time import monotonic

import httpx
import pytest

from reach.settings import Settings
from reach_client import (
    AsyncClient,
    Client,
    NotFound,
    NotReached,
    PreconditionFailed,
    Problem,
    QuotaExceeded,
    Retries,
    Unavailable,
    UnexpectedAnswer,
)
from reach_client.retrying import Tries
from tests.support.clients import QUICKLY, Kind, Using, key_of, using
from tests.support.processes.ports import free_port
from tests.support.processes.reach import Reach, running_reach


def refusal(status: int, retry_after: str | None = None) -> httpx.Response:
    """A refusal as the client reads it."""
    return httpx.Response(
        status, headers={} if retry_after is None else {"Retry-After": retry_after}
    )


async def test_a_lost_answer_does_nothing_twice(operator: Using) -> None:
    """Each POST, PATCH and DELETE is carried out, its answer lost twice, and done once."""
    client, line = operator.client, operator.line
    line.lose = 2
    ada = await operator.do(client.people.add, "ada@example.com", "Ada")
    assert [person.id for person in await operator.all(client.people.list())] == [ada.id]
    line.lose = 2
    link = await operator.do(client.messages.send, ada.id, "manage-link")
    line.lose = 2
    changed = await operator.do(client.people.change, ada.id, name="Ada King")
    sent = [one.template for one in await operator.all(client.people.messages(ada.id))]
    assert sent == ["changed", "manage-link", "welcome"]
    line.lose = 1
    assert (await operator.do(client.messages.cancel, link.id)).state == "cancelled"
    line.lose = 1
    await operator.do(client.people.erase, ada.id, if_match=changed.etag)
    assert await operator.all(client.people.list()) == []
    assert line.lose == 0
    posts = [one for one in line.requests if one.method == "POST"]
    keys = [one.headers["Idempotency-Key"] for one in posts]
    assert [keys.count(key) for key in dict.fromkeys(keys)] == [3, 3, 2]
    others = [one for one in line.requests if one.method != "POST"]
    assert not any("Idempotency-Key" in one.headers for one in others)


async def test_a_key_whose_answer_was_lost_is_not_shown(operator: Using) -> None:
    """There is one key, and the client says that nobody has seen it."""
    operator.line.lose = 1
    made = await operator.do(operator.client.keys.create, "shop", ["people:read"])
    assert made.key is None
    listed = await operator.all(operator.client.keys.list())
    assert [key.name for key in listed].count("shop") == 1


async def test_a_change_that_may_have_been_made_says_so(operator_on_sqlite: Using) -> None:
    """With `if_match`, a try whose answer was lost makes the next one stale."""
    people = operator_on_sqlite.client.people
    ada = await operator_on_sqlite.do(people.add, "ada@example.com", "Ada")
    operator_on_sqlite.line.lose = 1
    with pytest.raises(PreconditionFailed) as caught:
        await operator_on_sqlite.do(people.change, ada.id, name="Ada King", if_match=ada.etag)
    assert caught.value.perhaps_done
    assert (await operator_on_sqlite.do(people.get, ada.id)).name == "Ada King"


async def test_a_caller_repeats_a_call_by_its_own_key(operator_on_sqlite: Using) -> None:
    """In another process, or on another day: what was done is answered again."""
    people = operator_on_sqlite.client.people
    first = await operator_on_sqlite.do(people.add, "ada@example.com", "Ada", idempotency_key="a-1")
    again = await operator_on_sqlite.do(people.add, "ada@example.com", "Ada", idempotency_key="a-1")
    assert again == first
    with pytest.raises(Problem) as caught:
        await operator_on_sqlite.do(people.add, "eve@example.com", "Eve", idempotency_key="a-1")
    assert caught.value.slug == "idempotency-key-reused"


async def test_tries_end(reach_on_sqlite: Reach, kind: Kind) -> None:
    """After as many as there are to be; what is raised says that it may have been done."""
    retries = Retries(tries=3, first_seconds=0.001)
    key = key_of(await reach_on_sqlite.key())
    async with using(kind, reach_on_sqlite.settings.origin, key, retries=retries) as client:
        client.line.lose = 9
        with pytest.raises(NotReached, match="ReadError") as caught:
            await client.do(client.client.people.add, "ada@example.com", "Ada")
        assert caught.value.perhaps_done
        assert isinstance(caught.value.__cause__, httpx.ReadError)
        assert len(client.line.requests) == 3


async def test_nobody_at_home_is_asked_again_and_did_nothing(kind: Kind) -> None:
    """A refused connection is worth another try, and none of them can have done anything."""
    retries = Retries(tries=3, first_seconds=0.02, longest_seconds=0.02)
    async with using(kind, f"http://127.0.0.1:{free_port()}", retries=retries) as client:
        began = monotonic()
        with pytest.raises(NotReached, match="ConnectError") as caught:
            await client.do(client.client.sign_up, "ada@example.com", "Ada")
        assert monotonic() - began >= 0.02
        assert not caught.value.perhaps_done


async def test_a_quota_is_waited_for_as_long_as_the_server_says(
    make_settings: Callable[..., Settings], sqlite: str, kind: Kind
) -> None:
    """And no longer than the caller wants: then it is raised at once, with the time."""
    settings = make_settings(database_url=sqlite, limit_api="1/second", limit_signups="1/hour")
    async with (
        running_reach(settings) as reach,
        using(kind, reach.settings.origin, key_of(await reach.key())) as client,
    ):
        for _ in range(2):
            assert await client.all(client.client.people.list()) == []
        assert len(client.line.requests) == 3, "refused once, then served"
        await client.do(client.client.sign_up, "ada@example.com", "Ada")
        began = monotonic()
        with pytest.raises(QuotaExceeded) as caught:
            await client.do(client.client.sign_up, "eve@example.com", "Eve")
        assert monotonic() - began < 10
        assert 3500 < (caught.value.retry_after or 0) <= 3600
        assert caught.value.members["violated-policies"] == ["hour"]
        assert not caught.value.perhaps_done


def test_waits_are_those_that_were_asked_for() -> None:
    """`Retry-After` is the least, in seconds or as a date; without it, waits double."""
    for retry_after in (
        "8",
        format_datetime(datetime.now(UTC) + timedelta(seconds=9), usegmt=True),
    ):
        wait = Tries(Retries()).wait_seconds(refusal(503, retry_after))
        assert wait is not None
        assert 7.9 <= wait <= 10, retry_after
    tries = Tries(Retries(tries=9, first_seconds=1, longest_seconds=4))
    waits = [tries.wait_seconds(refusal(502, "soon")) for _ in range(8)]
    for wait, longest in zip(waits, (1, 2, 4, 4, 4, 4, 4, 4), strict=True):
        assert wait is not None
        assert longest / 2 <= wait <= longest
    assert len(set(waits)) == 8
    assert tries.wait_seconds(refusal(503)) is None
    assert Tries(Retries(total_seconds=5)).wait_seconds(refusal(429, "6")) is None


@pytest.mark.parametrize("status", [400, 401, 404, 409, 412, 422, 500, 501])
def test_what_would_come_again_is_not_asked_for_again(status: int) -> None:
    """A refusal stays one, and a fault of the server too."""
    tries = Tries(Retries())
    assert tries.wait_seconds(refusal(status)) is None
    with pytest.raises(Problem) as caught:
        tries.end(refusal(status))
    assert caught.value.status == status


class Elsewhere(BaseHTTPRequestHandler):
    """A server that is not Reach: it says what its path says."""

    def do_GET(self) -> None:
        """Answer with the status that the path begins with; below `/half`, with half of it."""
        if self.path.startswith("/half"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nada\n\r\n")
            return
        status = int(self.path.split("/")[1])
        self.send_response(status)
        self.send_header("Location", "http://elsewhere.example.com/")
        self.end_headers()
        self.wfile.write(b"<html>Hello</html>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Offer the address of such a server."""
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_answers_of_another_server_are_told_from_reachs(elsewhere: str) -> None:
    """A proxy's own page is a problem with a title; a page or a redirection is no answer."""
    for status, error, words in (
        (200, UnexpectedAnswer, "no JSON"),
        (307, UnexpectedAnswer, "elsewhere"),
        (502, Unavailable, "502 Bad Gateway"),
    ):
        client = Client(f"{elsewhere}/{status}", "rk_some", retries=QUICKLY)
        with client, pytest.raises(error, match=words):
            client.stats()


def test_a_file_that_ends_early_is_told(elsewhere: str) -> None:
    """What came is given, and then that it is not all."""
    seen: list[str | bytes] = []
    with Client(f"{elsewhere}/half", "rk_some", retries=QUICKLY) as client:
        with client.people.export() as stream, pytest.raises(NotReached, match="early"):
            seen.extend(stream.chunks())
        with client.people.export() as stream, pytest.raises(NotReached, match="early"):
            seen.extend(stream.lines())
    assert seen == [b"ada\n", "ada"]


async def test_a_file_that_ends_early_is_told_in_asyncio(elsewhere: str) -> None:
    """The same; and a refusal is read, as of any call."""
    async with AsyncClient(f"{elsewhere}/half", "rk_some", retries=QUICKLY) as client:
        async with client.people.export() as stream:
            with pytest.raises(NotReached, match="early"):
                assert [chunk async for chunk in stream.chunks()] == []
        async with client.people.export() as stream:
            with pytest.raises(NotReached, match="early"):
                assert [line async for line in stream.lines()] == []
    async with AsyncClient(f"{elsewhere}/404", "rk_some", retries=QUICKLY) as client:
        with pytest.raises(NotFound, match="404 Not Found"):
            async with client.people.export():
                pass


def test_a_refused_file_is_told(elsewhere: str) -> None:
    """By its status, as of any call."""
    client = Client(f"{elsewhere}/404", "rk_some", retries=QUICKLY)
    with client, pytest.raises(NotFound, match="404 Not Found"), client.people.export():
        pass


def test_a_wrong_certificate_is_not_tried_again() -> None:
    """It would be as wrong the next time."""
    error = httpx.ConnectError("certificate verify failed")
    error.__cause__ = ssl.SSLCertVerificationError()
    assert Tries(Retries()).wait_seconds(error) is None
    assert Tries(Retries()).wait_seconds(httpx.ConnectError("refused")) is not None
