"""What several processes count is summed; what the dead have counted is not lost, nor doubled."""

import math
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
from prometheus_client import generate_latest

from reach.telemetry import metrics
from reach.telemetry.multiprocess import VARIABLE, Shares, shared, told
from tests.support.telemetry.metrics import parsed

#: Counts as often as it is told to, and says so each time.
CODE = """
import sys
from reach.telemetry.metrics import CIRCUIT_BREAKER_OPENINGS, GROUP_MEMBERS
from reach.telemetry.metrics import REQUESTS_IN_PROGRESS, SIGN_UPS
REQUESTS_IN_PROGRESS.inc()
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        SIGN_UPS.labels("new").inc()
        GROUP_MEMBERS.observe(3)
    print("counted", flush=True)
"""


class Counting:
    """A process that counts sign-ups, and is in the middle of one request."""

    def __init__(self, shares: Shares | None) -> None:
        """Start it, and wait until it can count."""
        with told(shares):
            self._process = subprocess.Popen(
                [sys.executable, "-c", CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self._heard("ready")

    @classmethod
    @contextmanager
    def some(cls, shares: Shares, count: int) -> Iterator[list[Self]]:
        """Run several until the end of the ``with``."""
        processes: list[Self] = []
        try:
            processes += [cls(shares) for _ in range(count)]
            yield processes
        finally:
            for process in processes:
                process.kill()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def count(self, times: int) -> None:
        """Have it count so often."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        self._heard("counted")

    def kill(self) -> None:
        """End it at once; it can do no more about its numbers."""
        self._process.kill()
        self._process.communicate()

    def _heard(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{word}\n"


NEW = 'reach_signups_total{result="new"}'
MEMBERS = "reach_group_commit_members"
IN_PROGRESS = "reach_http_requests_in_progress"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made: the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def shares() -> Iterator[Shares]:
    """A folder of shares."""
    with shared() as made:
        yield made


def summed(shares: Shares) -> dict[str, float]:
    """All series, as they would be scraped."""
    return dict(parsed(generate_latest(shares).decode()))


def test_the_shares_of_all_processes_are_summed(shares: Shares) -> None:
    """Counters, histograms and gauges, each series once."""
    with Counting.some(shares, 3) as processes:
        for number, process in enumerate(processes, start=1):
            process.count(number)
        found = summed(shares)
        assert found[NEW] == 6
        assert found[f"{MEMBERS}_count"] == found[f'{MEMBERS}_bucket{{le="5.0"}}'] == 6
        assert found[f'{MEMBERS}_bucket{{le="2.0"}}'] == 0
        assert found[f"{MEMBERS}_sum"] == 18
        assert found[IN_PROGRESS] == 3
    assert VARIABLE not in os.environ


def test_what_the_dead_have_counted_stays_and_what_they_were_doing_ends(shares: Shares) -> None:
    """Killed at once: before and after its share is folded, the sums are the same."""
    with Counting.some(shares, 2) as (dead, alive):
        dead.count(5)
        alive.count(2)
        before = summed(shares)
        dead.kill()
        assert summed(shares) == before
        shares.fold([alive.pid])
        after = summed(shares)
        assert after.pop(IN_PROGRESS) == before.pop(IN_PROGRESS) - 1 == 1
        assert after == before
        assert after[NEW] == 7
        shares.fold([alive.pid])
        alive.count(1)
        assert summed(shares)[NEW] == 8


def test_a_crash_loop_does_not_fill_the_disk(shares: Shares) -> None:
    """However many processes there have been, their files are as few, and every count is there."""

    def live_one_life() -> set[str]:
        with Counting.some(shares, 1) as (process,):
            process.count(3)
        shares.fold([])
        return {file.name for file in shares.folder.iterdir()}

    first = live_one_life()
    assert live_one_life() == live_one_life() == first
    assert len(first) <= 3
    assert summed(shares)[NEW] == 9


def test_no_scrape_fails_or_sees_a_count_go_down_while_processes_come_and_go(
    shares: Shares,
) -> None:
    """Scraped all the while, by a thread of its own, in the middle of whatever goes on."""
    seen: list[float] = []
    faults: list[Exception] = []
    is_over = threading.Event()

    def scrape_on() -> None:
        while not is_over.is_set():
            try:
                seen.append(summed(shares).get(NEW, 0.0))
            except Exception as error:  # noqa: BLE001 - whatever it is, the test says so
                faults.append(error)

    scraping = threading.Thread(target=scrape_on)
    scraping.start()
    try:
        for _ in range(4):
            with Counting.some(shares, 2) as (one, other):
                one.count(2000)
                one.kill()
                shares.fold([other.pid])
                other.count(1000)
            shares.fold([])
    finally:
        is_over.set()
        scraping.join()
    assert faults == []
    assert seen == sorted(seen)
    assert len(seen) > 10
    assert summed(shares)[NEW] == 12_000


def test_a_file_that_is_just_being_made_fails_no_scrape(shares: Shares) -> None:
    """A process makes it empty, and a moment later as long as it is to be."""
    (shares.folder / "counter_1.db").touch()
    assert NEW not in summed(shares)
    shares.fold([])
    assert NEW not in summed(shares)


def test_what_the_parent_knows_is_in_the_sum_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the shares of others say of it, and if they say nothing."""
    metrics.PEOPLE.labels("true").set(7)
    metrics.PEOPLE.labels("false").set(math.nan)
    monkeypatch.setattr(metrics.Known, "seen_at", time.monotonic())
    try:
        with shared({"reach_people"}) as shares, Counting.some(shares, 1):
            found = summed(shares)
    finally:
        metrics.PEOPLE.remove("true")
    assert {name for name in found if name.startswith("reach_people")} == {
        'reach_people{confirmed="true"}'
    }
    assert found['reach_people{confirmed="true"}'] == 7
    assert list(place.iterdir()) == []


def test_the_folder_is_ours_alone_and_removed(place: Path) -> None:
    """0700 while it is there; afterwards it is not."""
    with shared() as shares:
        assert stat.S_IMODE(shares.folder.stat().st_mode) == 0o700
        assert shares.folder.parent == place
    assert list(place.iterdir()) == []


LEFT = """
import sys
from reach.telemetry.multiprocess import shared
with shared() as shares:
    print(shares.folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_parent_left_behind_is_removed_by_the_next(place: Path) -> None:
    """But not what another one, who lives, is using."""
    with (
        shared() as alive,
        subprocess.Popen(
            [sys.executable, "-c", LEFT],
            env={**os.environ, "TMPDIR": str(place)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as parent,
    ):
        assert parent.stdout is not None
        left = Path(parent.stdout.readline().strip())
        assert left.is_dir()
        with shared():
            assert left.is_dir()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert left.is_dir()
        with shared():
            assert not left.exists()
            assert alive.folder.is_dir()


def test_nobody_is_told_unless_there_are_shares() -> None:
    """Without a port for metrics, processes count in their memory, where it costs least."""
    with told(None):
        assert VARIABLE not in os.environ
