"""Whether Elasticsearch takes a line of the log as the index template maps it.

``complaints(line)`` is for any test that has lines: what Elasticsearch would refuse, or keep
without anybody being able to search for it.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

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
