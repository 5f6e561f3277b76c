"""What the test of the expressions believes about an expression is so."""

import pytest

from tests.support.telemetry.asked import as_chosen, compared
from tests.support.telemetry.promql import NotUnderstood, grouped_by, selectors, with_bool


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("up", {"up": set()}),
        ('up{job=~"a|b",instance!="c"} == 0', {"up": {"job", "instance"}}),
        ("sum by (le) (rate(x_bucket[5m]))", {"x_bucket": set()}),
        ('sum(rate(x{a="}"}[5m] offset 1h)) by (b)', {"x": {"a"}}),
        ("1 - (sum(a) or vector(0)) / sum(b{})", {"a": set(), "b": set()}),
        ('x{a="1", b="2",}', {"x": {"a", "b"}}),
        ('a * on (x) group_left (y) b{z="1"} # c', {"a": set(), "b": {"z"}}),
        ('job:a:rate5m{job="x"} > bool 14.4 * 0.001', {"job:a:rate5m": {"job"}}),
        ("max_over_time(sum(a)[1h:5m]) unless absent(b)", {"a": set(), "b": set()}),
        ("histogram_quantile(0.99, sum without (instance, le) (a))", {"a": set()}),
        ("time() - a @ end()", {"a": set()}),
    ],
)
def test_every_metric_and_label_is_found(expression: str, named: dict[str, set[str]]) -> None:
    """And nothing else is taken for one: no function, aggregation, keyword or grouping label."""
    assert {one.metric: set(one.labels) for one in selectors(expression)} == named


def test_a_selector_is_a_query_of_its_own() -> None:
    """As it was written, without the range."""
    (one,) = selectors('sum(rate(x{ a = "b" , c=~"d.*" }[5m]))')
    assert one.text == 'x{ a = "b" , c=~"d.*" }'


@pytest.mark.parametrize("expression", ['{__name__=~"reach_.*"}', 'a{"b"}', "a ? b", "a{b=c}"])
def test_what_is_not_understood_is_refused(expression: str) -> None:
    """It must not pass for an expression that names nothing."""
    with pytest.raises((NotUnderstood, ValueError)):
        selectors(expression)


def test_what_an_expression_groups_by_is_found() -> None:
    """Whatever it groups with."""
    expression = "sum by (a, b) (x{c='d'}) / on (e) group_left (f) avg(y) without (g)"
    assert grouped_by(expression) == {"a", "b", "e", "f", "g"}


def test_a_comparison_gives_a_number_either_way() -> None:
    """But for those that are numbers already, and those of labels."""
    assert with_bool('a{b!="c"} > 1 and d <= bool 2') == 'a{b!="c"} > bool  1 and d <= bool 2'


def test_what_must_not_be_there_is_counted() -> None:
    """An alert on nothing has no number while all is well."""
    expression = "absent(a) or absent_over_time(b[5m]) > 0 unless c"
    assert compared(expression) == "count(a) or count_over_time(b[5m]) > bool  0 or c"


def test_chosen_values_are_written_as_grafana_writes_them() -> None:
    """Regular expressions inside of strings, so that their backslashes are doubled."""
    assert as_chosen("reach") == "reach"
    assert as_chosen("127.0.0.1:9090", "b") == r"(127\\.0\\.0\\.1:9090|b)"
