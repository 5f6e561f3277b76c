"""The garbage collector passes over what a process is made of."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from reach.settings import Settings
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, ended, sign_up
from tests.support.root import ROOT

MakeSettings = Callable[..., Settings]

#: At its end each process tells what it has kept out of collections, and what it has not.
TELL = """
import atexit, gc, json, os, pathlib, sys
def tell():
    told = {"kept": gc.get_freeze_count(), "others": len(gc.get_objects())}
    told["full"] = gc.get_stats()[2]["collections"]
    told["modules"] = sorted(sys.modules)
    (pathlib.Path(__file__).parent / f"{os.getpid()}.json").write_text(json.dumps(told))
atexit.register(tell)
"""
#: Of a process that serves; without it every full collection goes through more than that.
FEWEST_KEPT, MOST_OTHERS = 80_000, 20_000
#: What takes long to import, and much memory, and serves those alone who have a Postgres, a Redis,
#: a collector of traces, a key to sign by, or a schema that is not made yet.
FOR_OTHERS = {
    *("alembic", "asyncpg", "sqlalchemy.ext.asyncio", "sqlalchemy.orm"),
    *("cryptography", "dkim", "limits", "redis", "opentelemetry.sdk"),
}


@pytest.mark.parametrize(
    ("words", "processes"),
    [(("up",), 1), (("api",), 1), (("api", "--processes", "2"), 2), (("worker",), 1)],
    ids=["up", "api", "several", "worker"],
)
async def test_what_is_made_at_the_start_is_not_looked_at_again(
    words: tuple[str, ...],
    processes: int,
    make_settings: MakeSettings,
    sqlite: str,
    tmp_path: Path,
) -> None:
    """It never becomes garbage, and a request that met a full collection waited for 0.1 s.

    Nor while it is made, if it is the only one; and nothing is imported that only others need.
    """
    settings = make_settings(
        database_url=sqlite, port=free_port(), smtp_url="smtp://127.0.0.1:1", limit_signups="off"
    )
    folder = tmp_path / "told"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(TELL)
    path = f"{folder}:{ROOT / 'src'}"
    with ReachProcess(*words, settings=settings, environment={"PYTHONPATH": path}) as process:
        if words == ("worker",):
            process.wait_for("worker started")
        else:
            process.wait_ready(settings.port)
            async with client(settings) as http:
                for n in range(10):
                    answer = await sign_up(http, f"ada{n}")
                    assert answer.status_code == httpx.codes.ACCEPTED
        process.running.terminate()
        assert await ended(process, 20) == 0
    told = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    serving = [one for one in told if one["kept"] > FEWEST_KEPT]
    assert len(serving) == processes, told
    assert all(one["others"] < MOST_OTHERS for one in serving), told
    if processes == 1:  # of several, each is started by Python's multiprocessing
        assert serving[0]["full"] == 0
    assert [FOR_OTHERS.intersection(one["modules"]) for one in serving] == [set()] * processes
