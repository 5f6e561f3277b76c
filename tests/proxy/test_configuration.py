"""The shipped files, as they are written and as Traefik understood them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deploy.edges import (
    DYNAMIC,
    SHIPPED,
    STATIC,
    Change,
    Edge,
    changed,
    routers,
    running_edge,
)
from tests.support.processes.ports import free_port
from tests.support.root import ROOT

DOCUMENTED = ROOT / "docs" / "guides" / "reverse-proxy.md"
NEEDED = {"headers", "ratelimit", "inflightreq", "buffering", "retry"}


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """Run the shipped files, with no Reach behind them."""
    async with running_edge(tmp_path, (free_port(), free_port())) as running:
        yield running


def ours(edge: Edge, kind: str) -> dict[str, dict[str, Any]]:
    """List what the file provider brought, by name."""
    found = edge.traefik.told(f"http/{kind}")
    return {
        item["name"].removesuffix("@file"): item for item in found if item["provider"] == "file"
    }


async def test_every_router_has_a_priority_and_its_middlewares(edge: Edge) -> None:
    """No router's rank depends on the length of its rule, and none is without any guard."""
    written = routers((SHIPPED / DYNAMIC).read_text(encoding="utf-8"))
    understood = ours(edge, "routers")
    types = {name: item["type"] for name, item in ours(edge, "middlewares").items()}
    assert written.keys() == understood.keys() == {"signups", "rest"}
    for name, text in written.items():
        assert text.count("\n      priority: ") == 1, name
        used = [word.removesuffix("@file") for word in understood[name]["middlewares"]]
        assert {types[word] for word in used} == NEEDED, name
    assert understood["signups"]["priority"] > understood["rest"]["priority"]
    assert understood["signups"]["middlewares"] != understood["rest"]["middlewares"]


async def test_traefik_has_no_complaint(edge: Edge) -> None:
    """Everything in the files is known to Traefik, in use, and without an error or a warning."""
    for kind in ("routers", "middlewares", "services"):
        for name, item in ours(edge, kind).items():
            assert (item["status"], item.get("error")) == ("enabled", None), name
            assert kind == "routers" or item["usedBy"], name
    assert '"level":"error"' not in edge.traefik.output
    assert '"level":"warn"' not in edge.traefik.output


async def test_each_client_is_one_ipv6_network(edge: Edge) -> None:
    """Whatever counts by client counts an IPv6 subscriber's whole /64 as one."""
    by_client = [
        item.get("rateLimit") or item["inFlightReq"]
        for item in ours(edge, "middlewares").values()
        if item["type"] in {"ratelimit", "inflightreq"}
    ]
    assert [item["sourceCriterion"]["ipStrategy"] for item in by_client] == [{"ipv6Subnet": 64}] * 3
    assert not any("redis" in item for item in by_client), "it answers 500 without Redis"


async def test_the_entry_points_are_guarded(edge: Edge) -> None:
    """Aliases of headers are dropped, nobody is trusted, and slow clients have an end."""
    points = {point["name"]: point for point in edge.traefik.told("entrypoints")}
    assert points.keys() == {"web", "traefik"}
    for point in points.values():
        assert point["http"]["aliasHeadersStrategy"] == "delete"
        assert point["forwardedHeaders"] == {}
    timeouts = points["web"]["transport"]["respondingTimeouts"]
    assert timeouts == {"readTimeout": "30s", "writeTimeout": "1m5s", "idleTimeout": "1m0s"}


def test_nothing_is_told_to_others() -> None:
    """Traefik neither counts for its makers nor asks them for news."""
    text = (SHIPPED / STATIC).read_text(encoding="utf-8")
    assert "  checkNewVersion: false\n  sendAnonymousUsage: false\n" in text


def test_what_a_site_changes_is_documented() -> None:
    """Each setting that is marked ADAPT is named in docs/guides/reverse-proxy.md."""
    page = DOCUMENTED.read_text(encoding="utf-8")
    for file in (STATIC, DYNAMIC):
        for line in (SHIPPED / file).read_text(encoding="utf-8").splitlines():
            if "# ADAPT" in line:
                name = line.replace("#tls#", "").strip().removeprefix("- ").split(":")[0]
                assert f"`{name}`" in page, line


def test_a_change_that_finds_nothing_fails() -> None:
    """A test that changes what the files do not say is a test of something else."""
    with pytest.raises(AssertionError, match="0 times"):
        changed("burst: 20", Change(DYNAMIC, "burst: 30", "burst: 1"))
    with pytest.raises(AssertionError, match="2 times"):
        changed("burst: 20, burst: 20", Change(DYNAMIC, "burst: 20", "burst: 1"))
