"""The cases of rules/*.yaml, as promtool's own files of unit tests.

A file is about one ``alert``. A case says which ``series`` differ from a Reach that is well, when
the alert is ``quiet`` and when it ``fires`` (with which summary and labels), and which alerts are
the ``only`` ones to have fired ``until`` some time. ``API``, ``ONE`` (a worker) and such stand for
labels.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.root import ROOT

RULES = ROOT / "deploy/prometheus/rules.yaml"
FILES = sorted((ROOT / "tests" / "telemetry" / "rules").glob("*.yaml"))

Case = Mapping[str, Any]

LABELS = {
    "API": 'job="reach-api",instance="api:9090"',
    "ONE": 'job="reach-worker",instance="one:9090"',
    "TWO": 'job="reach-worker",instance="two:9090"',
    "SIGNUP": 'method="POST",route="/v1/signups"',
    "WELCOME": 'template="welcome"',
}
#: Longer than any case.
HEALTHY = {
    "up{API}": "1x1000",
    "up{ONE}": "1x1000",
    "up{TWO}": "1x1000",
    # An API process has these too.
    "reach_worker_slots{API}": "0x1000",
    "reach_worker_slots{ONE}": "8x1000",
    "reach_worker_slots{TWO}": "8x1000",
    "reach_circuit_breaker_open{API}": "0x1000",
    "reach_circuit_breaker_open{ONE}": "0x1000",
    "reach_circuit_breaker_open{TWO}": "0x1000",
}


@dataclass(frozen=True)
class Cases:
    """The cases of one file."""

    alert: str
    every: str
    cases: tuple[Case, ...]

    @classmethod
    def read(cls, file: Path) -> "Cases":
        """Read a file. Raises AssertionError where it says what nothing understands."""
        text = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert text.keys() == {"alert", "every", "cases"}, file
        known = {"name", "runbooks", "series", "quiet", "fires", "until", "only"}
        for case in text["cases"]:
            assert case.keys() <= known, (file, case["name"])
        return cls(text["alert"], text["every"], tuple(text["cases"]))

    def for_promtool(self) -> dict[str, Any]:
        """Write them out as promtool reads them."""
        alert = alerts()[self.alert]
        return {
            "rule_files": [str(RULES)],
            "evaluation_interval": self.every,
            "tests": [self._written_out(case, alert) for case in self.cases],
        }

    def _written_out(self, case: Case, alert: Mapping[str, Any]) -> dict[str, Any]:
        series = HEALTHY | case.get("series", {})
        runbooks = case.get("runbooks")
        quiet = [
            {"alertname": self.alert, "eval_time": time, "exp_alerts": []}
            for time in case.get("quiet", ())
        ]
        fires = [
            {"alertname": self.alert, "eval_time": time, "exp_alerts": [said(alert, words, case)]}
            for time, words in case.get("fires", {}).items()
        ]
        return {
            "name": case["name"],
            "interval": self.every,
            **({"external_labels": {"runbooks": runbooks}} if runbooks else {}),
            "input_series": [
                {"series": with_labels(name), "values": str(values)}
                for name, values in series.items()
            ],
            "alert_rule_test": quiet + fires,
            "promql_expr_test": only(case) if "only" in case else [],
        }


def alerts() -> dict[str, Mapping[str, Any]]:
    """Read the alerts of the rules, by name."""
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"] if "alert" in rule}


def said(alert: Mapping[str, Any], words: Mapping[str, str], case: Case) -> dict[str, Any]:
    """Say what a firing alert has to look like."""
    more = dict(words)
    summary = more.pop("summary")
    folder = case.get("runbooks", "docs/runbooks")
    return {
        "exp_labels": {**alert["labels"], **more},
        "exp_annotations": {
            "summary": summary,
            "description": alert["annotations"]["description"],
            "runbook_url": f"{folder}/{alert['alert']}.md",
        },
    }


def only(case: Case) -> list[dict[str, Any]]:
    """Say which alerts, and no others, have fired so far."""
    ever = 'group by (alertname) (last_over_time(ALERTS{alertstate="firing"}[30d]))'
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in case["only"]]
    return [{"expr": ever, "eval_time": case["until"], "exp_samples": samples}]


def with_labels(series: str) -> str:
    """Write the abbreviated labels of a series out."""
    return re.sub(r"\b[A-Z]{3,}\b(?!\")", lambda found: LABELS[found[0]], series)
