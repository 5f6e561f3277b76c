"""platform.sh, run with stand-ins for other people's programs, in a copy of what it needs."""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.support.deploy.chart import program
from tests.support.root import ROOT

STANDIN = ROOT / "deploy" / "tests" / "standin.py"
PROGRAMS = ("helm", "kubectl", "minikube", "kind", "docker", "make")
POLL_SECONDS = 0.02
KEY = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="


@dataclass(frozen=True)
class Call:
    """One call of a program."""

    program: str
    arguments: tuple[str, ...]
    given: str
    kubeconfig: str | None

    @property
    def words(self) -> str:
        """The call as it is typed, without its context."""
        skip = 2 if self.arguments[:1] in {("--context",), ("--kube-context",)} else 0
        return " ".join((self.program, *self.arguments[skip:]))

    def values(self) -> dict[str, Any]:
        """The values that helm would merge, the last file first beaten: top level keys only."""
        merged: dict[str, Any] = {}
        for flag, file in zip(self.arguments, self.arguments[1:], strict=False):
            if flag == "--values":
                text = self.given if file == "-" else Path(file).read_text(encoding="utf-8")
                merged = merge(merged, yaml.safe_load(text))
        return merged


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merge values as helm does: maps by key, everything else by the later."""
    both = dict(old)
    for key, value in new.items():
        before = both.get(key)
        is_map = isinstance(before, dict) and isinstance(value, dict)
        both[key] = merge(before, value) if is_map and before is not None else value
    return both


@dataclass
class Platform:
    """A copy of the repository's parts, a folder of stand-ins, and the cluster they know of."""

    folder: Path
    programs: tuple[str, ...] = PROGRAMS
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "deploy", self.root / "deploy")
        (self.folder / "bin").mkdir()
        self.write_state()
        kubectl, site = program("kubectl"), sysconfig.get_path("purelib")
        for name in self.programs:
            file = self.folder / "bin" / name
            parts = (sys.executable, "-I", "-S", STANDIN, name, self.folder, kubectl, site)
            told = " ".join(f"'{part}'" for part in parts)
            file.write_text(f'#!/bin/sh\nexec {told} "$@"\n', encoding="utf-8")
            file.chmod(0o755)

    @property
    def root(self) -> Path:
        """Where the copy is."""
        return self.folder / "reach"

    def write_state(self, **changes: Any) -> None:
        """Begin with a cluster that has nothing, but for ``changes``."""
        usual = {
            "objects": ["namespace/kube-system"], "ours": [], "contexts": [], "cluster": False,
            "server": "https://127.0.0.1:6443", "fails": "", "port": 0, "data": {},
        }  # fmt: skip
        (self.folder / "state.json").write_text(json.dumps(usual | changes), encoding="utf-8")

    def state(self) -> dict[str, Any]:
        """What the cluster holds."""
        found: dict[str, Any] = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        return found

    def calls(self) -> list[Call]:
        """Every call so far."""
        file = self.folder / "calls.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        read = [json.loads(line) for line in lines]
        return [Call(**{**one, "arguments": tuple(one["arguments"])}) for one in read]

    def run(self, verb: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run platform.sh, with nothing of ours on the PATH but the stand-ins."""
        tools = self.folder / "tools"
        if not tools.exists():
            tools.mkdir()
            for name in ("bash", "sed", "grep", "od", "tr", "mkdir", "rm", "cat", "curl", "base64",
                         "dirname", "mktemp", "sleep", "head", "env"):  # fmt: skip
                found = shutil.which(name)
                assert found, name
                (tools / name).symlink_to(found)
        return subprocess.run(
            [str(self.root / "deploy/platform/platform.sh"), verb],
            env={"PATH": f"{self.folder / 'bin'}:{tools}", "HOME": str(self.folder), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )


@contextmanager
def elastic(platform: Platform, authority: Path, certificate: ssl.SSLContext) -> Iterator[None]:
    """Stand where Elasticsearch and Kibana would, behind ``kubectl port-forward``, with TLS."""

    class Handler(BaseHTTPRequestHandler):
        """Gives keys, and says yes to everything else."""

        def do_PUT(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            """Say nothing: the test looks at what came."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode(errors="replace")
            is_key = self.path == "/_security/api_key"
            shown = json.loads(body)["name"] if is_key else self.path
            platform.asked.append((shown, self.headers["Authorization"]))
            answer = {"acknowledged": True, "success": True, "encoded": KEY}
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = certificate.wrap_socket(server.socket, server_side=True)
        data = dict.fromkeys(
            ("reach-es-http-certs-public", "reach-kb-http-certs-public"),
            authority.read_text(encoding="utf-8"),
        ) | {"reach-es-elastic-user": "hunter2"}
        platform.write_state(port=server.server_port, data=data)
        thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def environment() -> dict[str, str]:
    """What the real programs need, to be asked for their flags."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


PLATFORM = ROOT / "deploy" / "platform"


FILES = sorted(PLATFORM.glob("*.yaml"))


VERSIONS = dict(
    re.findall(r"^([A-Z_]+)=(\S+)$", (PLATFORM / "versions.sh").read_text(), re.MULTILINE)
)


MANIFESTS = (
    "database.yaml",
    "database-metrics.yaml",
    "mailpit.yaml",
    "elastic.yaml",
    "filebeat.yaml",
)


OBJECT = dict[str, Any]


def values(name: str) -> OBJECT:
    """Read a values file."""
    found: OBJECT = yaml.safe_load((PLATFORM / name).read_text(encoding="utf-8"))
    return found
