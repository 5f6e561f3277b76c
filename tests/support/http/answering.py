"""A server that answers as it is told to, well or not."""

import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

#: The status of an answer, by how many came before it.
Choose = Callable[[int], int]
#: Starts one: its address, and what it was asked so far.
Start = Callable[[Choose], tuple[str, list[str]]]


class Answering(ThreadingHTTPServer):
    """The server: it keeps what it was asked, and counts."""

    daemon_threads = True

    def __init__(self, choose: Choose) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.choose = choose
        self.asked: list[str] = []
        self.lock = Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that left while it was answered: wrk does so at its end."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Head and body in one write: else Nagle's algorithm has the body wait for 40 ms.
    wbufsize = -1
    server: Answering

    def do_GET(self) -> None:
        """Note the path."""
        self.answer(self.path)

    def do_POST(self) -> None:
        """Note the body."""
        self.answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def answer(self, what: str) -> None:
        """Answer with the status that is due, in chunks below ``/chunked``."""
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append(what)
        self.send_response(self.server.choose(number))
        if what.startswith("/chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"1\r\na\r\n")
            self.wfile.flush()
            self.wfile.write(b"2\r\nbc\r\n0\r\n\r\n")
            return
        body = b'{"title": "so it is"}'
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
