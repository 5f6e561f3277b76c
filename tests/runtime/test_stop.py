"""A process that is to stop does not wait for callers who have not said what they want."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

from reach.settings import Settings
from tests.support.http import raw
from tests.support.http.clients import JSON, LIVEZ
from tests.support.processes.commands import api_process
from tests.support.processes.ports import free_port

GRACE_SECONDS = 20
HALF = raw.request("/v1/signups", JSON, "Content-Length: 100", body=b"{")
ON_REQUEST = raw.request("/v1/signups", JSON, "Content-Length: 100", "Expect: 100-continue")


def test_a_stop_does_not_wait_for_half_a_request(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """Half a head, half a body, nothing: it ends long before the grace time is over."""
    settings = make_settings(database_url=sqlite, port=free_port(), grace_seconds=GRACE_SECONDS)
    halves = [b"", LIVEZ[:-2], HALF, ON_REQUEST + b"{"]
    with api_process(settings) as process, ExitStack() as stack:
        callers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", settings.port)))
            for _ in halves
        ]
        for caller, half in zip(callers, halves, strict=True):
            caller.sendall(half)
        assert callers[3].recv(100).startswith(b"HTTP/1.1 100")  # so all of it was read
        began = time.monotonic()
        assert process.stop(3 * GRACE_SECONDS) == 0
        assert time.monotonic() - began < GRACE_SECONDS
        assert '"error"' not in process.output
