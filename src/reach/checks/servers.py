"""Whether the servers that the settings name answer, and let us do what we need."""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import anyio
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError

from reach.checks.report import Finding
from reach.db.connect import open_database
from reach.db.errors import DatabaseUnavailable, NoDatabase, ReadOnlyDatabase
from reach.db.postgres import unavailable_reason
from reach.db.postgres_connection import FAILURES, PostgresConnection, Session
from reach.db.postgres_connection import Opener as PostgresOpener
from reach.db.schema import newest, require_database, revision
from reach.limits.limiter import require_one_count
from reach.limits.redis import Line, reason_of
from reach.network.sockets import Attempt, CannotConnect, try_each
from reach.people import stats
from reach.problems import ServiceUnavailable
from reach.settings import BadSettings, Settings
from reach.settings.database_url import POSTGRES_PORT, DatabaseUrl
from reach.settings.urls import REDIS_PORT

PROBE_SECONDS = 10
#: How long an address may take: a lost packet is sent again after a second.
TRY_SECONDS = 3
#: Beyond it a window of a minute is no minute.
MOST_SKEW_SECONDS = 1.0
#: A worker that runs and a mail server that answers leave nothing due for this long.
MOST_DUE_SECONDS = 300
_SESSION = Session("reach check", {})
NOT_NEEDED = "not needed: no pooler is before Postgres"
POLLED = "not set, and the database is behind a pooler"
ADVICE = (
    "It works. With REACH_DATABASE_DIRECT_URL, Postgres's own address, workers would be told of "
    "new messages at once, rather than ask every second."
)
POOLED = (
    "It works, but workers ask every second: REACH_DATABASE_DIRECT_URL should be Postgres's own "
    "address. Some providers' proxies look like a pooler too."
)
ANOTHER = (
    "Both must be of one database: `reach migrate` and workers' LISTEN go to "
    "REACH_DATABASE_DIRECT_URL, all else goes to REACH_DATABASE_URL."
)
NO_WRITES = (
    "Every sign-up is answered 503 until it does. Of a standby: name the primary in "
    "REACH_DATABASE_URL, or all servers (?host=a:5432&host=b:5432): the one that takes writes is "
    "found. Else look at default_transaction_read_only, and for room on the disk."
)
LATE = "Is a worker running (`reach worker`)? If one is, its log says what keeps it."
FAILED = (
    "GET /v1/messages?state=failed shows why they failed; POST /v1/messages/{id}/retry tries one "
    "again, POST /v1/messages/retry all of them."
)
DEAD = (
    "For {kind}, {address} does not answer. New connections wait a quarter of a second for it.\n"
    "Have the network let Reach through to it, or take it out of what DNS (or /etc/hosts) says of "
    "{host}."
)


async def check_database(settings: Settings) -> Finding:
    """Whether the database answers, with which schema, and takes writes."""
    database = open_database(settings)
    try:
        await database.read(require_database)
        found = await database.read(revision)
        if (found or "") >= newest():
            await database.require_writes()
    except ReadOnlyDatabase as refused:
        return Finding("database", f"answers, but takes no writes. {refused.reason}", NO_WRITES)
    except NoDatabase as missing:
        words, remedy = missing.told(settings), missing.remedy(settings)
        return Finding("database", words, remedy, is_misconfigured=True)
    except DatabaseUnavailable as away:
        remedy = "Is it up, and reached from here? Then check REACH_DATABASE_URL."
        return Finding("database", f"does not answer. {away.detail or ''}".strip(), remedy)
    finally:
        await database.close()
    if (found or "") < newest():
        return Finding("database", f"schema {found}", "Run `reach migrate`.")
    return Finding("database", f"answers, takes writes, schema {found}")


async def check_direct_database(settings: Settings) -> Finding:
    """Whether what goes to Postgres itself gets there, if the database is behind a pooler."""
    if settings.database.is_sqlite:
        return Finding("direct database", "not needed: a file has no pooler")
    found = await _look(settings)
    if found is None:  # check_database says so
        return Finding("direct database", "not known", is_well=False)
    return Finding("direct database", *found)


async def check_outbox(settings: Settings) -> Finding:
    """Whether messages leave; and how many there are of what."""
    database = open_database(settings)
    try:
        found = await database.read(stats.read, settings)
    except ServiceUnavailable:  # check_database says so
        return Finding("outbox", "not known", is_well=False)
    finally:
        await database.close()
    by_state, due_seconds = found.messages, int(found.oldest_due_seconds)
    since = f", longest due for {due_seconds} s" if due_seconds else ""
    words = f"{by_state['queued']} queued{since}; {by_state['failed']} failed; "
    words += f"{by_state['sent']} sent; {found.people} people"
    remedy = LATE if due_seconds > MOST_DUE_SECONDS else ""
    return Finding("outbox", words, remedy, FAILED if by_state["failed"] else "")


