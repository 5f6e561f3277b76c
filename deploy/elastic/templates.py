"""What Elasticsearch is told before the first line comes: the index template and its end."""

from typing import Any

from reach.telemetry.log_fields import ALWAYS, FIELDS, Type

Json = dict[str, Any]

DATA_STREAM = "logs-reach-default"
#: Where Filebeat puts what Elasticsearch refuses.
REJECTED = "logs-reach.rejected-default"
DATA_VIEW_PATTERN = "logs-reach-*"
PATTERNS = [DATA_VIEW_PATTERN, "logs-reach.rejected-*"]
POLICY = "reach-logs"
#: Above the built-in template for logs-*-* (100) and those of Fleet (200 and less).
PRIORITY = 501
ROLLOVER_DAYS, KEEP_DAYS = 7, 30
#: A longer value is kept, and not found. Without it, one of 32,766 bytes has its line refused.
LONGEST_KEYWORD = 1024


def mapping_of(type_: Type) -> Json:
    """Say how Elasticsearch is to keep a field of this type."""
    if type_ == "keyword":
        return {"type": type_, "ignore_above": LONGEST_KEYWORD}
    return {"type": type_}


def properties() -> Json:
    """Every field that Reach writes, nested as mappings are."""
    root: Json = {}
    for field in sorted((*ALWAYS, *FIELDS.values()), key=lambda field: field.name):
        *parents, leaf = field.name.split(".")
        place = root
        for parent in parents:
            place = place.setdefault(parent, {"properties": {}})["properties"]
        place[leaf] = mapping_of(field.type)
    # A data stream has no other way to tell its time, so this one field may not be let off.
    root["@timestamp"]["ignore_malformed"] = False
    return root


def index_template() -> Json:
    """``PUT /_index_template/reach-logs``.

    Not ``strict``: Filebeat adds fields of its own (``agent``, ``log.offset``, ``kubernetes``), and
    no line is to be refused for what it has besides: such fields are kept, but not searched. Nor
    for a number that is none.
    """
    return {
        "index_patterns": PATTERNS,
        "data_stream": {},
        "priority": PRIORITY,
        "template": {
            "settings": {
                "index.lifecycle.name": POLICY,
                "index.codec": "best_compression",
                "index.mapping.ignore_malformed": True,
            },
            "mappings": {"dynamic": False, "properties": properties()},
        },
        "_meta": {"description": "Logs of Reach, made of src/reach/telemetry/events.py"},
    }


def lifecycle_policy() -> Json:
    """``PUT /_ilm/policy/reach-logs``."""
    rollover = {"max_age": f"{ROLLOVER_DAYS}d", "max_primary_shard_size": "10gb"}
    return {
        "policy": {
            "_meta": {"description": "Logs of Reach: nobody's data, and they end all the same"},
            "phases": {
                "hot": {"min_age": "0ms", "actions": {"rollover": rollover}},
                "delete": {"min_age": f"{KEEP_DAYS}d", "actions": {"delete": {}}},
            },
        }
    }
