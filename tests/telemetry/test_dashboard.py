"""The dashboard is what Grafana 11 can read, and asks for what there is."""

import json
import re
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from reach.telemetry import metrics
from tests.support.root import ROOT
from tests.support.telemetry.expressions import (
    DASHBOARD,
    DEPLOY,
    of_dashboard,
    read_dashboard,
    selectors,
    series,
)

GRAFANA = DEPLOY / "grafana"
GRID_WIDTH = 24
#: Units of Grafana's that the panels use: a misspelt one would be shown as a word.
UNITS = {"s", "ops", "reqps", "short", "percentunit"}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    """The dashboard that Grafana is given."""
    return read_dashboard()


@pytest.fixture(scope="module")
def panels(dashboard: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """Its panels that show something: no headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "text"]


def test_the_json_is_written_so_that_a_change_is_a_few_lines(dashboard: dict[str, Any]) -> None:
    """With two spaces, and without the number that a Grafana's own database gave it."""
    text = json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
    assert DASHBOARD.read_text(encoding="utf-8") == text
    assert (dashboard["id"], dashboard["uid"], dashboard["schemaVersion"]) == (None, "reach", 39)


def test_every_metric_that_is_asked_for_is_one_of_ours(dashboard: dict[str, Any]) -> None:
    """Or Prometheus's own. Whether it has the labels, ``test_expressions`` asks."""
    named = {one.metric for asked in of_dashboard(dashboard) for one in selectors(asked.expression)}
    assert named - {"up"} <= set(series())


def test_no_panel_lies_on_another(dashboard: dict[str, Any]) -> None:
    """Each has a place of its own, within Grafana's grid."""
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert all(0 <= place["x"] <= GRID_WIDTH - place["w"] for place in places)
    assert all(place["w"] > 0 and place["h"] > 0 for place in places)


def test_each_panel_is_one_of_a_kind(dashboard: dict[str, Any]) -> None:
    """By its id, and by its title."""
    ids = [panel["id"] for panel in dashboard["panels"]]
    titles = [panel["title"] for panel in dashboard["panels"] if panel["title"]]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)


def test_the_questions_go_from_left_to_right(dashboard: dict[str, Any]) -> None:
    """The first row is the answer; then a column for each question, with its headings."""
    first = [panel["type"] for panel in dashboard["panels"] if panel["gridPos"]["y"] == 0]
    assert set(first) == {"stat"}
    headings = [panel for panel in dashboard["panels"] if panel["type"] == "text"]
    asked = [panel["options"]["content"] for panel in headings]
    assert asked == ["## Is it healthy?", "## Is it keeping up?", "## Who is hurt?"]
    columns = {panel["gridPos"]["x"] for panel in headings}
    below = [panel for panel in dashboard["panels"] if panel["gridPos"]["y"] > 0]
    assert {panel["gridPos"]["x"] for panel in below} == columns


def test_each_panel_says_what_it_shows(panels: Sequence[dict[str, Any]]) -> None:
    """A title, a sentence or two, a unit, and a name for each of several lines."""
    for panel in panels:
        assert panel["title"], panel["id"]
        assert re.fullmatch(r"[A-Z0-9].{40,}\.", panel["description"]), panel["title"]
        unit = panel["fieldConfig"]["defaults"].get("unit") or panel["options"]["yAxis"]["unit"]
        assert unit in UNITS, panel["title"]
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends), panel["title"]
        assert panel["type"] == "stat" or all(legends), panel["title"]


def test_each_question_goes_to_the_chosen_prometheus(dashboard: dict[str, Any]) -> None:
    """To the variable, which is the provisioned one until somebody chooses another."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    choices = {one["name"]: one for one in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        targets = panel.get("targets", [])
        assert targets or panel["type"] == "text", panel["title"]
        letters = [target["refId"] for target in targets]
        assert len(set(letters)) == len(letters)
        assert all(target["expr"] and target["datasource"] == source for target in targets)
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())
    (prometheus,) = provisioned["datasources"]
    assert choices["datasource"]["query"] == prometheus["type"] == "prometheus"
    assert choices["datasource"]["current"]["value"] == prometheus["uid"]


def test_what_the_reader_chooses_holds_for_each_panel(dashboard: dict[str, Any]) -> None:
    """No metric is asked for without the job and instance that were chosen."""
    for asked in of_dashboard(dashboard):
        for selector in selectors(asked.expression):
            assert asked.where.startswith("variable") or selector.labels >= {"job", "instance"}


def test_a_legend_names_labels_that_its_answer_has(panels: Sequence[dict[str, Any]]) -> None:
    """Grafana shows nothing in place of a label that was added up."""
    for panel in panels:
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            grouped = re.search(r" by \(([\w, ]+)\)", target["expr"])
            left = set(grouped.group(1).split(", ")) if grouped else set()
            if "histogram_quantile" in target["expr"]:
                left -= {"le"}
            assert named == left, panel["title"]


def test_all_that_is_counted_is_shown() -> None:
    """A metric that nothing on the dashboard asks for is one that nobody looks at."""
    shown = DASHBOARD.read_text(encoding="utf-8")
    counted = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    names = [family.name for one in counted for family in one.describe()]
    assert len(names) > 20
    assert [name for name in names if name not in shown] == []


def test_pages_that_descriptions_name_are_there(panels: Sequence[dict[str, Any]]) -> None:
    """Those who are sent to the docs find the page."""
    text = " ".join(panel["description"] for panel in panels)
    for page in re.findall(r"docs/[\w./-]+\.md", text):
        assert (ROOT / page).is_file(), page


def test_grafana_finds_the_dashboard_where_the_readme_puts_it() -> None:
    """The provider's folder is the one that the compose file mounts."""
    file = GRAFANA / "provisioning/dashboards/reach.yaml"
    (provider,) = yaml.safe_load(file.read_text())["providers"]
    readme = (GRAFANA / "README.md").read_text(encoding="utf-8")
    assert f"deploy/grafana/dashboards:{provider['options']['path']}:ro" in readme
