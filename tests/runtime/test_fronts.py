"""What works directly works through a real HAProxy and a real Traefik too.

They are set up as docs/guides/other-proxies.md says.
"""

import asyncio
import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from reach.limits.client import Clients
from tests.support.clock import eventually
from tests.support.deploy.edges import DYNAMIC, NAME, Change, address_of, running_edge
from tests.support.http import raw
from tests.support.http.clients import CHUNKED, H2C, JSON, calling
from tests.support.http.serving import Serving
from tests.support.processes.ports import free_port
from tests.support.processes.reach import Reach
from tests.support.root import ROOT
from tests.support.servers.server import Program
from tests.support.servers.traefik import NoTraefik
from tests.support.servers.traefik import binary as traefik_binary

PAGE = ROOT / "docs" / "guides" / "other-proxies.md"
PLACE = "bind :80"
SERVER = "127.0.0.1:8000"


class NoHaproxy(Exception):
    """No HAProxy can be had here; ``args[0]`` says why."""


def binary() -> str:
    """Find it, on the PATH or where Debian keeps it. Raises NoHaproxy."""
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise NoHaproxy("there is no haproxy on the PATH (Debian's package is haproxy)")
    return found


def configuration() -> str:
    """The page's own."""
    page = PAGE.read_text(encoding="utf-8")
    return page.split("\n```haproxy\n", 1)[1].split("\n```\n", 1)[0] + "\n"


class Haproxy(Program):
    """One HAProxy before the Reach at ``server`` (a port), until ``close``."""

    def __init__(self, server: int) -> None:
        super().__init__()
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="reach-haproxy-")
        text = configuration()
        assert (text.count(PLACE), text.count(SERVER)) == (1, 1), text
        text = text.replace(PLACE, f"bind 127.0.0.1:{self.port}")
        text = text.replace(SERVER, f"127.0.0.1:{server}")
        self._file = Path(self._folder.name, "haproxy.cfg")
        self._file.write_text(text, encoding="utf-8")

    def command(self) -> list[str]:
        """In the foreground, by its configuration."""
        return [binary(), "-db", "-f", str(self._file)]

    def close(self) -> None:
        """End it, and remove its folder."""
        super().close()
        self._folder.cleanup()

    def is_ready(self) -> bool:
        """Whether somebody listens."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


PROXIES = ["haproxy", "traefik"]
#: The edge's own limits, which are not what is tested here.
WIDE = [
    Change(DYNAMIC, "average: 60 # ADAPT", "average: 0"),
    Change(DYNAMIC, "average: 20 # ADAPT", "average: 0"),
]
MANY = 1000


@dataclass
class Front:
    """Where callers of ``reach`` come in."""

    kind: str
    port: int
    reach: Reach

    def request(self, path: str, *lines: str, method: str = "POST", body: bytes = b"") -> bytes:
        """Write a request for the edge's name."""
        return raw.head([f"{method} {path} HTTP/1.1", f"Host: {NAME}", *lines]) + body

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A well-kept client, at an address of its own."""
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Host": NAME},
            transport=httpx.AsyncHTTPTransport(local_address=address_of(1)),
            trust_env=False,
            timeout=20,
        ) as http:
            yield http


def callers_of(reach: Reach) -> set[int]:
    """The ports from which connections to ``reach``, in this process, come that it has open."""
    return {
        found.raddr.port
        for found in psutil.Process().net_connections("tcp")
        if found.laddr.port == reach.settings.port and found.raddr
    }


@asynccontextmanager
async def front_of(kind: str, reach: Reach, folder: Path) -> AsyncIterator[Front]:
    """Run a proxy of this kind, or none."""
    port = reach.settings.port
    if kind == "direct":
        yield Front(kind, port, reach)
    elif kind == "haproxy":
        try:
            binary()
        except NoHaproxy as reason:
            pytest.skip(str(reason))
        proxy = Haproxy(port)
        try:
            await asyncio.to_thread(proxy.start)
            yield Front(kind, proxy.port, reach)
        finally:
            proxy.close()
    else:
        try:
            traefik_binary()
        except NoTraefik as reason:
            pytest.skip(str(reason))
        async with running_edge(folder, (port, port), WIDE) as edge:
            yield Front(kind, edge.port, reach)


@pytest.fixture(scope="module", params=["direct", *PROXIES])
async def front(
    request: pytest.FixtureRequest, served: Reach, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    """Reach directly, and behind each proxy."""
    folder = tmp_path_factory.mktemp(request.param)
    async with front_of(request.param, served, folder) as found:
        yield found


async def test_people_sign_up(front: Front) -> None:
    """By the API and by the page's form."""
    async with front.client() as http:
        answer = await http.post("/v1/signups", json={"email": "a@example.com", "name": "Grace"})
        page = await http.get("/")
        form = await http.post("/", data={"email": "b@example.com", "name": "Grace"})
    assert [answer.status_code, page.status_code, form.status_code] == [202, 200, 303]
    assert all("x-request-id" in one.headers for one in (answer, page, form))


