"""How Grafana 11 writes what a dashboard is made of, in plain dictionaries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

#: Whichever Prometheus the dashboard's own variable names; the provisioned one at first.
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Ask:
    """One question of a panel to Prometheus, and what its answers are called."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a panel is, in a grid 24 wide."""

    x: int
    y: int
    width: int
    height: int


def at(place: Place, panel: Json) -> Json:
    """Give a panel its place."""
    grid = {"x": place.x, "y": place.y, "w": place.width, "h": place.height}
    return {**panel, "gridPos": grid}


def numbered(panels: Iterable[Json]) -> Sequence[Json]:
    """Give each panel an id of its own."""
    return [{"id": number, **panel} for number, panel in enumerate(panels, 1)]


def heading(text: str) -> Json:
    """What a column answers."""
    options = {"mode": "markdown", "content": f"## {text}"}
    return {"type": "text", "title": "", "transparent": True, "options": options}


def light(
    title: str, about: str, expression: str, *steps: tuple[str, float | None], alert: str = ""
) -> Json:
    """Make a traffic light: one number, on the colour of the step that it has come to.

    The first of ``steps`` is the colour below all others, at None. ``alert`` tells of it, too.
    """
    nothing = {"match": "null+nan", "result": {"text": "no traffic"}}
    return _panel(
        "stat",
        title,
        _with_page(about, alert),
        targets=_targets([Ask(expression)], instant=True),
        fieldConfig={
            "defaults": {
                "unit": "short",
                "color": {"mode": "thresholds"},
                "thresholds": _thresholds(steps),
                "mappings": [{"type": "special", "options": nothing}],
            },
            "overrides": [],
        },
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background",
            "graphMode": "none",
            "justifyMode": "center",
            "orientation": "auto",
            "textMode": "value",
        },
    )


def graph(title: str, about: str, *asks: Ask, unit: str = "short", alert: str = "") -> Json:
    """Make lines over time, from 0 up; ``alert`` tells of them, too."""
    return _panel(
        "timeseries",
        title,
        _with_page(about, alert),
        targets=_targets(asks),
        fieldConfig={
            "defaults": {
                "unit": unit,
                "min": 0,
                "noValue": "none",
                "color": {"mode": "palette-classic"},
                "thresholds": _thresholds([("green", None)]),
                "custom": {
                    "drawStyle": "line",
                    "lineWidth": 1,
                    "fillOpacity": 10,
                    "showPoints": "never",
                    "spanNulls": False,
                    "stacking": {"group": "A", "mode": "none"},
                    "thresholdsStyle": {"mode": "off"},
                    "scaleDistribution": {"type": "linear"},
                },
            },
            "overrides": [],
        },
        options={
            "legend": {
                "calcs": ["lastNotNull", "max"],
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def heatmap(title: str, about: str, expression: str, *, unit: str) -> Json:
    """Show how a histogram's buckets fill up over time."""
    return _panel(
        "heatmap",
        title,
        about,
        targets=_targets([Ask(expression, "{{le}}")], form="heatmap"),
        fieldConfig={"defaults": {}, "overrides": []},
        options={
            "calculate": False,
            "cellGap": 1,
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "scale": "exponential",
                "exponent": 0.5,
                "steps": 64,
                "fill": "dark-orange",
                "reverse": False,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
        },
    )


# What some panels are besides


def set_to(panel: Json, **defaults: Any) -> Json:
    """Set something for all series of a panel: its unit, its decimals."""
    panel["fieldConfig"]["defaults"].update(defaults)
    return panel


def with_words(panel: Json, words: Mapping[int, str]) -> Json:
    """Say a word in place of a number."""
    texts = {str(number): {"text": text} for number, text in words.items()}
    panel["fieldConfig"]["defaults"]["mappings"].append({"type": "value", "options": texts})
    return panel


def stacked(panel: Json) -> Json:
    """Pile the series up."""
    custom = panel["fieldConfig"]["defaults"]["custom"]
    custom |= {"fillOpacity": 30, "stacking": {"group": "A", "mode": "normal"}}
    return panel


def bad_above(limit: float, panel: Json) -> Json:
    """Draw a line where trouble begins."""
    panel["fieldConfig"]["defaults"]["custom"]["thresholdsStyle"] = {"mode": "line"}
    return set_to(panel, thresholds=_thresholds([("transparent", None), ("red", limit)]))


def from_one_to_millions(panel: Json) -> Json:
    """Show few beside very many, and 0: a logarithmic axis."""
    scale = {"type": "symlog", "log": 10, "linearThreshold": 1}
    panel["fieldConfig"]["defaults"]["custom"]["scaleDistribution"] = scale
    return panel


def coloured(panel: Json, colours: Mapping[str, str]) -> Json:
    """Draw the series whose names match a regular expression in one colour, always."""
    for series, name in colours.items():
        _override(panel, series, color={"mode": "fixed", "fixedColor": name})
    return panel


def on_the_right(panel: Json, series: str, unit: str) -> Json:
    """Give the series whose names match an axis of their own, with its own unit."""
    return _override(panel, series, **{"custom.axisPlacement": "right", "unit": unit})


# Around the panels


def annotation(name: str, expression: str, title: str, line_colour: str) -> Json:
    """Mark on every panel when a series begins."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": line_colour,
        "expr": expression,
        "step": "15s",
        "titleFormat": title,
        "textFormat": "",
        "tagKeys": "",
        "useValueForTime": False,
    }


def choice(name: str, label: str, query: str, all_value: str | None = None) -> Json:
    """Let the reader choose among the values of a label: one, several or all."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": f"{name}-values"},
        "allValue": all_value,
        "includeAll": True,
        "multi": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "hide": 0,
        "skipUrlSync": False,
    }


def source_choice(uid: str) -> Json:
    """Let the reader choose the Prometheus; ``uid`` is chosen at first."""
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Prometheus",
        "query": "prometheus",
        "current": {"selected": True, "text": "Prometheus", "value": uid},
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "skipUrlSync": False,
    }


def _with_page(about: str, alert: str) -> str:
    """Name the page that says what to do once there is an alert."""
    return f"{about} See docs/runbooks/{alert}.md." if alert else about


def _panel(kind: str, title: str, about: str, **parts: Any) -> Json:
    head = {"type": kind, "title": title, "description": about, "datasource": DATASOURCE}
    return {**head, **parts}


def _targets(
    asks: Iterable[Ask], *, instant: bool = False, form: str = "time_series"
) -> Sequence[Json]:
    return [
        {
            "refId": letter,
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": ask.expression,
            "legendFormat": ask.legend,
            "format": form,
            "instant": instant,
            "range": not instant,
        }
        for letter, ask in zip("ABCDEFGH", asks, strict=False)
    ]


def _thresholds(steps: Iterable[tuple[str, float | None]]) -> Json:
    return {
        "mode": "absolute",
        "steps": [{"color": name, "value": value} for name, value in steps],
    }


def _override(panel: Json, series: str, **properties: Any) -> Json:
    panel["fieldConfig"]["overrides"].append(
        {
            "matcher": {"id": "byRegexp", "options": f"/{series}/"},
            "properties": [{"id": name, "value": value} for name, value in properties.items()],
        }
    )
    return panel
