"""`make timing`: whether the time an answer takes tells a known address from an unknown one.

2,000 pairs (or as many as the first argument says), the two of a pair one after the other in
random order, over one socket to an API process of its own, at each endpoint, on each database.
Of the known every third one has confirmed and was told just now; every third so long ago that
they are told of it again; and the rest have not confirmed, and get a fresh welcome for an older
one.

Printed is Welch's t, of all times and of those below the 90th percentile: what is slow is
somebody else's doing, and hides the rest. Below 4.5 nothing is told (the bound of dudect).
"""

import asyncio
import json
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from pydantic import SecretStr
from sqlalchemy import case, func, select, update

from reach.db.connect import open_database
from reach.db.migrate import migrate
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.messages.model import messages
from reach.people.address import parse_address
from reach.people.link_requests import link_requests
from reach.people.model import people
from reach.people.schemas import SignUp, Submission
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.processes.commands import api_process
from tests.support.processes.ports import free_port
from tests.support.servers.postgres import Postgres

PAIRS = 2000
WARM_UPS = 200
BOUND = 4.5
DAY_SECONDS = 86_400.0


def as_json(email: str) -> tuple[str, str, str]:
    """Say what to send: path, content type, body."""
    return "/v1/signups", "application/json", json.dumps({"email": email, "name": "Ada"})


def as_form(email: str) -> tuple[str, str, str]:
    """Say it as the page's form does."""
    fields = {"email": email, "name": "Ada", "description": ""}
    return "/", "application/x-www-form-urlencoded", urlencode(fields)


def for_link(email: str) -> tuple[str, str, str]:
    """Say what to send to get a link."""
    return "/v1/links", "application/json", json.dumps({"email": email})


def for_link_as_form(email: str) -> tuple[str, str, str]:
    """Say it as the page's form does."""
    return "/links", "application/x-www-form-urlencoded", urlencode({"email": email})


#: By its name: what to send, and what is answered.
ENDPOINTS: dict[str, tuple[Callable[[str], tuple[str, str, str]], int]] = {
    "POST /v1/signups": (as_json, 202),
    "POST /": (as_form, 303),
    "POST /v1/links": (for_link, 202),
    "POST /links": (for_link_as_form, 303),
}
#: The known, by turns; all names are equally long.
QUIET, TOLD, AGAIN, NEW = "quiet", "told-", "again", "fresh"
KNOWN = (QUIET, TOLD, AGAIN)
Times = dict[str, list[float]]


def main(pairs: int) -> None:
    """Measure every endpoint on every database, and print its lines; exit 1 over the bound."""
    with tempfile.TemporaryDirectory() as folder, Postgres.private() as postgres:
        urls = {"SQLite": f"sqlite:///{folder}/reach.sqlite3", "Postgres": postgres.url}
        every = [
            Settings(
                data_dir=Path(folder, name),
                database_url=SecretStr(url),
                port=free_port(),
                limit_signups="off",
            )
            for name, url in urls.items()
        ]
        for settings in every:
            migrate(settings.database)
        with ThreadPoolExecutor() as both:  # they wait more than they compute
            found = both.map(partial(measure_endpoints, pairs), urls, every)
        worst = max(max(values) for values in found)
    print(f"the largest |t| of all times is {worst:.1f}; the bound is {BOUND}")
    sys.exit(worst >= BOUND)


def measure_endpoints(pairs: int, database: str, settings: Settings) -> list[float]:
    """Measure the endpoints of an API process that nobody else uses; |t| of each."""
    found = []
    with api_process(settings):
        for endpoint in ENDPOINTS:
            asyncio.run(prepare(settings, pairs))
            times = measure(settings.port, endpoint, pairs)
            asyncio.run(check(settings, endpoint, pairs))
            found.append(report(f"{database}, {endpoint}", times))
    return found


