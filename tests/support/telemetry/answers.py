"""Whether a real Prometheus has an answer to a question, and what is wrong if it has none."""

import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from math import isfinite

from tests.support.prometheus import Prometheus
from tests.support.telemetry.asked import Asked
from tests.support.telemetry.promql import Selector, grouped_by, selectors

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
