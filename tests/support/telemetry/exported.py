"""What deploy/elastic/kibana.ndjson holds: its objects, and every field and query in them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import kibana
from kql import QUERIES, Query, is_any

from tests.support.telemetry.mapped import ELASTIC, Json, flat

Line = Mapping[str, Any]

#: Keys whose value is a field's name, or a list of them; Lens counts lines by this one.
NAMES, RECORDS = {"sourceField", "timeFieldName", "columns"}, "___records___"


@cache
def objects() -> dict[str, Json]:
    """Every saved object by its id, with the JSON inside its JSON read."""
    kibana.saved_objects()  # makes every query
    lines = (ELASTIC / "kibana.ndjson").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert len({saved["id"] for saved in found}) == len(found)
    return {saved["id"]: read(saved) for saved in found}


def read(value: Any) -> Any:
    """Read the texts that are JSON themselves."""
    if isinstance(value, list):
        return [read(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: read(json.loads(item) if key.endswith(("JSON", "fieldFormatMap")) else item)
        for key, item in value.items()
    }


def of_kind(kind: str) -> list[Json]:
    """Every saved object of a kind."""
    return [saved for saved in objects().values() if saved["type"] == kind]


def queries(value: Any) -> Iterator[Query]:
    """Every query below, wherever it is written. Raises KeyError for one that no code makes."""
    if isinstance(value, dict):
        if value.get("language") == "kuery":
            yield QUERIES[value["query"]]
        for item in value.values():
            yield from queries(item)
    elif isinstance(value, list):
        for item in value:
            yield from queries(item)


def search_query(id_: str) -> Query:
    """The query of a saved search."""
    (query,) = queries(objects()[id_])
    return query


def among(lines: Sequence[Line], query: Query) -> list[Line]:
    """Give those lines that answer a query."""
    return [line for line in lines if query.finds(dict(flat(line)))]


def named(value: Any) -> Iterator[str]:
    """Name every field that is used below: in columns, sorts, formats, panels, links, queries."""
    for query in queries(value):
        yield from (name for name, _ in query.asks)
    yield from _named(value)


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _named(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in NAMES and isinstance(item, (str, list)):
            yield from {item} - {RECORDS} if isinstance(item, str) else item
        elif key == "sort":
            yield from (name for name, _ in item)
        elif key == "fieldFormatMap":
            yield from item
        if key == "urlTemplate":
            yield from (name for name, _ in linked(item).asks)
        yield from _named(item)


def linked(url: str, value: str = "*") -> Query:
    """The query that a field's link asks, where ``value`` is the field's."""
    found = re.search(r"query:'([\w.]+):\{\{value\}\}'", url)
    assert found, url
    return is_any(found[1], value)
