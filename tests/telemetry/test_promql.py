"""What the test of the expressions believes about an expression is so."""

import pytest

from tests.support.telemetry.expressions import as_chosen, compared, grouped_by, selectors


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ('up{job=~"a|b",instance!="c"} == 0', {"up": {"job", "instance"}}),
        ('sum(rate(x{a="}"}[5m] offset 1h)) by (b)', {"x": {"a"}}),
        ("1 - (sum(a) or vector(0)) / sum(b{})", {"a": set(), "b": set()}),
        ('a * on (x) group_left (y) b{z="1"} # c', {"a": set(), "b": {"z"}}),
        ('job:a:rate5m{job="x"} > bool 14.4 * 0.001', {"job:a:rate5m": {"job"}}),
        ("max_over_time(sum(a)[1h:5m]) unless absent(b)", {"a": set(), "b": set()}),
        ("histogram_quantile(0.99, sum without (instance, le) (a))", {"a": set()}),
    ],
)
def test_every_metric_and_label_is_found(expression: str, named: dict[str, set[str]]) -> None:
    """And nothing else is taken for one: no function, aggregation, keyword or grouping label."""
    assert {one.metric: set(one.labels) for one in selectors(expression)} == named


def test_a_selector_is_a_query_of_its_own() -> None:
    """Without the range, and with each backslash as Prometheus needs it."""
    (one,) = selectors(r'sum(rate(x{ a = "b" , c=~"127\\.0" }[5m]))')
    assert one.text == r'x{a="b",c=~"127\\.0"}'


@pytest.mark.parametrize("expression", ['{__name__=~"reach_.*"}', 'a{"b"}', "a ? b", "a{b=c}"])
def test_what_is_not_understood_is_refused(expression: str) -> None:
    """It must not pass for an expression that names nothing."""
    with pytest.raises(ValueError, match=r"."):
        selectors(expression)


def test_what_an_expression_groups_by_is_found() -> None:
    """Whatever it groups with."""
    expression = "sum by (a, b) (x{c='d'}) / on (e) group_left (f) avg(y) without (g)"
    assert grouped_by(expression) == {"a", "b", "e", "f", "g"}


def test_an_alert_is_asked_so_that_it_has_a_number_while_all_is_well() -> None:
    """Comparisons give 0 or 1, but for those of labels; what must not be there is counted."""
    assert compared('a{b!="c"} > 1 and d <= bool 2') == 'a{b!="c"} > bool 1 and d <= bool 2'
    expression = "absent(a) == 1 or absent_over_time(b[5m]) >= 0 unless c"
    counted = "count(a) == bool 1 or count_over_time(b[5m]) >= bool 0 or c"
    assert compared(expression) == counted


def test_chosen_values_are_written_as_grafana_writes_them() -> None:
    """Regular expressions inside of strings, so that their backslashes are doubled."""
    assert as_chosen("reach") == "reach"
    assert as_chosen("127.0.0.1:9090", "b") == r"(127\\.0\\.0\\.1:9090|b)"
