"""Counting what the edge admits: everything that it does not refuse for being too much."""

import asyncio
from collections.abc import Sequence

import anyio
import httpx

from tests.edge.edges import Edge
from tests.edge.sound import DOOR
from tests.eventually import eventually

Call = tuple[str, str]
POSTS: Sequence[Call] = tuple(("POST", path) for path in DOOR)
#: Paths that are not the door's, each of another kind: exact, with a dot, and all below.
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
        answers: list[httpx.Response] = []
        for first in range(0, len(made), AT_ONCE):
            some = [http.request(*call) for call in made[first : first + AT_ONCE]]
            answers += await asyncio.gather(*some)
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 429}, set(statuses)
    return statuses.count(200)


async def admitted_again(edge: Edge, number: int, calls: Sequence[Call], times: int) -> int:
    """Wait until a client who was refused is admitted, and count as ``admitted`` does."""

    async def one() -> int:
        return await admitted(edge, number, calls[:1], 1)

    await eventually(one, 30, 0.1)
    return 1 + await admitted(edge, number, calls, times)


async def refused_for(edge: Edge, number: int, seconds: float) -> bool:
    """Whether a client who was refused goes on being refused for so long."""
    with anyio.move_on_after(seconds):
        while not await admitted(edge, number, POSTS[:1], 1):
            pass
        return False
    return True
