"""The OpenAPI document, with everything in the place where it is referred to."""

from collections.abc import Mapping
from typing import Any

from tests.support.processes.reach import Reach


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


#: What providers sign: without that it is not looked at.
SIGNED = "/v1/bounces/{provider}"
#: What needs no key and no link, as all else below /v1 does.
OPEN = {
    *(("POST", "/v1/signups"), ("POST", "/v1/links"), ("GET", "/v1/challenge")),
    ("POST", SIGNED),
}


#: The scopes that an operation needs, all of them.
SCOPES = {
    ("POST", "/v1/people"): {"people:write"},
    ("GET", "/v1/people"): {"people:read"},
    ("GET", "/v1/people/export"): {"people:read"},
    ("GET", "/v1/people/{id}"): {"people:read"},
    ("GET", "/v1/people/{id}/consent"): {"people:read"},
    ("PATCH", "/v1/people/{id}"): {"people:write"},
    ("DELETE", "/v1/people/{id}"): {"people:write"},
    ("GET", "/v1/people/{id}/messages"): {"people:read", "messages:read"},
    ("GET", "/v1/messages"): {"messages:read"},
    ("POST", "/v1/messages"): {"messages:write"},
    ("GET", "/v1/messages/{id}"): {"messages:read"},
    ("POST", "/v1/messages/{id}/retry"): {"messages:write"},
    ("POST", "/v1/messages/{id}/cancel"): {"messages:write"},
    ("POST", "/v1/messages/retry"): {"messages:write"},
    ("POST", "/v1/messages/cancel"): {"messages:write"},
    ("GET", "/v1/suppressions"): {"messages:read"},
    ("POST", "/v1/suppressions"): {"messages:write"},
    ("GET", "/v1/suppressions/{id}"): {"messages:read"},
    ("DELETE", "/v1/suppressions/{id}"): {"messages:write"},
    ("GET", "/v1/stats"): {"people:read", "messages:read"},
    ("GET", "/v1/keys"): {"keys:write"},
    ("POST", "/v1/keys"): {"keys:write"},
    ("DELETE", "/v1/keys/{id}"): {"keys:write"},
    ("GET", "/v1/audit"): {"audit:read"},
    ("GET", "/v1/webhooks"): {"webhooks:read"},
    ("POST", "/v1/webhooks"): {"webhooks:write"},
    ("GET", "/v1/webhooks/{id}"): {"webhooks:read"},
    ("PATCH", "/v1/webhooks/{id}"): {"webhooks:write"},
    ("DELETE", "/v1/webhooks/{id}"): {"webhooks:write"},
    ("POST", "/v1/webhooks/{id}/rotate"): {"webhooks:write"},
    ("POST", "/v1/webhooks/{id}/enable"): {"webhooks:write"},
    ("POST", "/v1/webhooks/{id}/disable"): {"webhooks:write"},
    ("POST", "/v1/webhooks/{id}/test"): {"webhooks:write"},
    ("POST", "/v1/webhooks/{id}/replay"): {"webhooks:write"},
    ("GET", "/v1/webhooks/{id}/deliveries"): {"webhooks:read"},
}


def operations(reach: Reach) -> set[tuple[str, str]]:
    """Every method and path below /v1 that the application has, in its document or not."""
    return {(method, path) for method, path in reach.routes if path.startswith("/v1")}
