"""The page of metrics, from ``reach.telemetry.metrics``."""

import ast
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from docs.reference.markdown import codes, page, table
from reach.telemetry import metrics

WORDS = """
What `/metrics` tells where `REACH_METRICS_PORT` is set. Durations are in seconds. A histogram has
`_bucket`, `_sum` and `_count` of its name. Nobody's address, name or token is ever a label.
"""
COUNTER_END = "_total"


def found() -> list[MetricWrapperBase]:
    """List the metrics in the order of the source."""
    return [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]


def buckets() -> dict[str, list[float]]:
    """Read the buckets of histograms from the source: the library keeps them to itself."""
    tree = ast.parse(Path(metrics.__file__).read_text(encoding="utf-8"))
    return {
        str(call.args[0].value): ast.literal_eval(keyword.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant)
        for keyword in call.keywords
        if keyword.arg == "buckets"
    }


def written() -> str:
    """Write the page."""
    bounds = buckets()
    rows = []
    for metric in found():
        (described,) = metric.describe()
        name = described.name + (COUNTER_END if described.type == "counter" else "")
        words = described.documentation
        if described.name in bounds:
            words += f" Buckets: {', '.join(f'{bound:g}' for bound in bounds[described.name])}."
        labels = codes(metric._labelnames)  # noqa: SLF001 - it tells them nowhere else
        rows.append((f"`{name}`", described.type, labels, words))
    return page("Metrics", WORDS, table(("metric", "type", "labels", "what it tells"), rows))
