"""Lists in and out: `reach people import` and `export`, each once on each database.

The list is made up as a mailing service exports it. Each command is a process of its own, started
as users start it: its time has the start in it, its memory is the most that it ever had.
"""

import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.context import Context
from benchmarks.figures import Figure, Goal
from benchmarks.servers import Reach

IMPORTED, EXPORTED = Goal(20_000, is_least=True), Goal(50_000, is_least=True)
NAMES = ("Ada", "Jürgen", "Mary", "Jean-Baptiste", "Chidi", "Nora", "Tomás", "Zoë")
SURNAMES = ("Vale", "Groß", "Okafor", "Lamarck", "Stone", "Hughes", "Marsh", "Nováková")
HEADER = "Email Address,First Name,Last Name,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME\n"
KIB_OF_A_MB = 1_000_000 / 1024


@dataclass(frozen=True)
class Ran:
    """A command that ended well."""

    seconds: float
    busy_seconds: float
    megabytes: float


def measure(context: Context) -> list[Figure]:
    """Measure both ways, on each database."""
    rows = context.size.listed
    file = context.folder / "list.csv"
    write_list(file, rows)
    figures = []
    for database in context.size.databases:
        reach = context.reach(f"lists-{database}", database)
        said = ("--confirmed", "--consent-source", "newsletter form")
        new = run(reach, "people", "import", str(file), *said)
        again = run(reach, "people", "import", str(file))
        out = [(form, export(reach, context.folder, form, rows)) for form in ("csv", "ndjson")]
        figures += [
            figure(database, f"imported, of {rows:,} new", rows, new, IMPORTED),
            figure(database, f"imported, of {rows:,} known", rows, again, IMPORTED),
            *(figure(database, f"exported, {form}", rows, ran, EXPORTED) for form, ran in out),
        ]
    return figures


def write_list(file: Path, rows: int) -> None:
    """Make people up."""
    chance = random.Random(1)
    with file.open("w", encoding="utf-8") as stream:
        stream.write(HEADER)
        for n in range(rows):
            address = f"person.{n * 7919 % 1_000_003}.{n}@mail{n % 500}.example.com"
            name = f"{chance.choice(NAMES)},{chance.choice(SURNAMES)}"
            times = "2021-03-04 10:11:12,192.0.2.7,2021-03-04 10:15:00"
            stream.write(f"{address},{name},2,{times}\n")


#: Starts a command, and says what it took. It is small: Linux counts for a program the memory of
#: that which started it, too.
LAUNCHER = """
import os, resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def run(reach: Reach, *words: str) -> Ran:
    """Run a command, and see what it took."""
    began = time.monotonic()
    command = [*reach.version.command, *words]
    launched = [sys.executable, "-S", "-c", LAUNCHER, *command]
    output = subprocess.run(
        launched, env=reach.environment, stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    seconds = time.monotonic() - began
    code, busy, kib = output.split()
    assert code == "0", command
    return Ran(seconds, float(busy), int(kib) / KIB_OF_A_MB)


def export(reach: Reach, folder: Path, form: str, rows: int) -> Ran:
    """Export everybody, and require that they are there."""
    file = folder / f"out.{form}"
    ran = run(reach, "people", "export", "--format", form, "--output", str(file))
    count_lines(file, rows + (form == "csv"))
    file.unlink()
    return ran


def count_lines(file: Path, expected: int) -> None:
    """Require that a file has so many lines."""
    with file.open("rb") as stream:
        assert sum(1 for _ in stream) == expected, file


def figure(database: str, what: str, rows: int, ran: Ran, goal: Goal) -> Figure:
    """Write down how fast it was, how busy, and with how much memory."""
    busy = f"{ran.busy_seconds / rows * 1e6:.0f} µs of the command's processor time each"
    note = f"{busy}, {ran.megabytes:.0f} MB at most"
    return Figure(f"People {what}, {database}", "/s", [rows / ran.seconds], goal=goal, note=note)
