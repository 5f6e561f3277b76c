"""Reach's Python client is held against the OpenAPI document: all of it, and nothing else."""

import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import jsonschema
import pytest

from reach_client import OMITTED, Client, Page
from reach_client.calls import Call, Omitted, Operation, Paged, Streamed
from reach_client.client import Operations
from reach_client.decoding import HEADER
from reach_client.keys import Audit, Keys
from reach_client.me import Me
from reach_client.messages import Messages
from reach_client.people import People
from reach_client.suppressions import Suppressions
from reach_client.webhooks import Webhooks
from tests.support.http.document import SIGNED, inlined
from tests.support.people import NOBODY
from tests.support.processes.reach import Reach

Named = tuple[str, str]
GROUPS = (Operations, People, Messages, Suppressions, Keys, Audit, Webhooks, Me)
#: What the client calls otherwise than the document: a page's size limits no list.
NAMES = {"page_size": "limit", "if_match": "If-Match", "if_none_match": "If-None-Match"} | {
    "idempotency_key": "Idempotency-Key"
}
#: Traps for spam, which nobody is to fill in.
TRAPS = {"motto", "website"}
#: `If-None-Match` with a change says "not if it is still so": of no use, with `If-Match` at hand.
ODD = {
    (method, path, "If-None-Match")
    for method in ("patch", "delete")
    for path in ("/v1/me", "/v1/people/{id}")
}
SAMPLES: dict[Any, Any] = {
    str: "ada@example.com",
    int: 7,
    bool: True,
    datetime: datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    Omitted: OMITTED,
    type(None): None,
}
#: Where any text would not do.
TEXTS = {
    "template": "welcome",
    "language": "de",
    "columns": "email",
    "cursor": "A" * 22,
    "if_match": '"1"',
    "if_none_match": '"1"',
    "idempotency_key": '"1"',
}


@pytest.fixture
async def document(reach_on_sqlite: Reach) -> dict[str, Any]:
    """The document, with nothing that is only referred to."""
    return inlined((await reach_on_sqlite.http.get("/openapi.json")).json())


def methods() -> Iterator[tuple[str, Operation[Any, Any]]]:
    """Every method of the client that calls an operation."""
    for group in GROUPS:
        for name, found in vars(group).items():
            if isinstance(found, Operation):
                yield f"{group.__name__}.{name}", found


def calling(document: Mapping[str, Any]) -> dict[Named, list[Operation[Any, Any]]]:
    """Every operation of the document, and what methods of the client call it."""
    found: dict[Named, list[Operation[Any, Any]]] = {
        (method, path): []
        for path, operations in document["paths"].items()
        for method in operations
        if path != SIGNED  # what providers call
    }
    for name, method in methods():
        key = (method.method.lower(), method.path)
        assert key in found, f"{name} calls what is not there: {key}"
        found[key].append(method)
    return found


def samples(name: str, hint: Any) -> list[Any]:
    """Values for a parameter of that type: of each type of a union, every word of a choice."""
    origin, inner = get_origin(hint), get_args(hint)
    if UUID in inner:
        return [UUID(NOBODY), NOBODY]
    if origin in (Union, types.UnionType):
        return [value for one in inner for value in samples(name, one)]
    if origin is Literal:
        return [*inner]
    if origin is Sequence:
        return [samples(name, inner[0])]
    if origin is Mapping:
        return [{"a": 1}]
    return [TEXTS[name] if hint is str and name in TEXTS else SAMPLES[hint]]


def calls(method: Operation[Any, Any]) -> Iterator[Call[Any]]:
    """Calls with every argument, each of them once with every value that its type allows."""
    hints = get_type_hints(method.make)
    del hints["return"]
    values = {name: samples(name, hint) for name, hint in hints.items()}
    usual = {name: found[0] for name, found in values.items()}
    yield method.make(None, **usual)
    for name, found in values.items():
        for value in found[1:]:
            yield method.make(None, **{**usual, name: value})


async def test_every_operation_has_a_method(document: dict[str, Any]) -> None:
    """And no method calls anything else. Those with a link are called with one."""
    found = calling(document)
    assert [key for key, callers in found.items() if not callers] == []
    for (method, path), callers in found.items():
        security = document["paths"][path][method].get("security", [])
        scheme = next(iter(security[0]), "") if security else ""
        credential = {"operatorKey": "key", "linkToken": "link", "": "none"}[scheme]
        assert {one.credential for one in callers} == {credential}, path


async def test_every_parameter_and_field_is_offered(document: dict[str, Any]) -> None:
    """All that is sent is as the document says, whatever the types allow; and all can be said."""
    for (method, path), callers in calling(document).items():
        operation = document["paths"][path][method]
        parameters = {one["name"]: one for one in operation.get("parameters", [])}
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        said: set[str] = set()
        for call in (call for caller in callers for call in calls(caller)):
            headers = {name: getattr(call, name) for name in NAMES if hasattr(call, name)}
            sent = {NAMES[name]: value for name, value in headers.items() if value is not None}
            sent |= {"id": str(call.id)} if call.id is not None else {}
            for name, value in {**sent, **call.query}.items():
                assert name in parameters, f"{method} {path}: {name}"
                jsonschema.validate(value, parameters[name]["schema"])
            assert (call.json is None) == (not schema), f"{method} {path}"
            if call.json is not None:
                jsonschema.validate(call.json, schema["schema"])
            said |= set(sent) | set(call.query) | members(call.json)
        wanted = set(parameters) | properties(schema.get("schema", {})) - TRAPS
        assert said == wanted - {name for m, p, name in ODD if (m, p) == (method, path)}