async def check_redis(settings: Settings) -> Finding:
    """Whether processes can count together: Redis answers, runs scripts, and has our time."""
    try:
        require_one_count(settings)
    except BadSettings as error:
        return Finding("redis", "not set", str(error))
    if settings.redis is None:
        return Finding("redis", "not set: an API process counts for itself")
    line = Line(settings.redis)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await line.probe()
            ahead = await line.seconds_ahead()
    except (RedisError, OSError) as error:
        remedy = f"Check REACH_REDIS_URL, and that {settings.redis} takes scripts that write."
        return Finding("redis", f"cannot be used: {reason_of(error)}", remedy)
    finally:
        await line.close()
    words = f"answers, takes scripts, its clock differs by {ahead * 1000:+.0f} ms"
    if abs(ahead) > MOST_SKEW_SECONDS:
        return Finding("redis", words, "Let NTP set the clocks: windows are counted by them.")
    return Finding("redis", words)


class Server(NamedTuple):
    """A server that the settings name."""

    kind: str
    host: str
    port: int


async def check_addresses(settings: Settings) -> Finding:
    """Whether every address of each server answers: a dead one costs time, even beside another.

    What is wrong is advice: a server that no address leads to fails the check of its own.
    """
    tried: dict[Server, Sequence[Attempt] | CannotConnect] = {}

    async def try_one(server: Server) -> None:
        try:
            tried[server] = await try_each(server.host, server.port, TRY_SECONDS)
        except CannotConnect as error:
            tried[server] = error

    servers = dict.fromkeys(servers_of(settings))
    if not servers:
        return Finding("addresses", "no server is named")
    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(try_one, server)
    told = [_told(server, tried[server]) for server in servers]  # in the settings' order
    return Finding(
        "addresses",
        "; ".join(words for words, _, _ in told),
        advice="\n".join(line for _, advice, _ in told for line in advice),
        is_well=all(is_well for _, _, is_well in told),
    )


def _told(
    server: Server, found: Sequence[Attempt] | CannotConnect
) -> tuple[str, Sequence[str], bool]:
    """Say what became of a server's addresses, what to do, and whether one of them answers."""
    if isinstance(found, CannotConnect):
        return f"{server.kind} has none", [f"For {server.kind}, {found}."], False
    if not any(attempt.connected for attempt in found):
        each = "; ".join(f"{attempt.address}: {attempt.reason}" for attempt in found)
        advice = f"For {server.kind}, {server.host} cannot be reached: {each}."
        return f"{server.kind} has none that takes connections", [advice], False
    dead = [
        DEAD.format(kind=server.kind, address=attempt.address, host=server.host)
        for attempt in found
        if attempt.connected is None and not attempt.was_refused
    ]
    return f"{server.kind} {', '.join(map(_shown, found))}", dead, True


def _shown(attempt: Attempt) -> str:
    """Say how one ended. That one refuses costs nothing where another one works."""
    if attempt.connected is not None:
        return f"{attempt.address} answers"
    return f"{attempt.address} {'refuses' if attempt.was_refused else 'does not answer'}"


def servers_of(settings: Settings) -> Iterator[Server]:
    """Name what is connected to over the network; a file or a local socket is not."""
    if not settings.database.is_sqlite:
        yield from _hosts_of("database", settings.database)
        if settings.database_direct_url.get_secret_value():
            yield from _hosts_of("direct database", settings.direct_database)
    if settings.redis is not None:
        redis = parse_url(settings.redis.url)
        yield Server("redis", redis["host"], redis.get("port", REDIS_PORT))
    for server in settings.smtp_servers:
        yield Server("smtp", server.host, server.port)


def _hosts_of(kind: str, database: DatabaseUrl) -> Iterator[Server]:
    for place in database.places:
        if place.host and not place.host.startswith("/"):
            yield Server(kind, place.host, place.port or POSTGRES_PORT)


async def _look(settings: Settings) -> tuple[str, str, str] | None:
    """Say what there is, what to do about it, and what might be better; empty if there is nothing.

    None: the database itself does not answer, so nothing is known.
    """
    is_set = bool(settings.database_direct_url.get_secret_value())
    try:
        usual = await _open(settings.database)
    except (DatabaseUnavailable, *FAILURES):
        return None
    try:
        if not is_set:
            return (POLLED, "", ADVICE) if usual.is_shared else (NOT_NEEDED, "", "")
        return await _compare(usual, settings.direct_database)
    finally:
        usual.terminate()


async def _compare(usual: PostgresConnection, url: DatabaseUrl) -> tuple[str, str, str]:
    try:
        direct = await _open(url)
        try:
            if direct.is_shared:
                return "leads through a pooler", "", POOLED
            async with asyncio.timeout(PROBE_SECONDS):
                is_one = await _is_one(usual, direct)
        finally:
            direct.terminate()
    except (DatabaseUnavailable, *FAILURES) as error:
        remedy = "Check REACH_DATABASE_DIRECT_URL."
        return f"does not answer. {unavailable_reason(error) or ''}".strip(), remedy, ""
    if not is_one:
        return "is not the database of REACH_DATABASE_URL", ANOTHER, ""
    return "answers, without a pooler", "", ""


async def _open(url: DatabaseUrl) -> PostgresConnection:
    return await PostgresOpener(url, _SESSION, seconds=PROBE_SECONDS).open()


async def _is_one(usual: PostgresConnection, direct: PostgresConnection) -> bool:
    """Whether both are one database, by whatever names: what one locks, the other cannot."""
    lock, number = "SELECT pg_try_advisory_xact_lock($1)", secrets.randbits(62)
    async with usual.transaction(), direct.transaction():
        await usual.fetchval(lock, number)
        return not await direct.fetchval(lock, number)
