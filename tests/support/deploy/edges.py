"""A real Traefik with the files that are shipped, and what makes it sound, asked from outside."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.ports import free_port
from tests.support.root import ROOT
from tests.support.servers.traefik import Traefik

SHIPPED = ROOT / "deploy" / "traefik"
STATIC, DYNAMIC = Path("traefik.yaml"), Path("dynamic/reach.yaml")
#: The name that the files are for; it resolves nowhere, so tests send it as the Host.
NAME = "signup.example.com"


@dataclass(frozen=True)
class Change:
    """``old`` in ``file`` becomes ``new``, in ``times`` places."""

    file: Path
    old: str
    new: str
    times: int = 1


def changed(text: str, change: Change) -> str:
    """Make one change. Raises AssertionError unless the text says ``old`` so many times."""
    found = text.count(change.old)
    assert found == change.times, f"{change.file} has {change.old!r} {found} times"
    return text.replace(change.old, change.new)


def places(port: int, inside: int, servers: tuple[int, int], folder: Path) -> list[Change]:
    """Put everything on ports of the test's own, and let Traefik's API tell what it understood."""
    return [
        Change(STATIC, 'address: ":80" # ADAPT', f'address: "127.0.0.1:{port}"'),
        Change(STATIC, "127.0.0.1:8082", f"127.0.0.1:{inside}"),
        Change(STATIC, "directory: dynamic", f"directory: {folder / 'dynamic'}"),
        Change(STATIC, "ping: {}", "ping: {}\napi: {insecure: true, dashboard: false}"),
        Change(DYNAMIC, "http://127.0.0.1:8001", f"http://127.0.0.1:{servers[0]}"),
        Change(DYNAMIC, "http://127.0.0.1:8002", f"http://127.0.0.1:{servers[1]}"),
        # On a busy machine, a server that takes its time is not dead. One that is refuses at once.
        Change(DYNAMIC, "          timeout: 1s", "          timeout: 20s"),
    ]


def sign_up_limit(burst: int) -> list[Change]:
    """Let the proxy admit ``burst`` sign-ups, and no more while a test runs."""
    return [
        Change(DYNAMIC, "average: 60 # ADAPT", "average: 1"),
        Change(DYNAMIC, "period: 1m", "period: 1h"),
        Change(DYNAMIC, "burst: 20 # ADAPT", f"burst: {burst}"),
    ]


def behind_proxy() -> list[Change]:
    """Put the edge behind one more proxy, which is on this machine: the clients are its own."""
    return [
        Change(STATIC, "    forwardedHeaders:\n      trustedIPs: []", TRUSTING),
        Change(DYNAMIC, "depth: 0", "depth: 1"),
    ]


TRUSTING = "    forwardedHeaders:\n      trustedIPs: [127.0.0.1/32]"


def write(folder: Path, changes: Iterable[Change]) -> Path:
    """Write the changed files into ``folder``, and give the static one."""
    texts = {file: (SHIPPED / file).read_text(encoding="utf-8") for file in (STATIC, DYNAMIC)}
    for change in changes:
        texts[change.file] = changed(texts[change.file], change)
    for file, text in texts.items():
        (folder / file).parent.mkdir(exist_ok=True, parents=True)
        (folder / file).write_text(text, encoding="utf-8")
    return folder / STATIC


def routers(text: str) -> dict[str, str]:
    """Cut the dynamic file's routers out, each as it is written, by name."""
    section = text.split("\n  routers:\n", 1)[1].split("\n  middlewares:\n", 1)[0]
    parts = re.split(r"^    ([\w-]+):\n", section, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@dataclass
class Edge:
    """A running edge. Clients differ in their address: ``client(1)`` is 127.0.1.1."""

    port: int
    traefik: Traefik
    name: str = NAME

    @asynccontextmanager
    async def client(
        self, number: int, *, name: str | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        """Call from one address, under the edge's name or another one."""
        transport = httpx.AsyncHTTPTransport(
            verify=NO_CERTIFICATES, local_address=address_of(number)
        )
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Host": name or self.name},
            transport=transport,
            trust_env=False,
            timeout=20,
        ) as http:
            yield http


def address_of(number: int) -> str:
    """The address of the client of that number."""
    return f"127.0.1.{number}"


@asynccontextmanager
async def running_edge(
    folder: Path, servers: tuple[int, int], changes: Iterable[Change] = ()
) -> AsyncIterator[Edge]:
    """Run the shipped configuration with these changes, in front of servers on these ports."""
    port, inside = free_port(), free_port()
    static = write(folder, [*changes, *places(port, inside, servers, folder)])
    traefik = Traefik(static, inside)
    try:
        # In a thread: it asks for the health of servers in this event loop as it starts.
        await asyncio.to_thread(traefik.start)
        yield Edge(port, traefik)
    finally:
        traefik.close()


def layer(answer: httpx.Response) -> Literal["edge", "reach"]:
    """Say which of the two answered: Reach gives every answer of its own an id."""
    return "reach" if "x-request-id" in answer.headers else "edge"


async def sign_ups(
    edge: Edge, number: int, count: int, *headers: list[tuple[str, str]]
) -> Counter[tuple[str, int]]:
    """Sign so many up from one client, and count who answered what."""
    async with edge.client(number) as http:
        calls = [
            http.post(
                "/v1/signups",
                json={"email": f"ada{number}-{index}@example.com", "name": "Ada"},
                headers=[*http.headers.items(), *(headers[index] if headers else [])],
            )
            for index in range(count)
        ]
        answers = await asyncio.gather(*calls)
    return Counter((layer(answer), answer.status_code) for answer in answers)


#: Where each request may cause an email.
SIGN_UPS = ("/", "/embed", "/embed.json", "/links", "/v1/signups", "/v1/links")
#: Other ways to write a sign-up's path, by which a request might go round its limiter.
DETOURS = (
    *("/v1/%73ignups", "//v1/signups", "/v1/./signups", "/v1/x/../signups", "/v1/signups?a=/"),
    "/v1/signups%0A",
)
HIDDEN = (
    *("/mailbox", "/mailbox/messages", "/metrics", "/livez", "/readyz", "/%72eadyz", "//readyz"),
    *("/readyz%0A", "/v1/signups%0A", "/%7F"),
)
#: More than a burst of the shipped limits, and what they let in again while it lasts.
SIGN_UP_FLOOD, REST_FLOOD, AT_ONCE = 80, 400, 20
MOST_BYTES = 64 * 1024
JSON = {"Content-Type": "application/json"}


class UnsoundEdgeError(AssertionError):
    """The edge does not do its work; ``args[0]`` says what it fails to do."""


async def check_edge(edge: Edge) -> None:
    """Prove that a proxy leads to Reach, by its name only, and limits every sign-up.

    Uses the clients 1 to 29. Raises UnsoundEdgeError.
    """
    try:
        await _leads_to_reach(edge)
        await _is_for_one_name(edge)
        await _hides_what_is_inside(edge)
        await _refuses_large_bodies(edge)
        for number, path in enumerate(SIGN_UPS, 10):
            await _limits(edge, number, "POST", path, SIGN_UP_FLOOD)
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
            answers = await flood(http, "POST", path, SIGN_UP_FLOOD)
        is_sign_up = any(
            answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY for answer in answers
        )
        if is_sign_up and not refusals(answers):
            raise UnsoundEdgeError(f"POST {path} goes round the limit of sign-ups")


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
