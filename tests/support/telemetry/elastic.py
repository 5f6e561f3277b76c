"""Whether Elasticsearch takes a line of the log, and what kibana.ndjson asks of it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import kibana
from kql import QUERIES, Query, is_any

from tests.support.root import ROOT

ELASTIC = ROOT / "deploy" / "elastic"
LONG = range(-(2**63), 2**63)

Json = dict[str, Any]


def read(name: str) -> Json:
    """Read a JSON file of deploy/elastic."""
    found: Json = json.loads((ELASTIC / name).read_text(encoding="utf-8"))
    return found


def mappings(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """List the fields of an index template, by their names with dots."""
    for name, mapping in properties.items():
        if "properties" in mapping:
            yield from mappings(mapping["properties"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", mapping


@cache
def template() -> Json:
    """The fields that the shipped index template maps, by name."""
    return dict(mappings(read("index-template.json")["template"]["mappings"]["properties"]))


def flat(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List a line's fields as Elasticsearch names them: dots and objects are the same to it."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def complaints(line: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with a line; no more than names and types, for it may be anybody's."""
    fields = list(flat(line))
    names = [name for name, _ in fields]
    found = [f"{name} comes twice" for name in {name for name in names if names.count(name) > 1}]
    if "@timestamp" not in names:
        found.append("@timestamp is missing")
    for name, value in fields:
        mapping = template().get(name)
        if mapping is None:
            found.append(f"{name} is not mapped")
        elif not _fits(value, mapping):
            found.append(f"{name} is {mapping['type']}, and not {type(value).__name__}")
    return found


def _fits(value: Any, mapping: Json) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_one(item, mapping) for item in value)
    return _is_one(value, mapping)


def _is_one(value: Any, mapping: Json) -> bool:
    match mapping["type"]:
        case "long":
            return isinstance(value, int) and not isinstance(value, bool) and value in LONG
        case "date":
            return isinstance(value, str) and _is_utc(value)
        case "keyword":
            return isinstance(value, str) and len(value) <= mapping["ignore_above"]
        case "wildcard" | "match_only_text":
            return isinstance(value, str)
        case other:
            raise AssertionError(f"no value is known to fit {other}")


def _is_utc(text: str) -> bool:
    """Whether Filebeat and Elasticsearch read a time: RFC 3339, and UTC for those who read it."""
    try:
        return text.endswith("Z") and datetime.fromisoformat(text).utcoffset() == timedelta(0)
    except ValueError:
        return False


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
    return {saved["id"]: unpacked(saved) for saved in found}


def unpacked(value: Any) -> Any:
    """Read the texts that are JSON themselves."""
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: unpacked(json.loads(item) if key.endswith(("JSON", "fieldFormatMap")) else item)
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
