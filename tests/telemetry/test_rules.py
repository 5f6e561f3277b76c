"""The rules that Prometheus is given: every alert, firing and not firing, by promtool itself."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.telemetry.rules import FILES, RULES, Cases, alerts, ran

DEPLOY = RULES.parent
SEVERITIES = {"page", "ticket"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_alert_fires_when_it_should_and_not_otherwise(file: Path, tmp_path: Path) -> None:
    """Just above, just below, after restarts, with little traffic, and while it must be quiet."""
    tests = tmp_path / "tests.yaml"
    tests.write_text(yaml.safe_dump(Cases.read(file).for_promtool()), encoding="utf-8")
    assert "SUCCESS" in ran("promtool", "test", "rules", tests)


def test_every_alert_has_cases_of_both_kinds() -> None:
    """None is without one in which it fires, and one in which it does not."""
    fires, quiet = set(), set()
    for file in FILES:
        cases = Cases.read(file)
        assert file.stem.split(".")[0] == cases.alert
        for case in cases.cases:
            fires |= {cases.alert} if case.get("fires") else set()
            is_silent = "only" in case and cases.alert not in case["only"]
            quiet |= {cases.alert} if case.get("quiet") and is_silent else set()
    assert fires == quiet == set(alerts())


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    """A case that says the opposite fails: promtool does look."""
    file = next(file for file in FILES if file.stem == "ReachCircuitBreakerOpen")
    wrong = Cases.read(file).for_promtool()
    wrong["tests"] = wrong["tests"][:1]
    for one in wrong["tests"][0]["alert_rule_test"]:
        one["exp_alerts"] = []
    tests = tmp_path / "tests.yaml"
    tests.write_text(yaml.safe_dump(wrong), encoding="utf-8")
    with pytest.raises(AssertionError, match="ReachCircuitBreakerOpen"):
        ran("promtool", "test", "rules", tests)


@pytest.mark.parametrize("alert", alerts().values(), ids=alerts())
def test_an_alert_says_how_urgent_what_it_is_and_where_to_read_on(alert: Mapping[str, Any]) -> None:
    """Its only label is its severity: no address and no name can be in one."""
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in SEVERITIES
    words = alert["annotations"]
    assert words.keys() == {"summary", "description", "runbook_url"}
    assert re.match(r"[A-Z{].*[.]$", words["summary"])
    assert len(words["summary"]) <= 120
    assert words["runbook_url"].endswith(f"/{alert['alert']}.md")


def test_promtool_has_no_complaint() -> None:
    """The rules and the example of a configuration are what Prometheus understands."""
    assert "SUCCESS" in ran("promtool", "check", "rules", RULES)
    assert "SUCCESS" in ran("promtool", "check", "config", DEPLOY / "prometheus.yaml")


def test_amtool_has_no_complaint() -> None:
    """The example of Alertmanager's configuration is what it understands."""
    assert "SUCCESS" in ran("amtool", "check-config", DEPLOY / "alertmanager.yaml")


@pytest.mark.parametrize("alert", alerts().values(), ids=alerts())
def test_a_page_wakes_somebody_and_a_ticket_does_not(alert: Mapping[str, Any]) -> None:
    """Alertmanager, as in the example, sends each alert where its severity says."""
    labels = {"alertname": alert["alert"], **alert["labels"]}
    receiver = {"page": "on-call", "ticket": "tickets"}[labels["severity"]]
    file = DEPLOY / "alertmanager.yaml"
    pairs = [f"{name}={value}" for name, value in labels.items()]
    said = ran("amtool", "config", "routes", "test", f"--config.file={file}", *pairs)
    assert said.split()[0] == receiver


def test_every_label_of_the_routes_is_one_that_alerts_have() -> None:
    """What the example inhibits are alerts that there are."""
    text = yaml.safe_load((DEPLOY / "alertmanager.yaml").read_text(encoding="utf-8"))
    for rule in text["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            name, pattern = re.fullmatch(r'(\w+) =~? "(.+)"', matcher).groups()  # type: ignore[union-attr]
            known = set(alerts()) if name == "alertname" else SEVERITIES
            for word in pattern.split("|"):
                assert any(re.fullmatch(word, one) for one in known), matcher
