"""What the test of an outage does to time is the same everywhere."""

import re
from pathlib import Path

import yaml

from tests.support.telemetry.rules import (
    FACTOR,
    PATIENT,
    RULES,
    UNITS_MS,
    Rules,
    alerts,
    factor_of,
    loud,
    ran,
    scaled,
    written,
)

SHIPPED = yaml.safe_load(RULES.read_text(encoding="utf-8"))
DURATIONS = re.compile(r"(?<![\w.])(\d+)(ms|[smhd])(?!\w)")


def milliseconds(rules: Rules) -> list[tuple[int, int]]:
    """List every duration in windows, offsets and ``for``, and by what it is to be divided."""
    units = {**UNITS_MS, "ms": 1}
    texts = [
        text
        for rule in rules["groups"][0]["rules"]
        for text in ((rule["expr"], FACTOR), (rule.get("for", ""), factor_of(rule)))
    ]
    return [(int(n) * units[u], by) for text, by in texts for n, u in DURATIONS.findall(text)]


def test_every_duration_is_divided_alike() -> None:
    """None is forgotten, and nothing else is changed but the two bounds in seconds."""
    before, after = milliseconds(SHIPPED), milliseconds(scaled(SHIPPED))
    assert len(before) > 50
    assert after == [(one // factor, factor) for one, factor in before]
    assert sum(factor != FACTOR for _, factor in before) == len(PATIENT)
    text, short = (yaml.safe_dump(rules, width=1000) for rules in (SHIPPED, scaled(SHIPPED)))
    assert "_age_seconds) > 600" in text
    assert "_age_seconds) > 5\n" in short
    assert text.count("60([.]0)?") == short.count('le="2.5"') == 5


def test_the_loud_ones_are_the_quiet_ones_without_their_reason(tmp_path: Path) -> None:
    """Each alert that another explains has one, and Prometheus understands them."""
    names = {rule["alert"] for rule in loud(SHIPPED)["groups"][0]["rules"]}
    explained = {name for name, rule in alerts().items() if "_explained:" in rule["expr"]}
    assert names == {f"Loud{name}" for name in explained}
    assert len(names) == 5
    for file in written(tmp_path):
        text = file.read_text(encoding="utf-8")
        assert "_explained:" not in text or "Loud" not in text
        assert "SUCCESS" in ran("promtool", "check", "rules", file)
