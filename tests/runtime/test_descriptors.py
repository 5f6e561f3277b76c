"""Strangers hold all the connections that a process can afford; what it works with still works.

The process has so few descriptors that they can: all that is left is what is kept for databases,
Redis, mail servers and files.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path

import pytest

from reach.runtime.connections import FEWEST_CONNECTIONS, RESERVED_DESCRIPTORS
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.http.clients import HALF_A_BODY, HALF_A_HEAD
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, everything, running_api
from tests.support.servers.mail import MailServer

#: What the process may have open, and how many strangers come: more than that.
MOST = RESERVED_DESCRIPTORS + 2 * FEWEST_CONNECTIONS
STRANGERS = 2 * MOST
NEWCOMERS = 3
FEW = ("sh", "-c", f'ulimit -n {MOST} && exec "$0" "$@"')
ASKS_TO_GO_ON = (
    b"POST /v1/signups HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n"
)
WORDS = (b"", HALF_A_HEAD, HALF_A_BODY, ASKS_TO_GO_ON)


@contextmanager
def strangers(process: ReachProcess, port: int, *, at_once: bool) -> Iterator[None]:
    """Have so many connect and wait in all ways; ``at_once``: all before Reach looks at one."""
    with ExitStack() as stack:
        if at_once:
            process.pause()
        for words in islice(cycle(WORDS), STRANGERS):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            with suppress(ConnectionError):  # it has made room already
                one.sendall(words)
        if at_once:
            process.cont()
        yield


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
async def test_what_is_kept_for_the_rest_is_kept(
    make_settings: Callable[..., Settings],
    redis_url: str,
    mail_server: MailServer,
    tmp_path: Path,
    at_once: bool,
) -> None:
    """Probes, operators, people, database, Redis and mail server: nobody notices."""
    limits = dict.fromkeys(("limit_signups", "limit_api"), "1000/minute")
    settings = make_settings(
        redis_url=redis_url, smtp_url=mail_server.url, port=free_port(), **limits
    )
    async with running_api(settings, "up", wrapper=FEW) as process:
        key = {"Authorization": f"Bearer {(tmp_path / 'operator-key').read_text().strip()}"}
        with strangers(process, settings.port, at_once=at_once):
            for number in range(NEWCOMERS):
                body = {"email": f"p{number}@example.com", "name": "Ada"}
                # Each by a connection of its own.
                async with client(settings) as http:
                    assert (await http.get("/readyz")).status_code == 200
                async with client(settings) as http:
                    assert (await http.get("/v1/people", headers=key)).status_code == 200
                async with client(settings) as http:
                    assert (await http.post("/v1/signups", json=body)).status_code == 202
            await eventually(lambda: len(mail_server.messages) == NEWCOMERS)
        assert '"log.level":"info"' in everything(process)
        assert '"log.level":"warning"' not in everything(process)
        assert '"log.level":"error"' not in everything(process)
