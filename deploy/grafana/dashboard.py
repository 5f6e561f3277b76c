"""Writes Reach's Grafana dashboard on stdout: ``make dashboards`` puts it where it belongs.

From left to right: is it healthy, is it keeping up, who is hurt? From top to bottom: the answer,
then what to look at. It needs Prometheus and Reach's own metrics, and none of the rules.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import chain

import healthy
import hurt
import keeping_up
from expressions import of
from panels import (
    Json,
    Place,
    annotation,
    at,
    choice,
    heading,
    numbered,
    source_choice,
)

LIGHT_WIDTH, LIGHT_HEIGHT = 3, 4
COLUMN_WIDTH, HEADING_HEIGHT, GRAPH_HEIGHT = 8, 2, 8
QUESTIONS = {
    "Is it healthy?": healthy,
    "Is it keeping up?": keeping_up,
    "Who is hurt?": hurt,
}
CHOICES = [
    source_choice("prometheus"),
    choice("job", "Job", "label_values(reach_build_info, job)"),
    choice(
        "instance",
        "Instance",
        'label_values(reach_build_info{job=~"$job"}, instance)',
        all_value=".+",
    ),
]
BUILD = of("reach_build_info")
MARKS = [
    annotation(
        "New versions",
        f"count by (version) ({BUILD}) unless count by (version) ({BUILD} offset 5m)",
        "Version {{version}}",
        "blue",
    ),
    annotation(
        "Starts",
        f"count by (instance) ({BUILD}) unless count by (instance) ({BUILD} offset 1m)",
        "{{instance}} started",
        "purple",
    ),
]


def first_row() -> Iterator[Json]:
    """The traffic lights, side by side."""
    for number, panel in enumerate(chain(*(part.LIGHTS for part in QUESTIONS.values()))):
        yield at(Place(number * LIGHT_WIDTH, 0, LIGHT_WIDTH, LIGHT_HEIGHT), panel)


def column(number: int, question: str, panels: Sequence[Json]) -> Iterator[Json]:
    """Everything below one question."""
    x, y = number * COLUMN_WIDTH, LIGHT_HEIGHT
    yield at(Place(x, y, COLUMN_WIDTH, HEADING_HEIGHT), heading(question))
    y += HEADING_HEIGHT
    for below, panel in enumerate(panels):
        yield at(Place(x, y + below * GRAPH_HEIGHT, COLUMN_WIDTH, GRAPH_HEIGHT), panel)


def dashboard() -> Json:
    """All of it, as Grafana 11 reads it."""
    below = [
        column(number, question, part.GRAPHS)
        for number, (question, part) in enumerate(QUESTIONS.items())
    ]
    return {
        "uid": "reach",
        "title": "Reach",
        "description": "Is it healthy, is it keeping up, who is hurt?",
        "tags": ["reach"],
        "schemaVersion": 39,
        "version": 1,
        "id": None,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "fiscalYearStartMonth": 0,
        "weekStart": "",
        "links": [],
        "templating": {"list": CHOICES},
        "annotations": {"list": MARKS},
        "panels": numbered(chain(first_row(), *below)),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n")
