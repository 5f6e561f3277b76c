"""What the README of Reach's Python client shows works."""

import asyncio
import re
import runpy
from pathlib import Path

import pytest

from reach_client.calls import Operation
from reach_client.client import Operations
from reach_client.keys import Audit, Keys
from reach_client.me import Me
from reach_client.messages import Messages
from reach_client.people import People
from reach_client.webhooks import Webhooks
from tests.support.clients import key_of
from tests.support.people import everybody
from tests.support.processes.reach import Reach
from tests.support.root import ROOT

README = (ROOT / "clients/python/README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `([^`]+)` \| (.*) \|$", re.MULTILINE)
GROUPS = {
    "reach": Operations,
    "reach.people": People,
    "reach.messages": Messages,
    "reach.keys": Keys,
    "reach.audit": Audit,
    "reach.webhooks": Webhooks,
    "reach.me(token)": Me,
}


async def test_its_examples_run(
    reach_on_sqlite: Reach,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One after the other, each a program of its own; and they do what they say."""
    key = await reach_on_sqlite.key()
    monkeypatch.setenv("REACH_API_URL", reach_on_sqlite.settings.origin)
    monkeypatch.setenv("REACH_API_KEY", key_of(key))
    for number, example in enumerate(EXAMPLES):
        path = tmp_path / f"example{number}.py"
        path.write_text(example, encoding="utf-8")
        await asyncio.to_thread(runpy.run_path, str(path))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "ada@example.com queued"
    assert "welcome" in printed[1]
    assert any(line.startswith("/name ") for line in printed), printed
    reach_on_sqlite.http.headers.update(key)
    names = [person["name"] for person in await everybody(reach_on_sqlite.http)]
    assert names == ["Edsger", "Alan Turing", "Grace Hopper", "Ada Lovelace"]


def test_it_lists_every_method() -> None:
    """In the order in which they are written."""
    listed = {group: re.findall(r"`(\w+)`", methods) for group, methods in ROW.findall(README)}
    assert listed == {
        name: [method for method, found in vars(group).items() if isinstance(found, Operation)]
        for name, group in GROUPS.items()
    }
