"""What dashboard and rules ask of Prometheus, and whether a real one has an answer."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Counter, Gauge, Histogram
from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Expr,
    VectorSelector,
    parse,
    walk,
)

from reach.telemetry import metrics
from tests.support.root import ROOT
from tests.support.servers.prometheus import Prometheus

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


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric and the labels it must have: ``text`` is a query by itself."""

    metric: str
    labels: frozenset[str]
    text: str


def parts(expression: str) -> Sequence[Expr]:
    """List an expression with all that it is made of. Raises ValueError."""
    found: list[Expr] = []
    walk(parse(expression), found.append)
    return found


def selectors(expression: str) -> Sequence[Selector]:
    """List the metrics that an expression names. Raises ValueError, also for one without a name."""
    return list(_selectors(expression))


def _selectors(expression: str) -> Iterator[Selector]:
    for part in parts(expression):
        if not isinstance(part, VectorSelector):
            continue
        if not part.name or part.matchers.or_matchers:
            raise ValueError(f"a selector that is not read here, in {expression!r}")
        labels = frozenset(one.name for one in part.matchers.matchers)
        # Version 0.12 writes values without what escapes a backslash.
        text = f"{part.name}{part.matchers}".replace("\\", "\\\\")
        yield Selector(part.name, labels, text)


def grouped_by(expression: str) -> frozenset[str]:
    """Name the labels by which an expression adds up or matches."""
    labels: set[str] = set()
    for part in parts(expression):
        if isinstance(part, AggregateExpr) and part.modifier:
            labels.update(part.modifier.labels)
        if isinstance(part, BinaryExpr) and part.modifier:
            labels.update(part.modifier.matching.labels if part.modifier.matching else ())
            labels.update(part.modifier.group_labels or ())
    return frozenset(labels)


#: Longer than any test takes.
BACK_SECONDS = 600
#: Prometheus's own, which is there only while an alert is.
WHILE_FIRING = "ALERTS"

Series = tuple[Mapping[str, str], float]


class Answers:
    """What Prometheus says to each question, now and since it began."""

    def __init__(
        self, prometheus: Prometheus, asked: Sequence[Asked], zeros: AbstractSet[str]
    ) -> None:
        """Take what is to be asked of ``prometheus``.

        ``zeros`` say where an expression stands that is not expected above 0.
        """
        self._asked = self._unanswered = asked
        self._prometheus = prometheus
        self._zeros = zeros
        self._found: dict[str, Sequence[Mapping[str, str]]] = {}
        of_alerts = {one.records for one in asked if self._is_about_alerts(one)}
        self._may_be_absent = of_alerts | {WHILE_FIRING}

    @cached_property
    def names(self) -> frozenset[str]:
        """Every metric that there is."""
        return frozenset(self._prometheus.ask("label/__name__/values"))

    def complaints(self) -> Mapping[str, Sequence[str]]:
        """Say what is wrong, by the questions that something is wrong with.

        What was answered before is not asked again.
        """
        found = {one: [*self._complaints_about(one)] for one in self._unanswered}
        self._unanswered = [one for one, complaints in found.items() if complaints]
        return {one.where: found[one] for one in self._unanswered}

    def _complaints_about(self, asked: Asked) -> Iterator[str]:
        known = set()
        for selector in selectors(asked.expression):
            if selector.metric in self._may_be_absent:
                continue
            yield from self._about(selector)
            known |= self._labels(selector.metric)
        unknown = grouped_by(asked.expression) - known
        if unknown and known:
            yield f"groups by {sorted(unknown)}, which no metric in it has"
        if not self._is_about_alerts(asked):
            yield from self._about_values(asked)

    def table(self) -> str:
        """Write every question with its answer, for a reader."""
        lines = []
        for one in self._asked:
            lines += [one.where, f"    {one.expression}"]
            lines += [f"    {value:<12.5g} {dict(labels)}" for labels, value in self._values(one)]
        return "\n".join([*lines, ""])

    def _values(self, asked: Asked) -> Sequence[Series]:
        """The answer: now, or for what is there for a moment only, at its last moment."""
        if not asked.is_event:
            return self._prometheus.query(asked.expression)
        return [(labels, values[-1]) for labels, values in self._history(asked.expression)]

    @staticmethod
    def _is_about_alerts(asked: Asked) -> bool:
        """Whether it is a recording that has an answer only while some alert fires."""
        about = {one.metric for one in selectors(asked.expression)}
        return bool(asked.records) and WHILE_FIRING in about

    def _about(self, selector: Selector) -> Iterator[str]:
        if selector.metric not in self.names:
            yield f"there is no metric {selector.metric}"
        elif unknown := selector.labels - self._labels(selector.metric):
            yield f"{selector.metric} has no label {sorted(unknown)}"
        elif not self._series(selector.text):
            yield f"nothing matches {selector.text}"

    def _about_values(self, asked: Asked) -> Iterator[str]:
        values = [value for _, value in self._values(asked)]
        if not values:
            yield "has no answer"
        elif not all(map(isfinite, values)):
            yield f"is not a number: {values}"
        elif (
            asked.moves
            and asked.where not in self._zeros
            and not any(
                value > 0 for _, history in self._history(asked.expression) for value in history
            )
        ):
            yield "was 0 all the time"

    def _labels(self, metric: str) -> set[str]:
        return {label for series in self._series(metric) for label in series}

    def _series(self, selector: str) -> Sequence[Mapping[str, str]]:
        """Every series, since Prometheus began, that a selector finds: once some, always some."""
        if not self._found.get(selector):
            self._found[selector] = self._prometheus.ask("series", **{"match[]": selector})
        return self._found[selector]

    def _history(self, expression: str) -> Sequence[tuple[Mapping[str, str], Sequence[float]]]:
        end = time.time()
        data = self._prometheus.ask(
            "query_range", query=expression, start=f"{end - BACK_SECONDS}", end=f"{end}", step="1"
        )
        return [
            (one["metric"], [float(value) for _, value in one["values"]]) for one in data["result"]
        ]
