"""The thread that writes lines: whole ones, in order, and never at anybody's expense."""

import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from reach.telemetry import logging as writing
from reach.telemetry.log_lines import Told
from reach.telemetry.logging import Writer
from tests.support.clock import wait_until
from tests.support.telemetry.logs import pipe


def render(told: Told) -> bytes:
    """Write a line with its number, or the one that says how many were dropped."""
    return json.dumps({"padding": "x" * 200, **told.fields}).encode() + b"\n"


def counted() -> float:
    """How many lines were dropped, as a metric says."""
    return REGISTRY.get_sample_value("reach_log_lines_dropped_total") or 0


def line(number: int) -> Told:
    """Make a line that can be told from its neighbours."""
    return Told("reach", "info", "api started", {"number": number}, 0)


def drained(reading: int, writer: Writer) -> list[dict[str, Any]]:
    """Read what comes until all is written, as whole JSON lines."""
    text = b""
    is_written = threading.Event()

    def wait() -> None:
        if writer.flush(20):
            is_written.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not is_written.is_set() or select.select([reading], [], [], 0)[0]:
        if select.select([reading], [], [], 0.05)[0]:
            text += os.read(reading, 1000)
    waiting.join()
    assert text.endswith(b"\n")
    return [json.loads(whole) for whole in text.splitlines()]


def test_lines_come_whole_and_in_order() -> None:
    """Also out of several threads."""
    with pipe() as (reading, written), closing(Writer(written, render)) as writer:

        def write_from(first: int) -> None:
            for number in range(first, first + 500):
                writer.write(line(number))

        threads = [threading.Thread(target=write_from, args=[at]) for at in (0, 1000, 2000)]
        for thread in threads:
            thread.start()
        numbers = [found["number"] for found in drained(reading, writer)]
        for at in (0, 1000, 2000):
            of_one = [number for number in numbers if at <= number < at + 500]
            assert of_one == list(range(at, at + 500))


def test_a_socket_gets_no_more_at_once_than_goes_whole() -> None:
    """The journal of systemd is one, for several processes. Each datagram is a write."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs, closing(Writer(ours.fileno(), render)) as writer:
        for number in range(100):
            writer.write(line(number))
        read = b""
        while read.count(b"\n") < 100:
            piece = theirs.recv(2 * writing.FILE_BYTES)
            assert len(piece) <= select.PIPE_BUF
            assert piece.endswith(b"}\n")
            read += piece


@pytest.mark.parametrize("flags", [0, os.O_NONBLOCK], ids=["blocking", "non-blocking"])
def test_what_nobody_reads_is_dropped_counted_and_told(flags: int) -> None:
    """Nobody waits; the oldest lines come once there is room, and then how many are missing."""
    before = counted()
    sent = writing.MOST_LINES + 5_000
    with pipe() as (reading, written), closing(Writer(written, render)) as writer:
        fcntl.fcntl(written, fcntl.F_SETFL, fcntl.fcntl(written, fcntl.F_GETFL) | flags)
        for number in range(sent):
            writer.write(line(number))
        found = drained(reading, writer)
        while not any("count" in one for one in found):
            found += drained(reading, writer)
    numbers = [one["number"] for one in found if "number" in one]
    dropped = sum(one["count"] for one in found if "count" in one)
    assert numbers[:1000] == list(range(1000))
    assert numbers == sorted(numbers)
    assert len(numbers) + dropped == sent
    assert len(numbers) >= writing.MOST_LINES
    assert counted() - before == dropped


def test_a_reader_that_left_is_no_fault() -> None:
    """What it did not read is counted; nothing is raised, and no signal comes."""
    before = counted()
    with pipe() as (reading, written), closing(Writer(written, render)) as writer:
        os.close(reading)
        writer.write(line(1))
        wait_until(lambda: counted() == before + 1)
        writer.write(line(2))
        wait_until(lambda: counted() > before + 1)
        assert counted() == before + 2


def test_a_closed_writer_writes_nothing() -> None:
    """Its descriptor's number may be that of somebody else's file by then."""
    with pipe() as (reading, written):
        writer = Writer(written, render)
        writer.close()
        writer.write(line(1))
        assert not writer.flush(1)
        assert select.select([reading], [], [], 0)[0] == []


def test_a_full_disk_keeps_lines_until_there_is_room(tmp_path: Path) -> None:
    """A file that may not grow stands for it: lines wait, and are whole when it may."""
    code = FULL.replace("FILE", str(tmp_path / "log"))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert lines == [render(line(number)) for number in range(100)]


FULL = """
import os, resource, signal, errno
from reach.telemetry import logging as writing
from reach.telemetry.logging import Writer
from tests.telemetry.test_logs_writer import line, render
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
# A file's largest size gives EFBIG where a disk gives ENOSPC.
writing.MAY_PASS = (*writing.MAY_PASS, errno.EFBIG)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
log = os.open("FILE", os.O_CREAT | os.O_WRONLY)
writer = Writer(log, render)
for number in range(100):
    writer.write(line(number))
assert not writer.flush(0.2)
assert os.fstat(log).st_size == 1000
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert writer.flush(10)
"""


def test_without_a_stream_lines_are_dropped() -> None:
    """Started with stdout closed, it is a service without a log."""
    writer = Writer(None, render)
    before = counted()
    writer.write(line(1))
    assert counted() == before + 1
    assert not writer.flush(1)
