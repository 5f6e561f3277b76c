"""The chart is one that helm takes."""

from tests.chart.rendered import CHART, LEAST, helm

SETS = [part for name, value in LEAST.items() for part in ("--set", f"{name}={value}")]


def test_helm_finds_no_fault_in_the_chart() -> None:
    """Not even what it would only warn of."""
    assert "1 chart(s) linted, 0 chart(s) failed" in helm("lint", "--strict", str(CHART), *SETS)
