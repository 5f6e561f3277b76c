"""What one client is admitted, counted: the figures of docs/edge.md, for each way to be an edge.

Traefik counts for each router by itself, and forgets a client who asks for nothing for a while. So
limits here fill up again once an hour: what is counted does not depend on how fast a machine is.
"""

import copy
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.chart.rendered import Manifest
from tests.edge.clusters import KINDS, Cluster, release, running_cluster
from tests.edge.configured import DYNAMIC, NAME, door_limit
from tests.edge.counted import OTHERS, POSTS, admitted, admitted_again, refused_for
from tests.edge.echo import Gate, echo
from tests.edge.edges import Edge, running_edge
from tests.edge.pods import Pod, address_of, pod
from tests.eventually import eventually
from tests.servers.ports import free_port

KIND = pytest.mark.parametrize("kind", ["ingressRoute", "ingress", "gateway"])
OTHER_NAME = "other.example.com"
#: As docs/edge.md says.
POSTS_AT_ONCE, OTHERS_AT_ONCE, UNDER_WAY = 20, 100, 50
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
    limits = {"door": HOURLY, "rest": HOURLY}
    objects = release(kind, port, hosts=[NAME, OTHER_NAME], limits=limits)
    async with echo(gate, address_of("api", 1)) as server:
        first = pod(objects, "api", 1, {8000: server})
        async with running_cluster(objects, first, port=port) as cluster:
            yield cluster, first


@KIND
async def test_one_client_has_one_limit_for_all_public_posts(kind: str) -> None:
    """And one for all else; another client has its own, and so may have another name."""
    async with counting(kind) as (cluster, _):
        edge = cluster.edge
        assert await admitted(edge, 1, POSTS, 10) == POSTS_AT_ONCE
        assert await admitted(edge, 2, POSTS, 10) == POSTS_AT_ONCE
        # Each rule of an Ingress is for one name, and each router for one rule.
        by_another_name = POSTS_AT_ONCE if kind == "ingress" else 0
        assert await admitted(edge, 1, POSTS, 10, name=OTHER_NAME) == by_another_name
        assert await admitted(edge, 1, OTHERS, 40) == OTHERS_AT_ONCE, "posts are not others"
        # An Ingress knows no methods: who looks at the form has asked for one of the posts.
        assert await admitted(edge, 3, [("GET", "/")], 5) == 5
        looks = 5 if kind == "ingress" else 0
        assert await admitted(edge, 3, POSTS, 10) == POSTS_AT_ONCE - looks


@KIND
async def test_one_client_has_so_many_requests_under_way(kind: str) -> None:
    """Whichever paths they are for; the others are refused at once."""
    gate = Gate()
    async with counting(kind, gate) as (cluster, _):
        gate.shut()
        async with cluster.edge.client(1) as http, anyio.create_task_group() as group:
            for _ in range(16):
                for call in OTHERS:
                    group.start_soon(http.request, *call)
            try:
                await eventually(lambda: gate.waiting + refusals(cluster.edge) == 80, 30)
                assert gate.waiting == UNDER_WAY
            finally:
                gate.open()


def refusals(edge: Edge) -> int:
    """Count those in its log."""
    return [line["DownstreamStatus"] for line in edge.traefik.accesses()].count(429)


@KIND
async def test_counts_are_forgotten_when_anything_changes(kind: str) -> None:
    """A pod more, or a route of somebody else's; what means nothing to Traefik changes nothing."""
    async with counting(kind) as (cluster, first), echo(host=address_of("api", 2)) as server:
        edge, kubernetes = cluster.edge, cluster.kubernetes
        assert await admitted(edge, 1, POSTS, 10) == POSTS_AT_ONCE
        kubernetes.apply(*(noted(one) for one in cluster.objects if one["kind"] in KINDS))
        assert await refused_for(edge, 1, 0.5)
        cluster.run(first, pod(cluster.objects, "api", 2, {8000: server}))
        assert await admitted_again(edge, 1, POSTS, 10) == POSTS_AT_ONCE
        kubernetes.apply(*somebody_elses())
        assert await admitted_again(edge, 1, POSTS, 10) == POSTS_AT_ONCE


def noted(thing: Manifest) -> Manifest:
    """It, with a note that nothing reads."""
    changed = copy.deepcopy(thing)
    changed["metadata"].setdefault("annotations", {})["example.com/note"] = "none"
    return changed


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
    changes = door_limit(POSTS_AT_ONCE)
    async with echo() as port, running_edge(tmp_path, (port, port), changes) as edge:
        assert await admitted(edge, 1, POSTS, 10) == POSTS_AT_ONCE
        (tmp_path / DYNAMIC).with_name("other.yaml").write_text(OTHER_SITE, encoding="utf-8")
        assert await admitted_again(edge, 1, POSTS, 10) == POSTS_AT_ONCE


async def test_who_is_silent_is_forgotten(tmp_path: Path) -> None:
    """The shipped limits are a bucket that is full again two seconds after the last request."""
    async with echo() as port, running_edge(tmp_path, (port, port)) as edge:
        assert await admitted(edge, 1, POSTS, 10) >= POSTS_AT_ONCE
        await anyio.sleep(2.5)  # silence is what is waited for: a question would end it
        assert await admitted(edge, 1, POSTS, 10) >= POSTS_AT_ONCE
