"""The main job, through a real edge and two real APIs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.deploy.edges import layer, running_edge
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import running_api, worker
from tests.support.servers.mail import MailServer

MOST_BYTES, CHUNK = 64 * 1024, 1024


async def chunks(count: int) -> AsyncIterator[bytes]:
    """Send so many bytes without telling how many they will be."""
    for start in range(0, count, CHUNK):
        yield b"x" * min(CHUNK, count - start)


async def test_a_sign_up_passes_through_and_the_email_arrives(
    behind: Settings, mail_server: MailServer, tmp_path: Path
) -> None:
    """Who signs up through the proxy, by page or API, gets an email."""
    other = behind.model_copy(update={"port": free_port()})
    form = {"email": "grace@example.com", "name": "Grace"}
    async with (
        running_api(behind),
        running_api(other),
        worker(behind),
        running_edge(tmp_path, (behind.port, other.port)) as edge,
        edge.client(1) as http,
    ):
        answers = [await http.post("/v1/signups", json=ADA)]
        answers += [await http.post("/", data=form)]
        await eventually(lambda: len(mail_server.messages) == len(answers))
    assert [(layer(answer), answer.status_code) for answer in answers] == [
        ("reach", 202),
        ("reach", 303),
    ]
    assert sorted(mail_server.recipients) == [ADA["email"], form["email"]]
    assert not {"server", "x-powered-by"} & {name for a in answers for name in a.headers}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_large_body_is_refused_at_the_edge(behind: Settings, tmp_path: Path) -> None:
    """65,536 bytes reach Reach, one more does not, whether its length is told or not."""
    async with (
        running_api(behind),
        running_edge(tmp_path, (behind.port, behind.port)) as edge,
        edge.client(1) as http,
    ):
        answers = [
            await http.post("/v1/signups", content=content)
            for content in (
                b"x" * MOST_BYTES,
                b"x" * (MOST_BYTES + 1),
                chunks(MOST_BYTES),
                chunks(MOST_BYTES + 1),
            )
        ]
    assert [layer(answer) for answer in answers] == ["reach", "edge", "reach", "edge"]
    assert [answer.status_code for answer in answers[1::2]] == [413, 413]