def report(name: str, times: Times) -> float:
    """Print a line for the known, and for each kind of them; |t| of all times of all."""
    times = {"known": [one for who in KNOWN for one in times[who]], **times}
    cut = statistics.quantiles(times["known"] + times[NEW], n=10)[-1]
    for who in ("known", *KNOWN):
        t = welch(times[who], times[NEW])
        cropped = welch(*([one for one in times[w] if one < cut] for w in (who, NEW)))
        medians = " ms, new ".join(f"{statistics.median(times[w]) * 1000:.3f}" for w in (who, NEW))
        print(
            f"{name:27} {who} {medians} ms  t {t:+.1f}, cropped {cropped:+.1f}",
            flush=True,
        )
    return abs(welch(times["known"], times[NEW]))


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    """Welch's t: how many standard errors two means lie apart."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return float((statistics.fmean(one) - statistics.fmean(other)) / spread**0.5)


def known(number: int) -> str:
    """Whose turn it is."""
    return KNOWN[number % len(KNOWN)]


def address(name: str, number: int) -> str:
    """Make an address."""
    return f"{name}{number:05}@example.com"


async def prepare(settings: Settings, pairs: int) -> None:
    """Have the known there and nobody else, and no message but the welcomes of the unconfirmed."""
    requests = [
        SignUp.model_construct(email=parse_address(address(known(n), n)), name="Ada")
        for n in range(WARM_UPS + pairs)
    ]

    def fill(tx: Transaction) -> None:
        tx.execute(people.delete())
        sign_up_all(tx, [Submission(one) for one in requests], settings)
        confirmed = ~people.c.email.startswith(AGAIN)
        tx.execute(
            messages.delete().where(messages.c.person_id.in_(select(people.c.id).where(confirmed)))
        )
        told = case((people.c.email.startswith(TOLD), now(-2 * DAY_SECONDS)), else_=now())
        tx.execute(update(people).where(confirmed).values(confirmed_at=now(), greeted_at=told))

    database = open_database(settings)
    await database.write(fill)
    await database.close()


async def check(settings: Settings, endpoint: str, pairs: int) -> None:
    """Refuse to report what was not done: everybody is there, and is owed what is due."""

    def count(tx: Transaction) -> tuple[int, int, dict[str, int]]:
        waiting = select(messages.c.template, func.count()).where(messages.c.state == "queued")
        found = tx.execute(waiting.group_by(messages.c.template))
        everybody, asked = (
            tx.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (people, link_requests)
        )
        tx.execute(link_requests.delete())
        return everybody, asked, {row.template: row[1] for row in found}

    database = open_database(settings)
    number, asked, owed = await database.write(count)
    await database.close()
    each = WARM_UPS + pairs
    of = {who: sum(known(n) == who for n in range(each)) for who in KNOWN}
    if endpoint.endswith("links"):
        assert (number, asked, owed) == (each, 2 * each, {"welcome": of[AGAIN]}), (number, asked)
    else:
        assert number == 2 * each, number
        assert owed == {"welcome": each + of[AGAIN], "already-signed-up": of[TOLD]}, owed


def measure(port: int, endpoint: str, pairs: int) -> Times:
    """Seconds from the request's last byte to the answer's, by who asked."""
    times: Times = {who: [] for who in (*KNOWN, NEW)}
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(WARM_UPS + pairs):
            pair = [known(number), NEW]
            random.shuffle(pair)
            for who in pair:
                took = ask(connection, endpoint, address(who, number))
                if number >= WARM_UPS:
                    times[who].append(took)
    return times


def ask(connection: socket.socket, endpoint: str, email: str) -> float:
    """Ask once; seconds. Raises AssertionError for any other answer than the endpoint's."""
    write, status = ENDPOINTS[endpoint]
    path, kind, body = write(email)
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    began = time.perf_counter()
    connection.sendall(request)
    answer = read_answer(connection)
    took = time.perf_counter() - began
    assert answer.startswith(b"HTTP/1.1 %d" % status), answer
    return took


def read_answer(connection: socket.socket) -> bytes:
    """Read one whole answer."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = connection.recv(65536)
        assert received, "the connection was closed"
        answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
    while len(body) < length:
        body += connection.recv(65536)
    return answer


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS)
