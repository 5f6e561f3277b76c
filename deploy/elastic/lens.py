"""Panels of a Kibana dashboard, in the form of 8.9, which later versions migrate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kql import EVERYTHING, Query

Json = dict[str, Any]

DATA_VIEW_ID = "reach-logs"
LAYER, TIME = "layer", "time"


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel and its place: a dashboard is 48 columns wide."""

    id: str
    title: str
    content: Json
    reference: Json
    x: int
    y: int
    width: int
    height: int

    def written(self) -> Json:
        """Write it as an item of ``panelsJSON``."""
        return {
            "gridData": {"x": self.x, "y": self.y, "w": self.width, "h": self.height, "i": self.id},
            "panelIndex": self.id,
            "title": self.title,
            "version": "8.9.0",
            **self.content,
        }

    def referred(self) -> Json:
        """Write what it refers to as an item of the dashboard's ``references``."""
        return {**self.reference, "name": f"{self.id}:{self.reference['name']}"}


def data_view_reference(name: str) -> Json:
    """Refer to the data view."""
    return {"type": "index-pattern", "id": DATA_VIEW_ID, "name": name}


def kuery(query: Query) -> Json:
    """Write a query as Kibana keeps it."""
    return {"language": "kuery", "query": query.text}


def measured(label: str, query: Query, *, sum_of: str = "") -> Json:
    """A number of lines that answer a query, or the sum of one of their fields."""
    return {
        "label": label,
        "customLabel": True,
        "dataType": "number",
        "isBucketed": False,
        "operationType": "sum" if sum_of else "count",
        "params": {"emptyAsNull": False},
        "scale": "ratio",
        "sourceField": sum_of or "___records___",
        "filter": kuery(query),
    }


def _over_time() -> Json:
    return {
        "label": "@timestamp",
        "dataType": "date",
        "isBucketed": True,
        "operationType": "date_histogram",
        "params": {"dropPartials": False, "includeEmptyRows": True, "interval": "auto"},
        "scale": "interval",
        "sourceField": "@timestamp",
    }


def _lens(kind: str, columns: Json, visualization: Json) -> Json:
    layer = {"columnOrder": list(columns), "columns": columns, "incompleteColumns": {}}
    return {
        "type": "lens",
        "embeddableConfig": {
            "enhancements": {},
            "attributes": {
                "title": "",
                "type": "lens",
                "visualizationType": kind,
                "references": [data_view_reference(f"indexpattern-datasource-layer-{LAYER}")],
                "state": {
                    "adHocDataViews": {},
                    "datasourceStates": {"formBased": {"layers": {LAYER: layer}}},
                    "filters": [],
                    "internalReferences": [],
                    "query": kuery(EVERYTHING),
                    "visualization": visualization,
                },
            },
        },
    }


def number(column: Json) -> Json:
    """One large number."""
    shown = {"layerId": LAYER, "layerType": "data", "metricAccessor": "number"}
    return _lens("lnsMetric", {"number": column}, shown)


def bars(columns: Mapping[str, Json]) -> Json:
    """Several numbers over time, one upon the other."""
    layer = {
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": "bar_stacked",
        "xAccessor": TIME,
        "accessors": list(columns),
    }
    shown = {
        "legend": {"isVisible": True, "position": "bottom"},
        "valueLabels": "hide",
        "preferredSeriesType": "bar_stacked",
        "layers": [layer],
    }
    return _lens("lnsXY", {TIME: _over_time(), **columns}, shown)
