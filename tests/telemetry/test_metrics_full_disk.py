"""A disk that is full, or gets full, costs metrics, and neither a process nor a sign-up."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reach.settings import Settings
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, everything, said
from tests.support.telemetry.metrics import port_of, scrape

#: Mounts a disk of so many kilobytes at $TMPDIR, for one program and those that it starts.
SMALL_DISK = (
    "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
    'mount -t tmpfs -o size="$KILOBYTES"k tmpfs "$TMPDIR" && exec "$@"', "sh",
)  # fmt: skip
SIGN_UPS = 10


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where a small disk can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    given = {"TMPDIR": str(place), "KILOBYTES": "100", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([*SMALL_DISK, "true"], env=given, check=False).returncode:
        pytest.skip("no disk can be mounted here: it takes unshare, and user namespaces")
    return place


@pytest.mark.parametrize("kilobytes", [100, 6_000], ids=["at once", "after the first process"])
async def test_a_full_disk_stops_no_process(
    make_settings: Callable[..., Settings], sqlite: str, disk: Path, kilobytes: int
) -> None:
    """A process without room says so once, and serves; what others have counted is still shown."""
    asked = make_settings(database_url=sqlite, port=free_port(), processes=2)
    small = {"TMPDIR": str(disk), "KILOBYTES": str(kilobytes)}
    with ReachProcess(
        "api", "--metrics-port", "0", settings=asked, environment=small, wrapper=SMALL_DISK
    ) as process:
        port = await port_of(process)
        process.wait_ready(asked.port)
        await said(process, "no room for what is counted")
        for number in range(SIGN_UPS):
            async with client(asked) as http:  # a connection each: both processes get some
                person = {"email": f"p{number}@example.com", "name": "Ada"}
                assert (await http.post("/v1/signups", json=person)).status_code == 202
        assert scrape(port).get('reach_signups_total{result="new"}', 0) <= SIGN_UPS
        assert process.exit_code is None, everything(process)
        assert "process replaced" not in everything(process)
