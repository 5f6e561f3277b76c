"""The chart's edge, read by a real Traefik from a cluster's API: requests do arrive.

The cluster's API is a stand-in (``tests/support/servers/kubernetes.py``): no kubelet and no cloud
ran here. Where a Service leads follows from the rendered Service and Deployment.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.deploy.chart import Manifest
from tests.support.deploy.clusters import Cluster, Pod, address_of, pod, release, running_cluster
from tests.support.deploy.edges import check_edge, sign_ups
from tests.support.http.clients import spoofs
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import running_api, worker
from tests.support.servers.mail import MailServer

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

KINDS = pytest.mark.parametrize("kind", ["ingressRoute", "ingress", "gateway"])
WIDE: dict[str, Any] = {"average": 0}


@asynccontextmanager
async def api_pod(settings: Settings, objects: list[Manifest], number: int) -> AsyncIterator[Pod]:
    """Run ``reach api`` on a pod's address."""
    address = address_of("api", number)
    async with running_api(settings.model_copy(update={"host": address})):
        yield pod(objects, "api", number, {8000: settings.port})


@KINDS
async def test_the_edge_is_sound(kind: str, behind: Settings) -> None:
    """It leads to Reach, by its name only, limits what strangers send, and shows nothing inside.

    Nor does a header help: at the edge and behind it one client counts as one.
    """
    port = free_port()
    objects = release(kind, port)
    settings = behind.model_copy(update={"limit_signups": "3/hour"})
    async with (
        api_pod(settings, objects, 1) as first,
        running_cluster(objects, first, port=port) as cluster,
    ):
        await check_edge(cluster.edge)
        counted = await sign_ups(cluster.edge, 30, 60, *spoofs(60))
        others = await sign_ups(cluster.edge, 31, 4)
    assert counted["reach", 202] == 3
    assert counted["edge", 429] > 20, counted
    assert others == {("reach", 202): 3, ("reach", 429): 1}


@KINDS
async def test_a_sign_up_arrives_and_pods_come_and_go(
    kind: str, behind: Settings, mail_server: MailServer
) -> None:
    """An email comes of it; traffic follows the pods, and no request is lost on the way."""
    port = free_port()
    objects = release(kind, port, limits={"signups": WIDE, "rest": WIDE})
    async with (
        api_pod(behind, objects, 1) as first,
        api_pod(behind, objects, 2) as second,
        worker(behind),
        running_cluster(objects, first, port=port) as cluster,
    ):
        async with cluster.edge.client(1) as http:
            answer = await http.post("/v1/signups", json=ADA)
        assert answer.status_code == 202
        await eventually(lambda: mail_server.recipients == [ADA["email"]], 30)
        async with traffic(cluster) as (told, serving):
            await eventually(lambda: serving() == {first.address}, 30, 0.1)
            cluster.run(first, second)
            await eventually(lambda: serving() == {first.address, second.address}, 30, 0.1)
            cluster.run(first.unready(), second)
            await eventually(lambda: serving() == {second.address}, 30, 0.1)
            cluster.run(second)
            await eventually(lambda: serving() == {second.address}, 30, 0.1)
        cluster.run(second.unready())
        assert await other_status(cluster) == 503, "it is not as if there were no such page"
    assert set(told) == {("GET", 200), ("POST", 202)}


async def other_status(cluster: Cluster) -> int:
    """Ask for a page until it is not simply shown, and say what is answered instead."""
    async with cluster.edge.client(1) as http:

        async def status() -> int:
            found = (await http.get("/docs")).status_code
            return 0 if found == httpx.codes.OK else found

        return await eventually(status, 30, 0.1)


@asynccontextmanager
async def traffic(
    cluster: Cluster,
) -> AsyncIterator[tuple[Counter[tuple[str, int]], Callable[[], set[str]]]]:
    """Look at the page and sign up, all the time; gives the answers, and who served the last."""
    told: Counter[tuple[str, int]] = Counter()

    async def call() -> None:
        async with cluster.edge.client(1) as http:
            while True:
                number = told.total()
                page = await http.get("/docs")
                told["GET", page.status_code] += 1
                body = {"email": f"grace{number}@example.com", "name": "Grace"}
                told["POST", (await http.post("/v1/signups", json=body)).status_code] += 1

    def serving() -> set[str]:
        return {line["ServiceAddr"].split(":")[0] for line in cluster.edge.traefik.accesses()[-6:]}

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        yield told, serving
        group.cancel_scope.cancel()
