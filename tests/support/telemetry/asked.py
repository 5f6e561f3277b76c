"""What dashboard and rules ask of Prometheus, each question as Prometheus gets it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Counter, Gauge, Histogram

from reach.telemetry import metrics
from tests.support.root import ROOT

DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "reach.json"
RULES = DEPLOY / "prometheus" / "rules.yaml"
LABEL_VALUES = re.compile(r"label_values\((?P<of>.+), *(?P<label>\w+)\)")
#: An alert's, outside of braces, unless it gives a number already.
COMPARISON = re.compile(r"(==|!=|>=?|<=?)(?!=|\s*bool)(?=[^{}]*(?:\{|$))")
#: What Grafana puts a backslash before, in a value that goes into a regular expression.
SPECIAL = re.compile(r"[\\^$*+?.()|{}\[\]]")


@dataclass(frozen=True, slots=True)
class Asked:
    """An expression, and where it stands.

    ``moves``: a busy Reach has it above 0. ``is_event``: it is there for a moment, then gone.
    """

    where: str
    expression: str
    moves: bool = False
    is_event: bool = False
    records: str = ""


def read_dashboard() -> dict[str, Any]:
    """Read the dashboard that Grafana is given."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return dashboard


def as_chosen(*values: str) -> str:
    """Write chosen values of a variable as Grafana does for Prometheus: a regular expression."""
    escaped = [SPECIAL.sub(lambda match: rf"\\{match.group()}", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


#: What Grafana puts in for who looks at everything; the times are long enough for any test.
EVERYTHING = {
    "job": as_chosen("reach-api", "reach-worker"),
    "instance": ".+",
    "__rate_interval": "5m",
    "__range": "5m",
}


def of_dashboard(
    dashboard: Mapping[str, Any], variables: Mapping[str, str] = EVERYTHING
) -> Iterator[Asked]:
    """Every question of panels, annotations and variables. Raises KeyError for an unknown one."""

    def put_in(expression: str) -> str:
        return re.sub(r"\$\{?(\w+)\}?", lambda match: variables[match.group(1)], expression)

    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            where = f"panel {panel['title']!r} {target['legendFormat']}".strip()
            yield Asked(where, put_in(target["expr"]), moves=True)
    for mark in dashboard["annotations"]["list"]:
        yield Asked(f"annotation {mark['name']!r}", put_in(mark["expr"]), is_event=True)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            asked = LABEL_VALUES.fullmatch(put_in(variable["query"]["query"]))
            assert asked is not None, variable
            expression = f"count by ({asked['label']}) ({asked['of']})"
            yield Asked(f"variable {variable['name']!r}", expression)


def of_rules(file: Path) -> Iterator[Asked]:
    """Every rule's question: a recording as it is, an alert with what it compares."""
    for rule in rules_in(file):
        if "record" in rule:
            yield Asked(f"recording {rule['record']}", rule["expr"], records=rule["record"])
        else:
            yield Asked(f"alert {rule['alert']}", compared(rule["expr"]))


def rules_in(file: Path) -> Sequence[Mapping[str, Any]]:
    """List the rules of a file."""
    groups = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def compared(expression: str) -> str:
    """Rewrite an alert so that it gives numbers while all is well, if what it names is there.

    What it compares must be there on both sides; what must not be there is counted instead.
    """
    with_bool = COMPARISON.sub(r"\1 bool", expression)
    counted = re.sub(r"\babsent(?=(_over_time)?\()", "count", with_bool)
    return re.sub(r"\bunless\b", "or", counted)


def series() -> Iterator[str]:
    """Name every series that Reach exposes."""
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (family,) = metric.describe()
            suffixes = {"counter": ("_total",), "gauge": ("",)}
            for suffix in suffixes.get(family.type, ("_bucket", "_count", "_sum")):
                yield family.name + suffix
