"""The alerts' rules, their cases as promtool reads them, and the rules with time made short."""

import os
import re
import subprocess
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.root import ROOT
from tests.support.servers.prometheus import NoPrometheus, program

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


def ran(name: str, *arguments: object) -> str:
    """Run ``promtool`` or ``amtool``, and return what it said. Skips where there is none."""
    try:
        command = [program(name), *map(str, arguments)]
    except NoPrometheus as reason:
        pytest.skip(str(reason))
    # Its garbage is collected less often: a sixth of its time.
    environment = {**os.environ, "GOGC": "400"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


FACTOR = 120
#: A scrape that is late says how busy the machine is that runs the tests, and not how Reach is: for
#: these, time is not made as short.
PATIENT, PATIENT_FACTOR = {"ReachNotScraped", "ReachProcessNotScraped"}, 10
#: In place of the 60 s within which mail should be sent. Divided like the rest it would be 0.5 s,
#: which a busy machine may take for nothing at all; buckets of the histogram have this bound.
IN_TIME_SECONDS = 2.5
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION = r"\d+[smhd]"
#: What is compared with an age.
AGE = re.compile(r"(?<=_age_seconds\) > )(\d+)")
IN_TIME = 'le=~"60([.]0)?"'

Rules = Mapping[str, Any]


def scaled(rules: Rules) -> Rules:
    """Divide every duration by FACTOR: windows, offsets, ``for``, and ages that are compared."""
    shorter = deepcopy(dict(rules))
    for group in shorter["groups"]:
        for rule in group["rules"]:
            rule["expr"] = _scaled_expression(rule["expr"])
            if "for" in rule:
                rule["for"] = _divided(rule["for"], factor_of(rule))
    return shorter


def factor_of(rule: Rules) -> int:
    """By what a rule's ``for`` is divided."""
    return PATIENT_FACTOR if rule.get("alert") in PATIENT else FACTOR


def _scaled_expression(text: str) -> str:
    text = re.sub(rf"(?<=\[){DURATION}(?=\])", lambda found: _divided(found[0]), text)
    text = re.sub(rf"(?<=offset ){DURATION}", lambda found: _divided(found[0]), text)
    text = AGE.sub(lambda found: f"{int(found[0]) / FACTOR:g}", text)
    return text.replace(IN_TIME, f'le="{IN_TIME_SECONDS}"')


def _divided(text: str, factor: int = FACTOR) -> str:
    return f"{int(text[:-1]) * UNITS_MS[text[-1]] // factor}ms"


def loud(rules: Rules) -> Rules:
    """Take those that are quiet beside their cause, and have them say what they see: ``Loud…``."""
    chosen = []
    for rule in rules["groups"][0]["rules"]:
        lines = rule["expr"].splitlines()
        kept = [line for line in lines if "_explained:" not in line and "ALERTS" not in line]
        if "alert" in rule and "_explained:" in rule["expr"]:
            chosen.append({**rule, "alert": f"Loud{rule['alert']}", "expr": "\n".join(kept)})
    return {"groups": [{"name": "loud", "rules": chosen}]}


def written(folder: Path) -> list[Path]:
    """Write both into files for a Prometheus."""
    shipped = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    files = {"scaled.yaml": scaled(shipped), "loud.yaml": scaled(loud(shipped))}
    for name, rules in files.items():
        (folder / name).write_text(yaml.safe_dump(rules), encoding="utf-8")
    return [folder / name for name in files]
