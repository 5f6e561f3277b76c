"""What one client is admitted: what docs/guides/reverse-proxy.md says, of each kind of proxy.

Traefik counts for each router by itself, and forgets a client who asks for nothing for a while. So
limits here fill up again once an hour: what is counted does not depend on how fast a machine is.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from tests.support.clock import eventually
from tests.support.deploy.chart import Manifest
from tests.support.deploy.clusters import (
    KINDS,
    Cluster,
    Pod,
    address_of,
    pod,
    release,
    running_cluster,
)
from tests.support.deploy.edges import DYNAMIC, NAME, SIGN_UPS, Edge, running_edge, sign_up_limit
from tests.support.processes.ports import free_port
from tests.support.servers.echo import Gate, echo

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


KIND = pytest.mark.parametrize("kind", ["ingressRoute", "ingress", "gateway"])
OTHER_NAME = "other.example.com"
#: As docs/guides/reverse-proxy.md says.
FIGURES = {
    "public posts": 20,
    "the same client by another name": 0,
    "all else": 100,
    "posts after five looks at the form": 20,
    "under way": 50,
}
#: An Ingress's rule is for one name, and knows no methods.
OF_AN_INGRESS = {"the same client by another name": 20, "posts after five looks at the form": 15}
HOURLY = {"average": 1, "period": "1h"}
OTHER_SITE = """
http:
  routers: {other: {rule: Host(`other.example.com`), priority: 1, service: other}}
  services: {other: {loadBalancer: {servers: [{url: "http://127.0.0.1:9"}]}}}
"""


@asynccontextmanager
async def counting(kind: str, gate: Gate | None = None) -> AsyncIterator[tuple[Cluster, Pod]]:
    """Run a cluster of two names and one pod, whose limits are as shipped but fill up hourly."""
    port = free_port()
    limits = {"signups": HOURLY, "rest": HOURLY}
    objects = release(kind, port, hosts=[NAME, OTHER_NAME], limits=limits)
    async with echo(gate, address_of("api", 1)) as server:
        first = pod(objects, "api", 1, {8000: server})
        async with running_cluster(objects, first, port=port) as cluster:
            yield cluster, first


@KIND
async def test_one_client_has_one_limit_for_all_public_posts(kind: str) -> None:
    """And one for all else, and one for requests under way; another client has its own."""
    gate = Gate()
    async with counting(kind, gate) as (cluster, _):
        edge = cluster.edge

        async def look(first: int) -> dict[str, int]:
            posts = await admitted(edge, first, POSTS, 10)
            by_another_name = await admitted(edge, first, POSTS, 10, name=OTHER_NAME)
            others = await admitted(edge, first, OTHERS, 25)
            await admitted(edge, first + 1, [("GET", "/")], 5)
            after_looks = await admitted(edge, first + 1, POSTS, 10)
            together = await under_way(edge, first + 2, gate)
            counts = (posts, by_another_name, others, after_looks, together)
            return dict(zip(FIGURES, counts, strict=True))

        found = await undisturbed(edge, look)
    assert found == FIGURES | (OF_AN_INGRESS if kind == "ingress" else {})


@KIND
async def test_counts_are_forgotten_when_anything_changes(kind: str) -> None:
    """A pod more, or a route of somebody else's; what means nothing to Traefik changes nothing."""
    async with counting(kind) as (cluster, first), echo(host=address_of("api", 2)) as server:
        edge, kubernetes = cluster.edge, cluster.kubernetes
        assert await undisturbed(edge, partial(is_refused_after_a_note, cluster))
        await spend(edge, 1)
        cluster.run(first, pod(cluster.objects, "api", 2, {8000: server}))
        await eventually(lambda: is_admitted(edge, 1), 30, 0.1)
        await spend(edge, 1)
        kubernetes.apply(*somebody_elses())
        await eventually(lambda: is_admitted(edge, 1), 30, 0.1)


async def is_refused_after_a_note(cluster: Cluster, number: int) -> bool:
    """Whether nobody's note on the chart's objects lets a client in who has spent all."""
    await spend(cluster.edge, number)
    for one in cluster.objects:
        if one["kind"] in KINDS:
            changed = copy.deepcopy(one)
            changed["metadata"].setdefault("annotations", {})["example.com/note"] = str(number)
            cluster.kubernetes.apply(changed)
    return await is_refused_for(cluster.edge, number, 0.5)


def somebody_elses() -> Iterator[Manifest]:
    """Another site of the same Traefik, in a namespace of its own."""
    meta = {"name": "other", "namespace": "other"}
    port = {"name": "http", "port": 80, "protocol": "TCP"}
    backend = {"service": {"name": "other", "port": {"name": "http"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [port]}}
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": "other"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [port],
    }
    yield {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta,
        "spec": {
            "ingressClassName": "traefik",
            "rules": [{"host": "elsewhere.example.com", "http": {"paths": [path]}}],
        },
    }


async def test_one_machine_has_one_limit_too(tmp_path: Path) -> None:
    """The file says the same; a change of any file of the folder forgets the counts."""
    posts = FIGURES["public posts"]
    async with echo() as port, running_edge(tmp_path, (port, port), sign_up_limit(posts)) as edge:
        assert await undisturbed(edge, lambda first: admitted(edge, first, POSTS, 10)) == posts
        await spend(edge, 1)
        (tmp_path / DYNAMIC).with_name("other.yaml").write_text(OTHER_SITE, encoding="utf-8")
        await eventually(lambda: is_admitted(edge, 1), 30, 0.1)


async def test_who_is_silent_is_forgotten(tmp_path: Path) -> None:
    """The shipped limits are a bucket that is full again two seconds after the last request."""
    posts = FIGURES["public posts"]
    async with echo() as port, running_edge(tmp_path, (port, port)) as edge:
        assert await admitted(edge, 1, POSTS, 10) >= posts
        await anyio.sleep(2.5)  # silence is what is waited for: a question would end it
        assert await admitted(edge, 1, POSTS, 10) >= posts
