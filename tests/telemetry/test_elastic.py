"""deploy/elastic against the names that the code has. Neither Elasticsearch nor Kibana was run.

The forms of their objects are held against what Elastic's own source says of them: which
attributes a saved object may have, which references a panel must have.
"""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from kql import is_any, is_there, status

from reach.messages.outcome import Deferred, Rejected, Sent, Unavailable, Unknown
from reach.telemetry.events import EVENTS, action_of
from reach.telemetry.log_fields import ALWAYS, FIELDS
from tests.support.root import ROOT
from tests.support.telemetry.elastic import (
    ELASTIC,
    Json,
    complaints,
    linked,
    named,
    objects,
    of_kind,
    queries,
    read,
    template,
)

DOCUMENTED = (ROOT / "docs" / "guides" / "elastic.md").read_text(encoding="utf-8")
DATA_STREAMS = ("logs-reach-default", "logs-reach.rejected-default")

#: What Kibana 8.9 lets such an object have; it refuses an import with anything else.
SEARCH_ATTRIBUTES = {
    *("title", "description", "columns", "sort", "grid", "hideChart", "isTextBasedQuery"),
    *("timeRestore", "kibanaSavedObjectMeta"),
}
DASHBOARD_ATTRIBUTES = {
    *("title", "description", "kibanaSavedObjectMeta", "timeRestore", "timeFrom", "timeTo"),
    *("refreshInterval", "panelsJSON", "optionsJSON", "version"),
}
FULL_WIDTH = 48
OUTCOMES = (Sent, Deferred, Rejected, Unknown, Unavailable)


def test_the_files_are_as_their_code_writes_them(tmp_path: Path) -> None:
    """Nobody has edited a generated file, or forgotten to run ``deploy/elastic/write.py``."""
    environment = {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(ELASTIC / "write.py"), str(tmp_path)]
    subprocess.run(command, env=environment, check=True)
    assert {file.name for file in tmp_path.iterdir()} == {
        file.name for file in ELASTIC.iterdir() if file.suffix in (".json", ".ndjson")
    }
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (ELASTIC / file.name).read_bytes(), file.name


def test_the_template_maps_what_is_written_and_no_more() -> None:
    """Every field of ``telemetry.events`` is mapped with its type, and nothing else is."""
    declared = {field.name: field.type for field in (*ALWAYS, *FIELDS.values())}
    assert {name: mapping["type"] for name, mapping in template().items()} == declared


def test_the_template_is_the_one_that_is_used() -> None:
    """It makes data streams of both names, before the built-in one and any of Fleet's."""
    found = read("index-template.json")
    assert found["data_stream"] == {}
    assert found["priority"] > 500
    for name in DATA_STREAMS:
        assert any(fnmatch(name, pattern) for pattern in found["index_patterns"])


def test_no_line_is_refused_for_a_value() -> None:
    """Unknown fields and bad numbers are kept, long words too; but a line has its time.

    Elasticsearch refuses the whole template if ``@timestamp`` may be malformed, and a line with a
    keyword of 32,766 bytes.
    """
    found = read("index-template.json")["template"]
    assert found["mappings"]["dynamic"] is False
    assert found["settings"]["index.mapping.ignore_malformed"] is True
    assert template()["@timestamp"] == {"type": "date", "ignore_malformed": False}
    for name, mapping in template().items():
        assert mapping["type"] != "keyword" or mapping["ignore_above"] * 4 < 32_766, name


def test_logs_end() -> None:
    """What is written is deleted after the time that docs/guides/elastic.md says."""
    settings = read("index-template.json")["template"]["settings"]
    phases = read("ilm-policy.json")["policy"]["phases"]
    assert settings["index.lifecycle.name"] == "reach-logs"
    assert phases["delete"]["actions"] == {"delete": {}}
    rollover, kept = phases["hot"]["actions"]["rollover"]["max_age"], phases["delete"]["min_age"]
    assert f"| {rollover[:-1]} days or 10 GB | a new index begins |" in DOCUMENTED
    assert f"| {kept[:-1]} days later | the old one is deleted |" in DOCUMENTED


def test_every_reference_leads_somewhere() -> None:
    """Each object that another names is there, before it, and of the kind that it is taken for."""
    seen: dict[str, str] = {}
    for saved in objects().values():
        for reference in saved["references"]:
            assert seen[reference["id"]] == reference["type"], (saved["id"], reference)
        seen[saved["id"]] = saved["type"]


def test_every_object_has_what_its_kind_has() -> None:
    """No attribute is unknown to Kibana 8.9, and each says in which form it is written."""
    allowed = {"search": SEARCH_ATTRIBUTES, "dashboard": DASHBOARD_ATTRIBUTES}
    versions = {"index-pattern": "8.0.0", "search": "8.0.0", "dashboard": "8.9.0"}
    for saved in objects().values():
        kind = saved["type"]
        assert saved["typeMigrationVersion"] == versions[kind]
        assert saved["coreMigrationVersion"] == "8.8.0"
        assert set(saved["attributes"]) == allowed.get(kind, set(saved["attributes"])), kind


def test_every_panel_finds_its_data() -> None:
    """A panel's references are in the dashboard's list, under the panel's name; none is idle."""
    (dashboard,) = of_kind("dashboard")
    listed = {reference["name"]: reference["id"] for reference in dashboard["references"]}
    wanted = {}
    for panel in dashboard["attributes"]["panelsJSON"]:
        if panel["type"] == "search":
            wanted[f"{panel['panelIndex']}:{panel['panelRefName']}"] = panel["panelIndex"]
            continue
        attributes = panel["embeddableConfig"]["attributes"]
        layers = attributes["state"]["datasourceStates"]["formBased"]["layers"]
        names = [f"indexpattern-datasource-layer-{layer}" for layer in layers]
        assert [reference["name"] for reference in attributes["references"]] == names
        wanted |= {f"{panel['panelIndex']}:{name}": "reach-logs" for name in names}
        assert shown_columns(attributes["state"]["visualization"]) == {
            column for layer in layers.values() for column in layer["columns"]
        }
    assert listed == wanted


