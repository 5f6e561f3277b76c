"""A server to load."""

from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread

import pytest

from tests.support.http.answering import Answering, Choose, Start


@pytest.fixture
def answering() -> Iterator[Start]:
    """Start a server that answers as it is told: its address, and what was asked of it so far."""
    with ExitStack() as stack:

        def start(choose: Choose) -> tuple[str, list[str]]:
            server = stack.enter_context(Answering(choose))
            thread = Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}", server.asked

        yield start
