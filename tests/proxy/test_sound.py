"""``check_edge`` says yes to the shipped edge, and no to each way in which it goes wrong."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reach.settings import Settings
from tests.support.deploy.edges import (
    DYNAMIC,
    Change,
    Edge,
    UnsoundEdgeError,
    check_edge,
    running_edge,
)
from tests.support.processes.ports import free_port
from tests.support.processes.running import running_api

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

#: A rule made longer, as a site's own exception would, and no priorities: the longest rule wins.
BY_LENGTH = [
    Change(DYNAMIC, "      priority: 200\n", ""),
    Change(DYNAMIC, "      priority: 100\n", ""),
    Change(
        DYNAMIC,
        "!PathRegexp(`(?i)^/(mailbox|metrics|livez|readyz)(/|$)`)",
        "!PathRegexp(`(?i)^/(mailbox|metrics|livez|readyz)(/|$)`) && "
        "!PathPrefix(`/what-this-site-serves-by-itself-and-by-no-means-by-reach`)",
    ),
]
FAULTS: dict[str, tuple[Sequence[Change], str]] = {
    "the host of another site": (
        [Change(DYNAMIC, "Host(`signup.example.com`)", "Host(`other.example.com`)", 2)],
        "does not lead to Reach: 404",
    ),
    "any host": (
        [Change(DYNAMIC, "Host(`signup.example.com`)", "PathPrefix(`/`)", 2)],
        "by any name",
    ),
    "sign-ups without their limiter": (
        [Change(DYNAMIC, "headers, signups-rate, in-flight", "headers, in-flight")],
        "POST / has no limit",
    ),
    "a path of sign-ups left to the others": (
        [Change(DYNAMIC, " || Path(`/v1/links`)", "")],
        "POST /v1/links has no limit",
    ),
    "the others without their limiter": (
        [Change(DYNAMIC, "headers, rest-rate, in-flight", "headers, in-flight")],
        "GET / has no limit",
    ),
    "priorities by the length of the rule": (BY_LENGTH, "POST / has no limit"),
    "the inside open to the world": ([Change(DYNAMIC, "livez|readyz", "livez")], "shows /readyz"),
    "bodies of any size": (
        [Change(DYNAMIC, "maxRequestBodyBytes: 65536", "maxRequestBodyBytes: 6553600", 2)],
        "lets large bodies in",
    ),
}


async def test_the_shipped_edge_is_sound(behind: Settings, tmp_path: Path) -> None:
    """The shipped files, with nothing but their ports changed, pass."""
    async with running_api(behind), running_edge(tmp_path, (behind.port, behind.port)) as edge:
        await check_edge(edge)


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_unsound_edge_is_found_out(fault: str, behind: Settings, tmp_path: Path) -> None:
    """Each fault makes the check fail, and say which it is."""
    changes, complaint = FAULTS[fault]
    async with (
        running_api(behind),
        running_edge(tmp_path, (behind.port, behind.port), changes) as edge,
    ):
        with pytest.raises(UnsoundEdgeError, match=complaint):
            await check_edge(edge)


async def test_a_wrong_port_is_found_out(behind: Settings, tmp_path: Path) -> None:
    """An edge that looks for Reach at the wrong port fails; so does one asked for at another."""
    async with running_api(behind), running_edge(tmp_path, (free_port(), free_port())) as edge:
        with pytest.raises(UnsoundEdgeError, match="does not lead to Reach: 50"):
            await check_edge(edge)
        with pytest.raises(UnsoundEdgeError, match="no answer"):
            await check_edge(Edge(free_port(), edge.traefik))