def members(json: Any) -> set[str]:
    """The names in a body, and in the objects in it but for what is free."""
    found = set(json or {})
    return found | set((json or {}).get("filter", {}))


def properties(schema: Mapping[str, Any]) -> set[str]:
    """The names that a body may have, and the objects in it."""
    of_this = schema.get("properties", {})
    return set(of_this) | {name for one in of_this.values() for name in properties(one)}


async def test_choices_are_the_documents(document: dict[str, Any]) -> None:
    """Every word that the document allows can be said: what is sent is no narrower."""
    for (method, path), callers in calling(document).items():
        operation = document["paths"][path][method]
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        schemas = {one["name"]: one["schema"] for one in operation.get("parameters", [])}
        schemas |= flat(body.get("schema", {}))
        for caller in callers:
            for name, hint in get_type_hints(caller.make).items():
                words = schemas.get(NAMES.get(name, name), {})
                words = words.get("items", words).get("enum")
                if words is not None:
                    assert choices(hint) == set(words), f"{method} {path}: {name}"


def flat(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas of a body's members, and of the objects in it."""
    found = dict(schema.get("properties", {}))
    for one in list(found.values()):
        found |= flat(one)
    return found


def choices(hint: Any) -> set[str]:
    """The words of a type, however deep they are in it."""
    if get_origin(hint) is Literal:
        return {word for word in get_args(hint) if isinstance(word, str)}
    return {word for one in get_args(hint) for word in choices(one)}


async def test_every_field_of_an_answer_is_in_its_dataclass(document: dict[str, Any]) -> None:
    """With its type; and a dataclass has nothing that no answer has, but for headers of it."""
    for (method, path), callers in calling(document).items():
        answers = document["paths"][path][method]["responses"]
        status, *others = [status for status in answers if status.startswith("2")]
        content = answers[status].get("content", {})
        assert all(answers[other].get("content") == content for other in others), path
        for caller in callers:
            kind = get_args(get_type_hints(caller.make)["return"])[0]
            if isinstance(caller, Streamed):
                assert "application/json" not in content, path
                continue
            if not content:
                assert kind is type(None), path
                continue
            schema = content["application/json"]["schema"]
            if isinstance(caller, Paged):
                assert get_origin(kind) is Page
                assert set(schema["properties"]) == {"items", "next_cursor"}
                kind, schema = get_args(kind)[0], schema["properties"]["items"]["items"]
            if "304" in answers and type(None) in get_args(kind):
                (kind,) = set(get_args(kind)) - {type(None)}
            matches(kind, schema, path)
            read = {one.metadata[HEADER] for one in fields(kind) if HEADER in one.metadata}
            assert isinstance(caller, Paged) or read <= set(answers[status]["headers"]), path


SCALARS = {
    ("string", "uuid"): UUID,
    ("string", "date-time"): datetime,
    ("string", "date"): date,
    ("string", None): str,
    ("integer", None): int,
    ("number", None): float,
    ("boolean", None): bool,
}


def matches(hint: Any, schema: Mapping[str, Any], where: str) -> None:
    """Compare a type with the schema of what is read into it."""
    if "anyOf" in schema:
        (inner,) = [one for one in schema["anyOf"] if one != {"type": "null"}]
        assert len(schema["anyOf"]) == 2
        assert type(None) in get_args(hint), where
        matches(get_args(hint)[0], inner, where)
    elif schema["type"] == "array":
        assert get_origin(hint) is tuple, where
        matches(get_args(hint)[0], schema["items"], where)
    elif schema["type"] == "object" and "properties" in schema:
        assert is_dataclass(hint), where
        names = {one.name for one in fields(hint) if HEADER not in one.metadata}
        assert names == set(schema["properties"]), f"{where}: {hint}"
        for name, one in get_type_hints(hint).items():
            if name in names:
                matches(one, schema["properties"][name], f"{where}: {hint}.{name}")
    elif schema["type"] == "object":
        assert get_origin(hint) is Mapping, where
    elif "enum" in schema:
        assert choices(hint) == set(schema["enum"]), where
    else:
        assert hint is SCALARS[schema["type"], schema.get("format")], where


def test_methods_show_what_they_take_and_give() -> None:
    """To `help` and to editors: arguments without ``self``, and what a call gives in the end."""
    client = Client("http://127.0.0.1:1")
    shown = {
        "get": str(inspect.signature(client.people.get)),
        "list": str(inspect.signature(client.keys.list)),
    }
    person, key = "reach_client.model.Person", "reach_client.model.Key"
    assert shown == {
        "get": f"(id: uuid.UUID | str, *, if_match: str | None = None) -> {person}",
        "list": "(*, page_size: int | None = None, cursor: str | None = None)"
        f" -> reach_client.listing.Listing[{key}]",
    }
    assert "Raises NotFound" in (client.people.get.__doc__ or "")


@pytest.mark.parametrize("bad", ["", "..", "../messages", "01a20aee"])
def test_an_id_that_is_none_is_not_part_of_a_path(bad: str) -> None:
    """It would lead to another operation: httpx resolves `..`."""
    with pytest.raises(ValueError, match="UUID"):
        list(Client("http://127.0.0.1:1").people.messages(bad))
