"""A server that answers as it is told to, well or not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import pytest

#: The status of an answer, by how many came before it.
Choose = Callable[[int], int]


@pytest.fixture
def answering() -> Iterator[Callable[[Choose], tuple[str, list[str]]]]:
    """Start such a server: its address, and what was asked of it so far."""
    with ExitStack() as stack:
        yield lambda choose: stack.enter_context(_answering(choose))


@contextmanager
def _answering(choose: Choose) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one write: else Nagle's algorithm has the body wait for 40 ms.
        wbufsize = -1

        def do_GET(self) -> None:
            self._answer(self.path)

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

        def _answer(self, what: str) -> None:
            with lock:
                number = len(asked)
                asked.append(what)
            body = b'{"title": "so it is"}'
            self.send_response(choose(number))
            if what.startswith("/chunked"):
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"1\r\na\r\n")
                self.wfile.flush()
                self.wfile.write(b"2\r\nbc\r\n0\r\n\r\n")
                return
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
