"""What Kibana shows of Reach: a data view, saved searches and a dashboard, as it exports them."""

import json
from collections.abc import Iterator

from kql import EVERYTHING, always, field, happened, is_any, status
from lens import DATA_VIEW_ID, Json, Panel, bars, data_view_reference, kuery, measured, number
from searches import FAILED, REFUSALS, SEARCHES, SERVER_ERRORS, STORY, TROUBLE, Search
from templates import DATA_VIEW_PATTERN, KEEP_DAYS

SOURCE = "kibanaSavedObjectMeta.searchSourceJSON.index"
HALF, WHOLE = 24, 48


def saved(kind: str, id_: str, version: str, attributes: Json, *references: Json) -> Json:
    """Write a saved object, in the form that Kibana ``version`` gave to its kind."""
    return {
        "type": kind,
        "id": id_,
        "attributes": attributes,
        "references": list(references),
        "coreMigrationVersion": "8.8.0",
        "typeMigrationVersion": version,
    }


def compact(value: object) -> str:
    """Write JSON to be kept inside JSON."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def story_of(name: str) -> Json:
    """Make a field's value a link to its story: Discover, with the query already asked."""
    state = f"_g=(time:(from:now-{KEEP_DAYS}d,to:now))"
    query = f"_a=(query:(language:kuery,query:'{name}:{{{{value}}}}'))"
    url = f"../app/discover#/view/{STORY.id}?{state}&{query}"
    params = {"type": "a", "urlTemplate": url, "labelTemplate": "{{value}}"}
    return {"id": "url", "params": params}


def data_view() -> Json:
    """The data view; there may be no lines yet."""
    duration = {
        "inputFormat": "nanoseconds",
        "outputFormat": "asMilliseconds",
        "outputPrecision": 1,
    }
    formats = {
        field("nanoseconds"): {"id": "duration", "params": duration},
        **{name: story_of(name) for name in (always("trace.id"), field("reach_message_id"))},
    }
    attributes = {
        "title": DATA_VIEW_PATTERN,
        "name": "Reach: logs",
        "timeFieldName": always("@timestamp"),
        "allowNoIndex": True,
        "fieldFormatMap": compact(formats),
    }
    return saved("index-pattern", DATA_VIEW_ID, "8.0.0", attributes)


def saved_search(search: Search) -> Json:
    """A saved search."""
    source = {"query": kuery(search.query), "filter": [], "indexRefName": SOURCE}
    attributes = {
        "title": search.title,
        "description": search.words,
        "columns": list(search.columns),
        "sort": [[always("@timestamp"), "asc" if search.is_story else "desc"]],
        "grid": {},
        "hideChart": search.is_story,
        "isTextBasedQuery": False,
        "timeRestore": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": compact(source)},
    }
    return saved("search", search.id, "8.0.0", attributes, data_view_reference(SOURCE))


def numbers() -> Iterator[tuple[str, Json]]:
    """What the first row counts."""
    yield "Answered requests", measured("requests", happened("request"))
    yield "Answered with 5xx", measured("requests", status(500))
    yield "Messages sent", measured("messages", happened("sent"))
    yield "Messages given up", measured("messages", happened("message failed"))


def answers() -> Json:
    """Answers over time, by the class of their status."""
    classes = {f"{first}xx": status(first * 100, (first + 1) * 100) for first in (2, 3, 4, 5)}
    return bars({name: measured(name, query) for name, query in classes.items()})


def attempts() -> Json:
    """Attempts over time, by what came of them."""
    columns = {"sent": measured("sent", happened("sent"))}
    for outcome in ("deferred", "rejected", "unknown", "unavailable"):
        query = happened("not sent") & is_any(field("outcome"), outcome)
        columns[outcome] = measured(outcome, query)
    return bars(columns)


def refusals() -> Json:
    """Spam and refusals over time; a line may stand for many refusals."""
    return bars(
        {
            "spam": measured("spam", happened("taken for spam")),
            "again": measured("asked to send again", happened("asked to send again")),
            "refused": measured(
                "told to come back later",
                happened("refused by a rate limit"),
                sum_of=field("count"),
            ),
        }
    )


def found(search: Search, x: int, y: int, width: int) -> Panel:
    """A panel that shows what a saved search finds."""
    content = {
        "type": "search",
        "embeddableConfig": {"enhancements": {}},
        "panelRefName": f"panel_{search.id}",
    }
    reference = {"type": "search", "id": search.id, "name": f"panel_{search.id}"}
    return Panel(
        search.id, search.title.removeprefix("Reach: "), content, reference, x, y, width, 12
    )


def panels() -> Iterator[Panel]:
    """All panels: how much, when, then which."""
    reference = data_view_reference("indexpattern-datasource-layer-layer")
    for place, (title, column) in enumerate(numbers()):
        yield Panel(f"number-{place}", title, number(column), reference, place * 12, 0, 12, 6)
    yield Panel("answers", "Answers by status", answers(), reference, 0, 6, HALF, 12)
    yield Panel("attempts", "Attempts to deliver", attempts(), reference, HALF, 6, HALF, 12)
    yield found(FAILED, 0, 18, HALF)
    yield found(SERVER_ERRORS, HALF, 18, HALF)
    yield Panel("refusals", "Spam and refusals over time", refusals(), reference, 0, 30, HALF, 12)
    yield found(REFUSALS, HALF, 30, HALF)
    yield found(TROUBLE, 0, 42, WHOLE)


def dashboard() -> Json:
    """The dashboard."""
    source = {"query": kuery(EVERYTHING), "filter": []}
    options = {"useMargins": True, "syncColors": False, "hidePanelTitles": False}
    attributes = {
        "title": "Reach",
        "description": "What Reach says in its logs: how much, when, and which.",
        "timeRestore": True,
        "timeFrom": "now-24h",
        "timeTo": "now",
        "refreshInterval": {"pause": True, "value": 60_000},
        "panelsJSON": compact([panel.written() for panel in panels()]),
        "optionsJSON": compact(options),
        "version": 1,
        "kibanaSavedObjectMeta": {"searchSourceJSON": compact(source)},
    }
    references = [panel.referred() for panel in panels()]
    return saved("dashboard", "reach", "8.9.0", attributes, *references)


def saved_objects() -> list[Json]:
    """Everything, each after what it refers to."""
    return [data_view(), *map(saved_search, SEARCHES), dashboard()]
