"""The net under the tests: faults that they have to find (`python -m tests.mutants`).

Each fault is planted alone, in a copy of this checkout, and the tests named for it are run there.
A fault that no test finds fails the script; so does one whose text is not found exactly once, and
one whose tests fail without it. They are in ``tests/faults.toml``: after code has moved,
``file`` and ``old`` are what is to be changed there. ``--only NAME`` runs one (again for more),
``--list`` says what there is.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "src/reach"
#: One process for the tests and one beside it, that outlives a test that hangs and says which.
PYTEST = ("-m", "pytest", "-q", "-n1", "--timeout=60", "--tb=no", "-pno:cacheprovider")
#: How long the tests of one fault may take, and those of all without any.
SECONDS, ALL_SECONDS = 300, 1800
#: A test in pytest's summary, and why it failed; what could not even be imported has no ``::``.
FAILED = re.compile(
    r"^(?:(?:SUB)?FAILED\S*|ERROR) (tests/[^\s:]+::[\w:]+(?:\[.*?\](?= - |$))?)(?: - (.*))?$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Fault:
    """A fault: ``old`` becomes ``new`` in ``file``; ``tests`` (a node id, or a file) find it."""

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: str


FAULTS: Sequence[Fault] = [
    Fault(**one)
    for one in tomllib.loads((ROOT / "tests/faults.toml").read_text(encoding="utf-8"))["fault"]
]


class Bad(Exception):
    """A fault is none, or nothing finds it; ``args[0]`` says which."""


def main() -> int:
    """Plant, run, tell; 1 if anything is wrong with any fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", default=[])
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.only) - {fault.name for fault in FAULTS}:
        parser.error(f"there is no such fault: {', '.join(sorted(unknown))}")
    faults = [fault for fault in FAULTS if not given.only or fault.name in given.only]
    if given.list:
        for fault in faults:
            say(f"{fault.name:20} {fault.file:22} {fault.breaks}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of each ``finally``
    with copied() as copy:
        try:
            unfit = copy.failing(faults)
        except Bad as why:
            say(f"without any fault, {why}")
            return 1
        bad = sum(not is_found(fault, copy, unfit) for fault in faults)
    say(f"{len(faults) - bad} of {len(faults)} faults were found")
    return 1 if bad else 0


def is_found(fault: Fault, copy: "Copy", unfit: Mapping[str, str]) -> bool:
    """Plant a fault and say which test found it, or what is wrong."""
    began = time.monotonic()
    try:
        test, reason = finder(fault, copy, unfit)
    except Bad as why:
        say(f"{fault.name:20} WRONG: {why}")
        return False
    say(f"{fault.name:20} {test}  ({time.monotonic() - began:.0f} s)\n{'':20}   {reason[:100]}")
    return True


def finder(fault: Fault, copy: "Copy", unfit: Mapping[str, str]) -> tuple[str, str]:
    """Plant a fault; the test that found it, and how it failed. Raises Bad."""
    for test, reason in unfit.items():
        if test == fault.tests or test.startswith((f"{fault.tests}::", f"{fault.tests}[")):
            raise Bad(f"{test} fails without it: {reason}")
    file = ROOT / fault.tests.partition("::")[0]
    # A process of pytest-xdist that is to stop at the first failure never ends if a subtest fails.
    stops = () if "subtests" in file.read_text(encoding="utf-8") else ("-x",)
    with copy.planted(fault):
        failed = copy.run((*stops, fault.tests))
    if not failed:
        raise Bad("no test finds it")
    return next(iter(failed.items()))


class Copy:
    """A copy of the checkout, run by this interpreter and what is installed for it."""

    def __init__(self, root: Path) -> None:
        """Take where it is."""
        self._root = root
        # Before the checkout's own path: that is how `import reach` finds the copy.
        path = os.pathsep.join((str(root / "src"), str(root)))
        # Wide, for pytest cuts why a test failed to the width of the terminal.
        self._environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "250"}
        told = self._python("-c", "import reach; print(reach.__file__)")
        if root not in Path(told.strip()).parents:
            raise SystemExit(f"the tests would run another Reach: {told.strip()}")

    @contextmanager
    def planted(self, fault: Fault) -> Iterator[None]:
        """Have a fault until the end of the ``with``. Raises Bad."""
        file = self._root / SOURCE / fault.file
        if not file.is_file():
            raise Bad(f"there is no {fault.file}")
        sound = file.read_text()
        if (times := sound.count(fault.old)) != 1:
            raise Bad(f"its text is {times} times in {fault.file}")
        write(file, sound.replace(fault.old, fault.new))
        try:
            yield
        finally:
            write(file, sound)

    def failing(self, faults: Sequence[Fault]) -> Mapping[str, str]:
        """List the tests of these faults that fail without them."""
        return self.run(sorted({fault.tests for fault in faults}), ALL_SECONDS)

    def run(self, arguments: Sequence[str], seconds: float = SECONDS) -> Mapping[str, str]:
        """Run tests; why those failed that did. Raises Bad if they could not be run."""
        told = self._python(*PYTEST, *arguments, seconds=seconds)
        failed = dict(FAILED.findall(told))
        if not failed and not re.search(r"^\d+ passed", told, re.MULTILINE):
            raise Bad(f"its tests did not run:\n{told}")
        return failed

    def _python(self, *arguments: str, seconds: float = SECONDS) -> str:
        process = subprocess.Popen(
            (sys.executable, *arguments),
            cwd=self._root,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            told, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Bad(f"its tests took more than {seconds:.0f} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return told


@contextmanager
def copied() -> Iterator[Copy]:
    """Copy what Git knows of this checkout, as it is now, and remove it at the end."""
    names = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(names, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory(prefix="reach-mutants-") as folder:
        root = Path(folder).resolve()
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        yield Copy(root)


def write(file: Path, text: str) -> None:
    """Write a module, and forget what it was compiled to: a second may not tell them apart."""
    file.write_text(text)
    Path(cache_from_source(str(file))).unlink(missing_ok=True)


def say(line: str) -> None:
    """Print it at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
