"""The edge's log tells what was done and how long it took, and of nobody."""

from pathlib import Path

import pytest

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.deploy.edges import address_of, running_edge, sign_up_limit
from tests.support.processes.ports import free_port
from tests.support.processes.running import running_api

CLIENT = 77
KEPT = {
    *("StartUTC", "entryPointName", "RouterName", "ServiceName", "ServiceAddr", "RequestMethod"),
    *("RequestProtocol", "RequestContentSize", "DownstreamStatus", "DownstreamContentSize"),
    *("OriginStatus", "Duration", "OriginDuration", "Overhead", "RetryAttempts"),
}
#: What Traefik adds by itself.
FRAME = {"level", "msg", "time"}
CANARY = "canary-5f3a"
CARRIERS = ("User-Agent", "Referer", "Cookie", "Authorization", "X-Forwarded-For", "X_Y")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_log_holds_no_address_and_no_query(behind: Settings, tmp_path: Path) -> None:
    """Nothing that a request carries is in the log, whether it is served, refused or lost."""
    headers = dict.fromkeys(CARRIERS, CANARY)
    query = {"token": CANARY}
    body = {"email": f"{CANARY}@example.com", "name": CANARY}
    servers = (behind.port, free_port())
    async with running_api(behind), running_edge(tmp_path, servers, sign_up_limit(2)) as edge:
        async with edge.client(CLIENT) as http:
            sent = [
                await http.get(f"/{CANARY}", params=query, headers=headers),
                await http.get("/livez", params=query, headers=headers),
                await http.post("/v1/signups", json=body, headers=headers),
                *[
                    await http.post("/v1/signups", json=body, params=query, headers=headers)
                    for _ in range(3)
                ],
                await http.post("/", content=CANARY * 10_000, headers=headers),
                await http.get("/", params=query, headers={**headers, "Host": CANARY}),
                await http.get(f"/{CANARY}%2f", params=query, headers=headers),
            ]
        await eventually(lambda: len(edge.traefik.accesses()) >= len(sent) - 1)
        lines, output = edge.traefik.accesses(), edge.traefik.output
    assert {404, 202, 429} <= {line["DownstreamStatus"] for line in lines}
    assert [set(line) - KEPT - FRAME for line in lines] == [set()] * len(lines)
    assert CANARY not in output
    assert address_of(CLIENT) not in output
