"""`reach check`, run as a process, and what it finds."""

from collections.abc import Awaitable, Callable

from reach.checks.report import Finding
from reach.settings import Settings
from tests.support.processes.commands import ReachProcess

MakeSettings = Callable[..., Settings]


def check(
    settings: Settings | None = None, *arguments: str, **environment: str
) -> tuple[int, list[str]]:
    """Run it: its exit code, and the lines of stdout."""
    with ReachProcess("check", *arguments, settings=settings, environment=environment) as process:
        code = process.wait(60)
        assert "crashed" not in process.errors
        return code, process.output.splitlines()


def finding(lines: list[str], subject: str) -> tuple[str, str, str]:
    """Pick one finding: its mark, its words, and its remedy if it has one."""
    (number,) = (n for n, line in enumerate(lines) if line[2:].startswith(f" {subject}: "))
    mark, _, words = lines[number].partition(f" {subject}: ")
    rest = lines[number + 1 :]
    remedy = rest[0].strip() if rest and rest[0].startswith("   ") else ""
    return mark, words, remedy


def failed(lines: list[str]) -> set[str]:
    """Name the subjects of what failed; each must have a remedy."""
    subjects = {line[3:].partition(":")[0] for line in lines if line.startswith("!!")}
    for subject in subjects:
        assert finding(lines, subject)[2], f"{subject} has no remedy"
    return subjects


Checked = Callable[..., Awaitable[dict[str, Finding]]]
