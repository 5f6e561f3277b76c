"""What a PromQL expression names: metrics with their labels. ``promql_parser`` reads it.

promtool and Prometheus say whether an expression is one; neither (in Debian's version) says what
it names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Expr,
    VectorSelector,
    parse,
    walk,
)


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
