"""What strangers can write into the log by sending nonsense: nothing."""

import json
from collections.abc import Callable

from prometheus_client import REGISTRY

from reach.runtime.server import options
from tests.support.http import raw
from tests.support.processes.reach import Reach

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")


def unreadable() -> float:
    """How much that is no HTTP has come."""
    return REGISTRY.get_sample_value("reach_http_unreadable_requests_total") or 0


async def test_what_is_no_http_is_counted_not_listed(reach: Reach, told: Callable[[], str]) -> None:
    """A line each would fill a disk, and push the lines of others out."""
    before, heard = unreadable(), told()
    for _ in range(3):
        assert (await raw.exchange(reach.settings.port, b"canary\r\n\r\n")).status == 400
    assert unreadable() == before + 3
    assert told() == heard


async def test_who_asks_for_a_websocket_gets_http(reach: Reach, told: Callable[[], str]) -> None:
    """With one line, that of any request, whatever else is installed beside Reach."""
    heard, path = len(told()), "/livez?canary"
    answer = await raw.exchange(reach.settings.port, raw.request(path, *UPGRADE, method="GET"))
    assert answer.status == 200
    assert "x-request-id" in answer.headers
    (line,) = told()[heard:].splitlines()
    assert json.loads(line)["url"] == {"path": "/livez"}
    assert options(reach.settings)["ws"] == "none"
