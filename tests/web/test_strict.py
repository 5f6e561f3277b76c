"""The document is as strict as the service: Schemathesis believes it, and finds nothing.

It sends what the document admits, which must be accepted, and what it does not, which must be
refused; and holds each answer against the document: its status, headers, type and body. All its
checks are on, but for one that ``hooks`` narrows and says why. More than 2,500 requests, the same
each time, cost 40 s of processor time, most of them Schemathesis's own, which makes them.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from reach.settings import Settings
from tests.support.http.document import SIGNED
from tests.support.processes.commands import api_process, environment_of
from tests.support.processes.ports import free_port
from tests.support.root import ROOT

#: Two runs, on a machine that has other work too.
pytestmark = pytest.mark.timeout(900)

#: Hypothesis keeps what it found in a folder, and makes failures small at the price of many
#: requests: neither is wanted here. A new failure is found again with ``st run`` by hand.
CONFIGURATION = """
hooks = "tests.support.http.hooks"
continue-on-failure = true
# That requests are made slowly says that the machine has other work.
suppress-health-check = ["too_slow"]
[generation]
database = "none"
deterministic = true
no-shrink = true
[checks.positive_data_acceptance]
# In its place is ``hooks.what_is_by_the_document_is_accepted``, the same but for what JSON Schema
# cannot say.
enabled = false
"""
#: What each run sends at least: one that sends little would find nothing.
FEWEST = {"operator": 1500, "stranger": 350}
#: There is none, without REACH_ALTCHA; a change of address needs the link in an email about it (see
#: tests/people/test_move.py), and what providers report needs their signature (tests/reports).
NEVER = {("GET", "/v1/challenge"), ("POST", "/v1/me/email/confirmation"), ("POST", SIGNED)}


@pytest.fixture
def served(sqlite: str, make_settings: Callable[..., Settings]) -> Iterator[Settings]:
    """Reach with no limits, in a process of its own, so that it answers while this one waits."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = make_settings(database_url=sqlite, port=port, public_url=url, log_level="warning")
    with api_process(settings):
        yield settings


def schemathesis(settings: Settings, folder: Path, caller: str, *options: str) -> Counter[str]:
    """Let Schemathesis loose on Reach; gives the answers there were: ``GET /v1/people 200``.

    Fails with all it has to say if it finds anything. It asks nobody but Reach.
    """
    (folder / "schemathesis.toml").write_text(CONFIGURATION, encoding="utf-8")
    seen = folder / "seen.txt"
    seen.touch()
    environment = {
        **os.environ,
        **environment_of(settings),
        "PYTHONPATH": str(ROOT),
        "STRICT_CALLER": caller,
        "STRICT_SEEN": str(seen),
    }
    program = str(Path(sys.executable).with_name("st"))
    command = [program, "--config-file", "schemathesis.toml", "--no-color", "run", *options]
    ended = subprocess.run(
        [*command, f"{settings.public_url}/openapi.json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = Counter(seen.read_text(encoding="utf-8").splitlines())
    assert found.total() >= FEWEST[caller], ended.stdout
    return found


def operations(settings: Settings) -> Mapping[tuple[str, str], dict[str, Any]]:
    """Every operation of the document, by method and path."""
    answer = httpx.get(f"{settings.public_url}/openapi.json", trust_env=False)
    paths: dict[str, dict[str, Any]] = json.loads(answer.text)["paths"]
    return {
        (method.upper(), path): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def test_an_operator_and_people_with_links_find_no_lie(served: Settings, tmp_path: Path) -> None:
    """All phases, by those who may do all; and of each operation there was a success."""
    seen = schemathesis(served, tmp_path, "operator", "--max-examples", "8")
    for (method, path), operation in operations(served).items():
        succeeded = {f"{method} {path} {s}" for s in operation["responses"] if s < "400"}
        assert bool(succeeded & set(seen)) is ((method, path) not in NEVER), (method, path)


def test_a_stranger_finds_no_lie(served: Settings, tmp_path: Path) -> None:
    """All phases, by those who have no key: they get in nowhere but where all may.

    Only with requests that are as documented: what is wrong with others nobody looks at before
    the key, and where none is needed, the operator has sent them.
    """
    seen = schemathesis(served, tmp_path, "stranger", "--max-examples", "5", "--mode", "positive")
    for (method, path), operation in operations(served).items():
        statuses = {s for s in operation["responses"] if f"{method} {path} {s}" in seen}
        assert statuses
        if "security" in operation:
            assert statuses == {"401"}, (method, path)
