"""A server that stands where Elasticsearch and Kibana would, and keeps what it was sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil

#: How soon the server ends when the test is over.
POLL_SECONDS = 0.02
ACKNOWLEDGED, IMPORTED = b'{"acknowledged":true}', b'{"successCount":8,"success":true}'


@dataclass(frozen=True)
class Request:
    """What came, and every process's arguments and curl's variables while it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    arguments: str
    variables: str


@dataclass
class Recorder:
    """The requests so far; ``answers`` are status and body by path, in place of the usual."""

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Method and path of each request, in order."""
        return [(request.method, request.path) for request in self.requests]


@contextmanager
def recording() -> Iterator[Recorder]:
    """Listen on loopback until the end of the ``with``."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        """Keeps a request and answers it."""

        def do_PUT(self) -> None:
            self._record()

        def do_POST(self) -> None:
            self._record()

        def log_message(self, *_: object) -> None:
            """Say nothing: the test looks at what came."""

        def _record(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            request = Request(self.command, self.path, headers, body, *processes())
            recorder.requests.append(request)
            usual = IMPORTED if "_import" in self.path else ACKNOWLEDGED
            status, answer = recorder.answers.get(self.path, (200, usual))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        recorder.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,))
        thread.start()
        try:
            yield recorder
        finally:
            server.shutdown()
            thread.join()


def processes() -> tuple[str, str]:
    """The arguments of every process of this machine, and the variables of each curl."""
    arguments, variables = [], []
    for process in psutil.process_iter(["cmdline", "name", "environ"]):
        arguments += [" ".join(process.info["cmdline"] or [])]
        if process.info["name"] == "curl":
            variables += [
                f"{name}={text}" for name, text in (process.info["environ"] or {}).items()
            ]
    return "\n".join(arguments), "\n".join(variables)
