"""Counting what the edge admits: everything that it does not refuse for being too much."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from tests.support.eventually import eventually
from tests.support.proxy.echo import Gate
from tests.support.proxy.edges import Edge
from tests.support.proxy.sound import SIGN_UPS

T = TypeVar("T")
Call = tuple[str, str]
POSTS: Sequence[Call] = tuple(("POST", path) for path in SIGN_UPS)
#: Paths that are not of sign-ups, each of another kind: exact, with a dot, and all below.
OTHERS: Sequence[Call] = tuple(
    ("GET", path)
    for path in ("/docs", "/openapi.json", "/static/style.css", "/v1/people", "/manage")
)
AT_ONCE = 20


async def admitted(
    edge: Edge, number: int, calls: Sequence[Call], times: int, *, name: str | None = None
) -> int:
    """Make each call so many times, from one client, and count what is admitted.

    Raises AssertionError for an answer that is neither the server's nor a refusal.
    """
    async with edge.client(number, name=name) as http:
        made = [call for _ in range(times) for call in calls]
        statuses: list[int] = []
        for first in range(0, len(made), AT_ONCE):
            some = [http.request(*call) for call in made[first : first + AT_ONCE]]
            statuses += [answer.status_code for answer in await asyncio.gather(*some)]
    assert set(statuses) <= {200, 429}, set(statuses)
    return statuses.count(200)


async def under_way(edge: Edge, number: int, gate: Gate) -> int:
    """Ask for 80 things that are not posts at once, and count how many are let in together."""
    before = refusals(edge)
    gate.shut()
    async with edge.client(number) as http, anyio.create_task_group() as group:
        for _ in range(16):
            for call in OTHERS:
                group.start_soon(http.request, *call)
        try:
            await eventually(lambda: gate.waiting + refusals(edge) == before + 80, 30)
            together = gate.waiting
        finally:
            gate.open()
    return together


def refusals(edge: Edge) -> int:
    """Count those in its log."""
    return [line["DownstreamStatus"] for line in edge.traefik.accesses()].count(429)


async def undisturbed(edge: Edge, look: Callable[[int], Awaitable[T]]) -> T:
    """Look, until Traefik made no new routers meanwhile: with them it begins to count again.

    It does so as it starts, once for each of its providers. ``look`` gets the number of the first
    client that has not called yet.
    """
    for first in range(10, 60, 10):
        before = edge.traefik.reloads()
        found = await look(first)
        if edge.traefik.reloads() == before:
            return found
    raise AssertionError("Traefik makes new routers again and again")


async def spend(edge: Edge, number: int) -> None:
    """Call until nothing more is admitted."""

    async def is_spent() -> bool:
        return await admitted(edge, number, POSTS, 5) == 0

    await eventually(is_spent, 30)


async def is_admitted(edge: Edge, number: int) -> bool:
    """Whether one more call is."""
    return await admitted(edge, number, POSTS[:1], 1) == 1


async def is_refused_for(edge: Edge, number: int, seconds: float) -> bool:
    """Whether a client who has spent all goes on being refused for so long."""
    with anyio.move_on_after(seconds):
        while not await is_admitted(edge, number):
            pass
        return False
    return True
