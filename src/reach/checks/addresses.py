"""Whether every address answers that the names of the servers lead to."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import anyio
from redis.asyncio.connection import parse_url

from reach.checks.finding import Finding
from reach.network.names import CannotConnect
from reach.network.sockets import Attempt, try_each
from reach.settings import Settings
from reach.settings.urls import POSTGRES_PORT, REDIS_PORT, DatabaseUrl

SUBJECT = "addresses"
#: How long an address may take: a lost packet is sent again after a second.
TRY_SECONDS = 3
DEAD = (
    "For {kind}, {address} does not answer. New connections wait a quarter of a second for it.\n"
    "Have the network let Reach through to it, or take it out of what DNS (or /etc/hosts) says of "
    "{host}."
)


class Server(NamedTuple):
    """A server that the settings name."""

    kind: str
    host: str
    port: int


async def check_addresses(settings: Settings) -> Finding:
    """Whether each can be connected to: one that is dead costs time where another one works.

    What is wrong is advice: a server that none leads to fails the check of its own.
    """
    tried: dict[Server, Sequence[Attempt] | CannotConnect] = {}

    async def try_one(server: Server) -> None:
        try:
            tried[server] = await try_each(server.host, server.port, TRY_SECONDS)
        except CannotConnect as error:
            tried[server] = error

    servers = dict.fromkeys(servers_of(settings))
    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(try_one, server)
    if not servers:
        return Finding(SUBJECT, "no server is named")
    words, advice, is_well = list[str](), list[str](), True
    for server in servers:  # in the settings' order
        attempts = tried[server]
        if isinstance(attempts, CannotConnect):
            is_well = False
            words.append(f"{server.kind} has none")
            advice.append(f"For {server.kind}, {attempts}.")
        elif not any(attempt.connected for attempt in attempts):
            is_well = False
            words.append(f"{server.kind} has none that takes connections")
            each = "; ".join(f"{attempt.address}: {attempt.reason}" for attempt in attempts)
            advice.append(f"For {server.kind}, {server.host} cannot be reached: {each}.")
        else:
            words.append(f"{server.kind} {', '.join(map(_shown, attempts))}")
            advice += _about_dead(server, attempts)
    return Finding(SUBJECT, "; ".join(words), advice="\n".join(advice), is_well=is_well)


def servers_of(settings: Settings) -> Iterator[Server]:
    """Name whatever is connected to over the network; a file or a local socket is not."""
    if not settings.database.is_sqlite:
        yield from _hosts_of("database", settings.database)
        if settings.database_direct_url.get_secret_value():
            yield from _hosts_of("direct database", settings.direct_database)
    if settings.redis is not None:
        redis = parse_url(settings.redis.url)
        yield Server("redis", redis["host"], redis.get("port", REDIS_PORT))
    if settings.smtp is not None:
        yield Server("smtp", settings.smtp.host, settings.smtp.port)


def _hosts_of(kind: str, database: DatabaseUrl) -> Iterator[Server]:
    """Name each host of a list; a socket of the file system is none."""
    for place in database.places:
        if place.host and not place.host.startswith("/"):
            yield Server(kind, place.host, place.port or POSTGRES_PORT)


def _shown(attempt: Attempt) -> str:
    """Say what is to be said of one. That one refuses costs nothing where another one works."""
    if attempt.connected is not None:
        return f"{attempt.address} answers"
    return f"{attempt.address} {'refuses' if attempt.was_refused else 'does not answer'}"


def _about_dead(server: Server, attempts: Sequence[Attempt]) -> Iterator[str]:
    for attempt in attempts:
        if attempt.connected is None and not attempt.was_refused:
            yield DEAD.format(kind=server.kind, address=attempt.address, host=server.host)
