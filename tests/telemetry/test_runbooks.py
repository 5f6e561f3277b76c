"""The pages for who is woken: one for each alert, and all that they name exists."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from reach.cli import cli
from reach.settings import SECRETS, Settings
from reach.telemetry.events import EVENTS, action_of
from reach.telemetry.log_fields import ALWAYS, FIELDS
from tests.support.processes.reach import Reach
from tests.support.root import ROOT
from tests.support.telemetry.expressions import series
from tests.support.telemetry.rules import RULES, alerts, ran

PAGES = sorted((ROOT / "docs/runbooks").glob("*.md"))
HEADINGS = ["What it means", "Look here", "Do this", "How it ends"]
IS_QUERY = re.compile(r"\b(reach_|reach:|up\{)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def code(page: Path) -> list[str]:
    """List what stands in code in a page."""
    return re.findall(r"`([^`]+)`", page.read_text(encoding="utf-8"))


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    """Nobody is led to a page that there is not."""
    assert {page.stem for page in PAGES} == set(alerts())


@each_page
def test_a_page_has_four_parts_and_says_how_urgent_it_is(page: Path) -> None:
    """The person who is woken finds each in its place."""
    text = page.read_text(encoding="utf-8")
    assert text.startswith(
        f"# {page.stem}\n\nSeverity: {alerts()[page.stem]['labels']['severity']}"
    )
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    for part in text.split("\n## ")[1:]:
        assert len(part.split()) > 5, part


@each_page
def test_every_name_in_a_page_exists(page: Path) -> None:
    """Settings, metrics, recorded rules, events, fields, commands and other pages."""
    text = page.read_text(encoding="utf-8")
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    recorded = {rule["record"] for rule in group["rules"] if "record" in rule}
    settings = {f"REACH_{name.upper()}" for name in Settings.model_fields}
    settings |= {f"REACH_{name.upper()}_FILE" for name in SECRETS}
    assert set(re.findall(r"\bREACH_[A-Z_]+", text)) <= settings
    # A histogram is named as a whole, too.
    wholes = {name.removesuffix("_count") for name in series() if name.endswith("_count")}
    assert set(re.findall(r"\breach_\w+", text)) <= set(series()) | wholes
    assert set(re.findall(r"\breach:\w+:\w+", text)) <= recorded
    actions = {action_of(message) for message in EVENTS}
    assert set(re.findall(r"event\.action: ([\w-]+)", text)) <= actions
    fields = {field.name for field in (*FIELDS.values(), *ALWAYS)}
    groups = "|".join(sorted({name.split(".")[0] for name in fields if "." in name}))
    assert set(re.findall(rf"`((?:{groups})\.[\w.]+)`", text)) <= fields
    commands = set(typer.main.get_command(cli).commands)  # type: ignore[attr-defined]
    assert {span.split()[1] for span in code(page) if span.startswith("reach ")} <= commands
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_every_call_in_a_page_is_answered(reach: Reach) -> None:
    """What a page says to GET or POST has a route."""
    routes = {(method, with_holes(path)) for method, path in reach.routes}
    paths = {path for _, path in routes}
    for page in PAGES:
        found = re.findall(r"`(?:(GET|POST) )?(/[^`?]*)", page.read_text(encoding="utf-8"))
        for method, path in found:
            is_there = (method, with_holes(path)) in routes if method else with_holes(path) in paths
            assert is_there, (page.stem, method, path)


def with_holes(path: str) -> str:
    """Forget what a path's parameters are called."""
    return re.sub(r"\{.*?\}", "{}", path)


def test_every_query_can_be_typed_into_prometheus(tmp_path: Path) -> None:
    """Each is an expression that it understands."""
    queries = {span for page in PAGES for span in code(page) if IS_QUERY.search(span)}
    assert len(queries) > 30
    rules = [{"record": "tried", "expr": query} for query in sorted(queries)]
    labelled = [{**rule, "labels": {"n": str(n)}} for n, rule in enumerate(rules)]
    file = tmp_path / "queries.yaml"
    groups = {"groups": [{"name": "queries", "rules": labelled}]}
    file.write_text(yaml.safe_dump(groups), encoding="utf-8")
    assert "SUCCESS" in ran("promtool", "check", "rules", file)