def shown_columns(visualization: Json) -> set[str]:
    """Which columns a Lens visualization shows."""
    if "metricAccessor" in visualization:
        return {visualization["metricAccessor"]}
    (layer,) = visualization["layers"]
    return {layer["xAccessor"], *layer["accessors"]}


def test_no_panel_lies_upon_another() -> None:
    """The dashboard is covered by its panels, each cell by one of them."""
    (dashboard,) = of_kind("dashboard")
    places = [panel["gridData"] for panel in dashboard["attributes"]["panelsJSON"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)) == FULL_WIDTH * (max(y for _, y in cells) + 1)
    assert max(x for x, _ in cells) == FULL_WIDTH - 1


def test_every_field_that_kibana_names_is_mapped() -> None:
    """Columns, sorts, formats, panels, links and queries name no field that nothing writes."""
    assert set(named(list(objects().values()))) <= set(template())


def test_every_value_that_kibana_asks_for_can_come() -> None:
    """A query asks for events, outcomes and levels that there are."""
    can_come = {
        "event.action": {action_of(message) for message in EVENTS},
        "reach.attempt.outcome": {kind("").name for kind in OUTCOMES},
        "log.level": {"debug", "info", "warning", "error", "critical"},
        "error.type": {"json"},  # Filebeat's
        "trace.id": {"*"},
    }
    asked = [found for query in queries(list(objects().values())) for found in query.asks]
    assert asked
    for name, value in asked:
        if template()[name]["type"] != "long":
            assert value in can_come[name], name


def test_a_question_finds_what_kibana_would() -> None:
    """Lists, what is missing, and ranges; what is within ``and`` or ``or`` is in parentheses."""
    line = {"event.type": ["access", "error"], "http.response.status_code": 500}
    either = is_any("event.type", "error", "start")
    assert either.text == 'event.type : ("error" or "start")'
    lines: list[Json] = [line, {"event.type": "start"}, {"event.type": "access"}, {}]
    assert [either.finds(one) for one in lines] == [True, True, False, False]
    codes = (499, 500, 599, 600)
    fields = [{"http.response.status_code": code} for code in codes]
    assert [status(500, 600).finds(one) for one in fields] == [False, True, True, False]
    assert [status(500).finds(one) for one in (*fields, {})] == [False, True, True, True, False]
    nobody = is_any("event.type", "end")
    both = is_there("nowhere") & either | nobody & either
    first, second = f"nowhere : * and {either.text}", f'event.type : "end" and {either.text}'
    assert both.text == f"({first}) or ({second})"
    assert [both.finds(one) for one in (line, {**line, "nowhere": 1})] == [False, True]


def test_a_trace_id_is_a_link_to_its_story() -> None:
    """The link leads to the saved search, asks it for that value, and reaches as far as logs do."""
    (view,) = of_kind("index-pattern")
    formats = view["attributes"]["fieldFormatMap"]
    kept = read("ilm-policy.json")["policy"]["phases"]["delete"]["min_age"]
    for name in ("trace.id", "reach.message.id"):
        url = formats[name]["params"]["urlTemplate"]
        (id_,) = re.findall(r"#/view/([\w-]+)\?", url)
        assert objects()[id_]["type"] == "search"
        assert linked(url, "4bf9").asks == ((name, "4bf9"),)
        assert f"from:now-{kept}," in url
    assert objects()["reach-story"]["attributes"]["sort"] == [["@timestamp", "asc"]]


def test_every_search_is_documented() -> None:
    """docs/guides/elastic.md says of each saved search what it answers."""
    for saved in of_kind("search"):
        assert f"| {saved['attributes']['title'].removeprefix('Reach: ')} |" in DOCUMENTED


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"@timestamp": None}, "@timestamp is date, and not NoneType"),
        ({"@timestamp": "2026-11-24 11:44:48"}, "@timestamp is date, and not str"),
        ({"@timestamp": "2026-11-24T11:44:48+01:00"}, "@timestamp is date, and not str"),
        ({"process": {"pid": "7"}}, "process.pid is long, and not str"),
        ({"process": {"pid": True}}, "process.pid is long, and not bool"),
        ({"process": {"pid": 2**63}}, "process.pid is long, and not int"),
        ({"process": {"pid": 1.5}}, "process.pid is long, and not float"),
        ({"message": ["a", 1]}, "message is match_only_text, and not list"),
        ({"event": {"type": []}}, "event.type is keyword, and not list"),
        ({"event": {"reason": "a" * 1025}}, "event.reason is keyword, and not str"),
        ({"log.level": 30}, "log.level is keyword, and not int"),
        ({"log": {"level": "info"}}, "log.level comes twice"),
        ({"reach": {"email": "x"}}, "reach.email is not mapped"),
    ],
)
def test_a_line_that_does_not_fit_is_complained_of(change: Json, complaint: str) -> None:
    """The check that all lines pass finds each kind of fault, and repeats no value."""
    good: Json = {
        "@timestamp": "2026-11-24T11:44:48.521Z",
        "log.level": "info",
        "event": {"type": ["access"], "duration": 2**40},
        "error": {"stack_trace": "a.py:1 f\nb.py:2 g"},
    }
    assert complaints(good) == []
    assert complaints(good | change) == [complaint]
    del good["@timestamp"]
    assert complaints(good) == ["@timestamp is missing"]
