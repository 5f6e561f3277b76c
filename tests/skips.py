"""In CI a test may be skipped only if skips.txt names it and says why."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

ALLOWED = Path(__file__).with_name("skips.txt")
UNEXPLAINED = pytest.StashKey[list[str]]()


def allowed(lines: Iterable[str]) -> dict[str, str]:
    """Read node ids (or their beginnings, with ``*``) and reasons. Raises ValueError."""
    found = {}
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        test, gap, reason = text.partition("  ")
        if not gap or not reason.strip():
            raise ValueError(f"{ALLOWED.name} gives no reason for {text!r}")
        found[test] = reason.strip()
    return found


def is_allowed(node: str, names: Iterable[str]) -> bool:
    """Whether one of ``names`` stands for this test."""
    return any(node.startswith(name[:-1]) if name.endswith("*") else node == name for name in names)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which a test was skipped that should run here."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    is_worker = hasattr(session.config, "workerinput")
    if is_worker or reporter is None or os.environ.get("CI") != "true":
        return
    names = allowed(ALLOWED.read_text(encoding="utf-8").splitlines())
    skipped = [report.nodeid for report in reporter.stats.get("skipped", [])]
    wrong = [node for node in skipped if not is_allowed(node, names)]
    session.config.stash[UNEXPLAINED] = wrong
    if wrong and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the tests that made it fail; pytest's own lines say why they were skipped."""
    for node in config.stash.get(UNEXPLAINED, []):
        terminalreporter.write_line(
            f"SKIPPED IN CI: {node} should run here; if it cannot, tests/skips.txt must say why",
            red=True,
        )