async def test_operators_read(front: Front) -> None:
    """With a key, and with a wrong one."""
    async with front.client() as http:
        good = await http.get("/v1/people", headers=await front.reach.key())
        bad = await http.get("/v1/people", headers={"Authorization": "Bearer nothing"})
    assert [good.status_code, bad.status_code] == [200, 401]


async def test_one_connection_is_used_for_much(front: Front) -> None:
    """Three hundred requests of one caller reach Reach by a few connections."""
    ports: set[int] = set()
    seen = front.request("/seen", "Accept: */*", method="GET")
    async with calling(front.port) as caller:
        for number in range(300):
            caller.send(seen)
            answer = await caller.answer()
            assert answer.status == 200, (number, answer)
            ports.add(json.loads(answer.body)["client"][1])
    assert len(ports) <= 3


async def test_a_thousand_requests_and_none_is_lost(front: Front) -> None:
    """POSTs, which no proxy may repeat, one after another."""
    post = front.request("/seen", JSON, "Content-Length: 2", body=b"{}")
    lost = []
    async with calling(front.port) as caller:
        for number in range(MANY):
            caller.send(post)
            answer = await caller.answer()
            if answer.status != 200:
                lost.append((number, answer.status))
    assert lost == []


@pytest.mark.parametrize("announced", [True, False])
async def test_a_large_body_is_a_413(front: Front, announced: bool) -> None:
    """Whether its length is told or not; who refuses it is another matter."""
    size = 70_000

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 1000):
            yield b"x" * 1000

    async with front.client() as http:
        headers = {"Content-Type": "application/json"}
        content = b"x" * size if announced else chunks()
        answer = await http.post("/v1/signups", content=content, headers=headers)
        assert answer.status_code == 413
        assert (await http.get("/")).status_code == 200


async def test_a_large_head_is_refused(front: Front) -> None:
    """By Reach with a 431; a proxy has a word of its own."""
    async with calling(front.port) as caller:
        caller.send(front.request("/", f"x: {'a' * 40_000}", method="GET"))
        answer = await caller.answer()
    assert answer.status in ({431} if front.kind == "direct" else {400, 431})


async def test_a_body_in_chunks_is_whole(front: Front) -> None:
    """And the fields behind it are nobody's headers."""
    chunked = (
        b"2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nAuthorization: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
    )
    async with calling(front.port) as caller:
        caller.send(front.request("/seen", JSON, CHUNKED, body=chunked))
        answer = await caller.answer()
    seen = json.loads(answer.body)
    assert (answer.status, seen["body"]) == (200, "hello")
    assert not [value for _, value in seen["headers"] if "1.2.3.4" in value or value == "x"]


async def test_head_has_no_body(front: Front) -> None:
    """And the connection goes on."""
    async with calling(front.port) as caller:
        caller.send(front.request("/", method="HEAD"))
        said = await caller.reader.readuntil(b"\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 200")
        caller.send(front.request("/seen", method="GET"))
        assert (await caller.answer()).status == 200


async def test_who_asks_first_is_told_to_go_on(front: Front) -> None:
    """``Expect: 100-continue``."""
    async with calling(front.port) as caller:
        caller.send(front.request("/seen", "Content-Length: 5", "Expect: 100-continue"))
        assert (await caller.answer()).status == 100
        caller.send(b"hello")
        answer = await caller.answer()
    assert (answer.status, json.loads(answer.body)["body"]) == (200, "hello")


async def test_who_asks_for_http_2_is_answered(front: Front) -> None:
    """Java's client does with every request; its body arrives."""
    async with calling(front.port) as caller:
        for _ in range(2):
            caller.send(front.request("/seen", *H2C, "Content-Length: 5", body=b"hello"))
            answer = await caller.answer()
            assert (answer.status, json.loads(answer.body)["body"]) == (200, "hello")


async def test_nobody_chooses_their_own_address(front: Front) -> None:
    """Who is asked for is who connected, whatever they say of themselves."""
    async with front.client() as http:
        answer = await http.get("/seen", headers={"X-Forwarded-For": "192.0.2.7, 10.0.0.1"})
    seen = answer.json()
    forwarded = [value for name, value in seen["headers"] if name == "x-forwarded-for"]
    if front.kind == "direct":
        assert seen["client"][0] == address_of(1)
    else:
        assert forwarded == [address_of(1)]
        clients = Clients(front.reach.settings.proxies)
        assert clients.of(seen["client"][0], forwarded) == address_of(1)


@pytest.mark.parametrize("kind", PROXIES)
async def test_a_connection_that_reach_ended_is_not_used_again(
    serving: Serving, kind: str, tmp_path: Path
) -> None:
    """It ends without a word, which a proxy hears: the next POST goes by another one."""
    reach = await serving(keep_alive_seconds=0.3)
    async with (
        front_of(kind, reach, tmp_path) as front,
        calling(front.port) as caller,
    ):
        for _ in range(3):
            caller.send(front.request("/seen", JSON, "Content-Length: 2", body=b"{}"))
            answer = await caller.answer()
            assert answer.status == 200, answer
            port = json.loads(answer.body)["client"][1]

            async def is_ended(port: int = port) -> bool:
                # Not in the loop: it takes long where there are many connections.
                return port not in await asyncio.to_thread(callers_of, reach)

            await eventually(is_ended, seconds=20, every=0.2)
