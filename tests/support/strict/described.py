"""The OpenAPI document, with everything in the place where it is referred to."""

from collections.abc import Mapping
from typing import Any


def inlined(document: Mapping[str, Any]) -> dict[str, Any]:
    """Put all that is said once, for many, where it is said of each."""
    found: dict[str, Any] = _inline(document, document)
    return found


def _inline(part: Any, document: Mapping[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inline(one, document) for one in part]
    if not isinstance(part, dict):
        return part
    if isinstance(part.get("$ref"), str):
        found: Any = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return _inline(found, document)
    return {name: _inline(value, document) for name, value in part.items()}
