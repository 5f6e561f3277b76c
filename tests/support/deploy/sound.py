"""What makes an edge sound, found out from outside: by calling on it."""

import asyncio
from collections.abc import Sequence

import httpx

from tests.support.deploy.edges import Edge, layer

#: Where each request may cause an email.
DOOR = ("/", "/links", "/v1/signups", "/v1/links")
#: Other ways to write a door's path, by which a request might go round its limiter.
DETOURS = (
    *("/v1/%73ignups", "//v1/signups", "/v1/./signups", "/v1/x/../signups", "/v1/signups?a=/"),
    "/v1/signups%0A",
)
HIDDEN = (
    *("/mailbox", "/mailbox/messages", "/metrics", "/livez", "/readyz", "/%72eadyz", "//readyz"),
    *("/readyz%0A", "/v1/signups%0A", "/%7F"),
)
#: More than a burst of the shipped limits, and what they let in again while it lasts.
DOOR_FLOOD, REST_FLOOD, AT_ONCE = 80, 400, 20
MOST_BYTES = 64 * 1024
JSON = {"Content-Type": "application/json"}


class UnsoundEdgeError(AssertionError):
    """The edge does not do its work; ``args[0]`` says what it fails to do."""


async def check_edge(edge: Edge) -> None:
    """Prove that an edge leads to Reach, by its name only, and limits every door.

    Uses the clients 1 to 29. Raises UnsoundEdgeError.
    """
    try:
        await _leads_to_reach(edge)
        await _is_for_one_name(edge)
        await _hides_what_is_inside(edge)
        await _refuses_large_bodies(edge)
        for number, path in enumerate(DOOR, 10):
            await _limits(edge, number, "POST", path, DOOR_FLOOD)
        await _has_no_detours(edge)
        await _limits(edge, 21, "GET", "/", REST_FLOOD)
    except httpx.TransportError as error:
        raise UnsoundEdgeError(f"no answer: {error!r}") from None


async def _leads_to_reach(edge: Edge) -> None:
    async with edge.client(1) as http:
        page, refused = await http.get("/"), await http.post("/v1/signups", json={})
        # A path that an Ingress cannot name as it names the others.
        document = await http.get("/openapi.json")
    for answer, status in ((page, 200), (document, 200), (refused, 422)):
        if (layer(answer), answer.status_code) != ("reach", status):
            raise UnsoundEdgeError(
                f"it does not lead to Reach: {answer.status_code} for {answer.url}"
            )


async def _is_for_one_name(edge: Edge) -> None:
    async with edge.client(2, name="other.example.com") as http:
        if layer(await http.get("/")) == "reach":
            raise UnsoundEdgeError("it leads to Reach by any name")


async def _hides_what_is_inside(edge: Edge) -> None:
    async with edge.client(3) as http:
        for path in HIDDEN:
            answer = await raw(http, "GET", path)
            if (layer(answer), answer.status_code) != ("edge", 404):
                raise UnsoundEdgeError(f"it shows {path} to the world: {answer.status_code}")


async def _refuses_large_bodies(edge: Edge) -> None:
    async with edge.client(4) as http:
        answer = await http.post("/v1/signups", content=b"x" * (MOST_BYTES + 1))
    if (layer(answer), answer.status_code) != ("edge", 413):
        raise UnsoundEdgeError("it lets large bodies in")


async def _limits(edge: Edge, number: int, method: str, path: str, count: int) -> None:
    async with edge.client(number) as http:
        refused = refusals(await flood(http, method, path, count))
    if not refused:
        raise UnsoundEdgeError(f"{method} {path} has no limit")
    if any(not answer.headers.get("Retry-After", "").isdigit() for answer in refused):
        raise UnsoundEdgeError(f"{method} {path} is limited without a Retry-After")


async def _has_no_detours(edge: Edge) -> None:
    for number, path in enumerate(DETOURS, 15):
        async with edge.client(number) as http:
            answers = await flood(http, "POST", path, DOOR_FLOOD)
        is_door = any(answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY for answer in answers)
        if is_door and not refusals(answers):
            raise UnsoundEdgeError(f"POST {path} goes round the door's limit")


def refusals(answers: Sequence[httpx.Response]) -> list[httpx.Response]:
    """Pick those that the edge refused for being too many."""
    return [a for a in answers if (layer(a), a.status_code) == ("edge", 429)]


async def flood(
    http: httpx.AsyncClient, method: str, path: str, count: int
) -> list[httpx.Response]:
    """Send so many requests that ask for nothing, until one is refused as one too many."""
    answers: list[httpx.Response] = []
    while len(answers) < count and not refusals(answers):
        calls = [raw(http, method, path) for _ in range(AT_ONCE)]
        answers += await asyncio.gather(*calls)
    return answers


async def raw(http: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    """Ask for nothing, at the path as it is written: httpx would tidy it up."""
    content = b"{}" if method == "POST" else None
    request = http.build_request(method, "/", content=content, headers=JSON)
    request.url = request.url.copy_with(raw_path=path.encode())
    return await http.send(request)
