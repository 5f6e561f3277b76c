"""The guides to running Reach name files, commands, settings, metrics and values that there are."""

import re
from functools import cache
from typing import Any

import pytest
import yaml

from reach.db.errors import OUTCOME_UNKNOWN
from reach.settings import Settings
from tests.support.deploy.platform import VERSIONS
from tests.support.processes.commands import ReachProcess
from tests.support.root import ROOT

GUIDES = ("one-server", "kubernetes", "sizing", "postgres", "drills", "upgrade")
PAGE = "\n".join((ROOT / f"docs/guides/{name}.md").read_text(encoding="utf-8") for name in GUIDES)
FILES = re.compile(r"(?<![\w/])((?:deploy|tests|docs|requirements)/[\w./-]+\w|values-\w+\.yaml)")


def is_there(name: str) -> bool:
    """Whether a file, a command or a value of the chart exists."""
    if name.startswith("make "):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return bool(re.search(rf"^{name.removeprefix('make ')}:", makefile, re.MULTILINE))
    if name.startswith("reach "):
        return name.removeprefix("reach ") in commands()
    if name.startswith("values-"):
        return (ROOT / "deploy/chart" / name).exists()
    if "/" in name:
        return (ROOT / name).exists()
    return has_value(name)


def has_value(name: str) -> bool:
    """Whether the chart's values have it."""
    found: Any = yaml.safe_load((ROOT / "deploy/chart/values.yaml").read_text(encoding="utf-8"))
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True


@cache
def commands() -> set[str]:
    """The commands of `reach`."""
    with ReachProcess("--help", environment={"COLUMNS": "100", "NO_COLOR": "1"}) as process:
        assert process.wait() == 0
        return set(re.findall(r"^[│ ]+([a-z]+)  ", process.output, re.MULTILINE))


def named() -> set[str]:
    """Everything that the pages name, but settings and metrics."""
    values = r"`((?:edge|worker|api|networkPolicy|monitoring)\.[a-zA-Z.]+)(?:: \w+)?`"
    return {
        *FILES.findall(PAGE),
        *(
            f"make {target}"
            for target in re.findall(r"(?:^ {4,}|`)make ([a-z-]+)", PAGE, re.MULTILINE)
        ),
        *(f"reach {one}" for one in re.findall(r"(?:`|bin/)reach (\w+)", PAGE)),
        *re.findall(values, PAGE),
    }


def test_what_is_named_is_there() -> None:
    """Else somebody who follows the page is stuck."""
    assert {"make cluster", "reach check", "deploy/platform/platform.sh"} < named()
    assert {name for name in named() if not is_there(name)} == set()


def test_settings_and_metrics_are_ours() -> None:
    """By the names that they have in the code."""
    settings = {name.removesuffix("_FILE") for name in re.findall(r"REACH_[A-Z_]+[A-Z]", PAGE)}
    assert settings <= {f"REACH_{name.upper()}" for name in Settings.model_fields}
    told = set(re.findall(r"`(reach_\w+)`", PAGE))
    assert told
    metrics = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    assert {name for name in told if f"| `{name}` |" not in metrics} == set()


def test_alerts_have_a_runbook() -> None:
    """By which somebody who sees one knows what to do."""
    told = set(re.findall(r"`(Reach[A-Z]\w+)`", PAGE))
    assert told
    assert {name for name in told if not (ROOT / f"docs/runbooks/{name}.md").exists()} == set()


def test_figures_are_those_that_were_measured() -> None:
    """Figures are those of docs/reference/speed.md; and what is said of sizes adds up."""
    speed = (ROOT / "docs/reference/speed.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    # Which figure stands where is for tests/benchmarks/test_figures.py.
    for page in (PAGE, readme):
        rows = [row for row in page.splitlines() if row.endswith("| `make bench` |")]
        figures = re.findall(r"\d+(?:,\d{3}|\.\d ms)", "".join(rows))
        assert figures, rows
        assert [figure for figure in figures if figure not in speed] == []
    for name in re.findall(r"python -m ([\w.]+)", PAGE):
        assert (ROOT / f"{name.replace('.', '/')}.py").exists(), name
    each, wal = (
        int(text.replace(",", ""))
        for text in re.findall(r"([\d,]+) (?:on Postgres, indexes|bytes on Postgres \|)", PAGE)
    )
    for sign_ups, shown in ((10**3, 0.6), (10**5, 62), (10**7, 6200)):
        assert each * sign_ups * 365 / 1e9 == pytest.approx(shown, rel=0.05)
    assert all(words in PAGE for words in ("| 0.6 GB a year", "| 62 GB a year", ", 6.2 TB a year"))
    assert f"{wal * 10**7 / 1e9:.0f} GB a day" in PAGE
    pods = re.search(r"need (\d+) . 10 \+ (\d+) . 11 \+ 10 \+ 11 \+ 1 = (\d+)", PAGE)
    assert pods
    assert int(pods[1]) * 10 + int(pods[2]) * 11 + 22 == int(pods[3]) < 300
    database = (ROOT / "deploy/platform/database.yaml").read_text(encoding="utf-8")
    assert 'max_connections: "300"' in database


def test_the_ways_back_agree() -> None:
    """Some of them run an older `reach migrate`, which does nothing (tests/db/test_versions.py)."""
    assert "never run an older" not in PAGE
    assert re.search(r"an older `reach migrate`[^.]*does nothing", PAGE)
    versions = (ROOT / "tests/db/test_versions.py").read_text(encoding="utf-8")
    assert "def test_migrating_leaves_a_newer_schema(" in versions


def test_it_does_not_promise_that_a_503_was_not_kept() -> None:
    """While no follower answers, a sign-up may be on the primary's disk all the same."""
    (row,) = re.findall(r"^\| stop both of Postgres's followers \|.*$", PAGE, re.MULTILINE)
    assert "nothing is accepted" not in row
    assert all(words in row for words in ("503", f"“{OUTCOME_UNKNOWN}”", "email nevertheless"))


def test_it_says_what_was_not_run() -> None:
    """By a page of its own, which has each part that nobody could try where it was written."""
    assert "(../reference/not-run.md)" in PAGE
    not_run = (ROOT / "docs/reference/not-run.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^## (.+)$", not_run, re.MULTILINE))
    assert {"One server", "minikube or kind", "GKE", "Sizing", "Drills"} <= told
    assert VERSIONS["ECK_VERSION"], "and where each version was seen is there"
    assert "deploy/platform/versions.sh" in not_run
