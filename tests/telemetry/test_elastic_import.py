"""import.sh, against a server that records what it is sent."""

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.support.processes.ports import free_port
from tests.support.root import ROOT
from tests.support.telemetry.elastic import ELASTIC

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


pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")

SECRET = "VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw"
ENCODED = base64.b64encode(SECRET.encode()).decode()
STEPS = [
    ("PUT", "/_ilm/policy/reach-logs"),
    ("PUT", "/_index_template/reach-logs"),
    ("POST", "/api/saved_objects/_import?overwrite=true"),
]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Stand where Elasticsearch and Kibana would."""
    with recording() as running:
        yield running


def import_all(url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script from elsewhere, with these variables beside the two addresses."""
    environment = {
        "PATH": os.environ["PATH"],
        "ELASTICSEARCH_URL": url,
        "KIBANA_URL": url,
        "no_proxy": "*",
        **variables,
    }
    return subprocess.run(
        [str(ELASTIC / "import.sh")],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_everything_is_sent_in_order(recorder: Recorder) -> None:
    """The policy, the template that names it, then what Kibana shows: each file as it is."""
    done = import_all(f"{recorder.url}/", ELASTIC_API_KEY=ENCODED)
    assert (done.returncode, done.stderr) == (0, "")
    assert recorder.asked == STEPS
    policy, template, saved = recorder.requests
    assert policy.body == (ELASTIC / "ilm-policy.json").read_bytes()
    assert template.body == (ELASTIC / "index-template.json").read_bytes()
    assert policy.headers["content-type"] == template.headers["content-type"] == "application/json"
    assert saved.headers["kbn-xsrf"]
    assert saved.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="file"; filename="kibana.ndjson"' in saved.body
    assert (ELASTIC / "kibana.ndjson").read_bytes() in saved.body
    assert {request.headers["authorization"] for request in recorder.requests} == {
        f"ApiKey {ENCODED}"
    }


def test_it_can_be_run_again_and_for_a_space(recorder: Recorder) -> None:
    """A second run does the same; a space of Kibana's is part of its address."""
    for _ in range(2):
        done = import_all(
            recorder.url, KIBANA_URL=f"{recorder.url}/s/reach", ELASTIC_API_KEY=ENCODED
        )
        assert done.returncode == 0, done.stderr
    assert recorder.asked == [*STEPS[:2], ("POST", f"/s/reach{STEPS[2][1]}")] * 2


@pytest.mark.parametrize("given", [SECRET, ENCODED], ids=["pair", "encoded"])
@pytest.mark.parametrize("is_file", [False, True], ids=["variable", "file"])
def test_no_process_shows_the_key(
    recorder: Recorder, tmp_path: Path, given: str, *, is_file: bool
) -> None:
    """In either form, of a variable or a file: it is in no arguments, nor in curl's variables."""
    file = tmp_path / "key"
    file.write_text(f"{given}\n", encoding="utf-8")
    variables = {"ELASTIC_API_KEY_FILE": str(file)} if is_file else {"ELASTIC_API_KEY": given}
    done = import_all(recorder.url, **variables)
    assert done.returncode == 0, done.stderr
    for request in recorder.requests:
        assert request.headers["authorization"] == f"ApiKey {ENCODED}"
        assert "curl --config - --silent" in request.arguments
        assert "ELASTICSEARCH_URL=" in request.variables
        for secret in (SECRET, ENCODED):
            assert secret not in request.arguments + request.variables + done.stdout


@pytest.mark.parametrize(
    ("step", "status", "answer", "said"),
    [
        (0, 403, b'{"error":"no manage_ilm"}', "lifecycle policy: PUT {url} said 403"),
        (1, 400, b'{"error":"bad mapping"}', "index template: PUT {url} said 400"),
        (1, 200, b'{"acknowledged": false}', "index template: PUT {url} did not do it"),
        (2, 302, b"elsewhere", "saved objects: POST {url} said 302"),
        (2, 401, b'{"message":"who?"}', "saved objects: POST {url} said 401"),
        (2, 200, b'{"success":false,"errors":[]}', "saved objects: POST {url} did not do it"),
    ],
)
def test_the_first_failure_is_the_last_step(
    recorder: Recorder, step: int, status: int, answer: bytes, said: str
) -> None:
    """It ends there, and says what failed and what the server said about it; not the key."""
    recorder.answers[STEPS[step][1]] = (status, answer)
    done = import_all(recorder.url, ELASTIC_API_KEY=ENCODED)
    assert done.returncode == 1
    assert recorder.asked == STEPS[: step + 1]
    (line,) = done.stderr.splitlines()
    expected = said.format(url=f"{recorder.url}{STEPS[step][1]}")
    assert line == f"import.sh: {expected}: {answer.decode()}"
    assert done.stdout.count("done") == step


def test_a_server_that_is_not_there_is_named() -> None:
    """Curl's own words, then which step it was."""
    done = import_all(f"http://127.0.0.1:{free_port()}", ELASTIC_API_KEY=ENCODED)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("curl: (7)")
    assert "import.sh: lifecycle policy: no answer from PUT http://127.0.0.1" in done.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ELASTICSEARCH_URL": ""}, "set ELASTICSEARCH_URL"),
        ({"KIBANA_URL": ""}, "set KIBANA_URL"),
        ({"ELASTIC_API_KEY": ""}, "set ELASTIC_API_KEY_FILE"),
        ({"ELASTIC_API_KEY_FILE": "/nowhere"}, "not both"),
        ({"ELASTIC_API_KEY": "", "ELASTIC_API_KEY_FILE": "/nowhere"}, "cannot read /nowhere"),
        ({"ELASTIC_API_KEY": 'x"\nurl = "http://elsewhere'}, "characters that no API key has"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_sent(
    recorder: Recorder, variables: dict[str, str], said: str
) -> None:
    """One line, and no request."""
    done = import_all(recorder.url, **{"ELASTIC_API_KEY": ENCODED, **variables})
    assert (done.returncode, done.stdout, recorder.requests) == (1, "", [])
    (line,) = done.stderr.splitlines()
    assert line.startswith("import.sh: ")
    assert said in line
    assert ENCODED not in line


def test_every_variable_is_documented() -> None:
    """docs/guides/elastic.md names what the script reads."""
    documented = (ROOT / "docs" / "guides" / "elastic.md").read_text(encoding="utf-8")
    for name in ("ELASTICSEARCH_URL", "KIBANA_URL", "ELASTIC_API_KEY", "ELASTIC_API_KEY_FILE"):
        assert name in documented
