"""`make bench`: every figure beside its limits and its peer, in one run on one machine.

    python -m benchmarks [PART …] [--quick] [--against FOLDER] [--write] [--json FILE]

FOLDER is a checkout of another version with its own .venv: `before` in the table.
"""

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import client, importing, inbound, mailing, serving, waiting, watched, webhooks
from benchmarks.context import Context, DurablePostgres
from benchmarks.figures import BEFORE, Figure
from benchmarks.page import Report
from benchmarks.rounds import FULL, QUICK
from benchmarks.servers import CORES, Version, pocketbase_program, pocketbase_version, rows_of

#: What can be chosen by name.
PARTS: dict[str, Callable[[Context], list[Figure]]] = {
    "requests": serving.measure,
    "mails": mailing.measure,
    "paced": waiting.measure,
    "watched": watched.figures,
    "webhooks": webhooks.measure,
    "start": waiting.measure_start,
    "importing": importing.measure,
    "inbound": inbound.measure,
}


def main() -> None:
    """Measure what was chosen, and say and write what came of it."""
    chosen = arguments()
    size = QUICK if chosen.quick else FULL
    began, figures = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder, DurablePostgres.private() as postgres:
        before = Version(BEFORE, chosen.against.resolve()) if chosen.against else None
        context = Context(size, Path(folder), postgres, before)
        facts = describe(context)
        for name in chosen.parts or PARTS:
            begun = time.monotonic()
            figures += PARTS[name](context)
            print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    report = Report({**facts, "seconds": f"{time.monotonic() - began:.0f}"}, figures)
    if chosen.quick:
        print(f"{len(figures)} figures were measured without an error; so few rounds judge none.")
        return
    print(report.as_text())
    if chosen.json:
        report.save(chosen.json)
    if chosen.write:
        report.write()


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a little of each, for errors only")
    parser.add_argument("--against", type=Path, help="a checkout of another version")
    parser.add_argument("--write", action="store_true", help="write docs/reference/speed.md")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if chosen.write and (chosen.parts or chosen.quick):
        parser.error("the page is written by a whole run alone")
    return chosen


def describe(context: Context) -> dict[str, str]:
    """Where, when and by what it is measured."""
    program = pocketbase_program()
    packages = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "fastapi", "sqlalchemy"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{CORES} cores ({processor()}), {memory:.0f} GB, {platform.system()}"
        f" {platform.release()}; client, servers and databases share it",
        "Python": f"{platform.python_version()}, {packages}",
        "databases": f"SQLite {sqlite3.sqlite_version} (WAL, synchronous=FULL), Postgres"
        f" {rows_of(context.postgres.url, 'SHOW server_version')} (fsync on)",
        "PocketBase": f"{pocketbase_version(program)} (synchronous=NORMAL, no email)"
        if program
        else "not here",
        "client": client.name(),
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
