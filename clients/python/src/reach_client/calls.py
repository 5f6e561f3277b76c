"""How an operation is written once, and called in both ways.

A method of a `Group` only says what is asked, as a `Call`. Its decorator sends it: at once for a
`Client`, and as a coroutine for an `AsyncClient`; to a type checker it has both types.
"""

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import update_wrapper
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, get_args, overload
from uuid import UUID, uuid4

import httpx

from reach_client.decoding import decode
from reach_client.listing import AsyncListing, Listing
from reach_client.model import Page
from reach_client.problems import UnexpectedAnswer
from reach_client.secret import Secret
from reach_client.sending import AsyncSender, AsyncStream, Request, Sender, Stream

P = ParamSpec("P")
T = TypeVar("T")
Way = TypeVar("Way", Sender, AsyncSender)
Credential = Literal["key", "link", "none"]
Id = UUID | str


class Omitted(Enum):
    """The type of `OMITTED`, where None says something of its own: an empty description."""

    OMITTED = "omitted"


#: Leave it as it is.
OMITTED: Literal[Omitted.OMITTED] = Omitted.OMITTED


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """What one call asks: the variable parts of its request, and how its answer is read.

    ``id`` is a UUID when it is sent: of other text, "..", say, httpx would make another path.
    """

    read: Callable[[httpx.Response], T]
    id: Id | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    if_match: str | None = None
    if_none_match: str | None = None


def given(**values: Any) -> dict[str, Any]:
    """What was said, as JSON: without what was left out."""
    return {name: plain(value) for name, value in values.items() if value is not OMITTED}


def asked(**values: Any) -> dict[str, Any]:
    """What a query says: without what is None."""
    return {name: plain(value) for name, value in values.items() if value is not None}


def plain(value: Any) -> Any:
    """Turn ids and times into text, wherever they are."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("A time needs a time zone: datetime.now(UTC), say")
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value


def one(kind: type[T]) -> Callable[[httpx.Response], T]:
    """Read one object, and those of the headers that belong to it."""
    return lambda response: decode(kind, _json(response), response.headers)


def one_if_changed(kind: type[T]) -> Callable[[httpx.Response], T | None]:
    """Read one object, or nothing of a 304."""
    read = one(kind)
    return lambda response: (
        None if response.status_code == httpx.codes.NOT_MODIFIED else read(response)
    )


def page(kind: type[T]) -> Callable[[httpx.Response], Page[T]]:
    """Read part of a list."""

    def read(response: httpx.Response) -> Page[T]:
        found = _json(response)
        if not isinstance(found, dict) or not isinstance(found.get("items"), list):
            raise UnexpectedAnswer("No list of items")
        return Page(tuple(decode(kind, item) for item in found["items"]), found.get("next_cursor"))

    return read


def nothing(_: httpx.Response) -> None:
    """Read an answer without a body."""


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise UnexpectedAnswer(f"{response.status_code}, and no JSON: check base_url") from None


class Group(Generic[Way]):
    """Operations that belong together; ``token`` is a link's, for those of a person."""

    def __init__(self, sender: Way, token: Secret | None = None) -> None:
        """Take what sends the calls."""
        self.sender: Way = sender
        self.token = token


class Operation(Generic[P, T]):
    """A method of a `Group`, and the operation of the API that it calls."""

    def __init__(
        self,
        make: Callable[Concatenate[Any, P], Call[T]],
        method: str,
        path: str,
        credential: Credential,
    ) -> None:
        """Take the method, which is not called before the client's user calls it."""
        self.make, self.method, self.path, self.credential = make, method, path, credential
        update_wrapper(self, make)  # type: ignore[arg-type]

    def request(self, group: Group[Any], call: Call[T]) -> Request:
        """Put together what is sent. Each POST gets a key that all of its tries share."""
        headers = {"If-Match": call.if_match, "If-None-Match": call.if_none_match}
        if self.method == "POST":
            headers["Idempotency-Key"] = call.idempotency_key or f'"{uuid4()}"'
        return Request(
            self.method,
            self.path.replace("{id}", "" if call.id is None else str(UUID(str(call.id)))),
            query=call.query,
            json=call.json,
            headers={name: value for name, value in headers.items() if value is not None},
            secret=group.token if self.credential == "link" else None,
            needs_key=self.credential == "key",
        )

    def bound(
        self, group: Group[Any], send: Callable[[Call[T], Request], Any], kind: Any = None
    ) -> Callable[P, Any]:
        """Make the method that is called; ``help`` shows what it takes and gives, a ``kind``."""

        def method(*arguments: P.args, **named: P.kwargs) -> Any:
            call = self.make(group, *arguments, **named)
            return send(call, self.request(group, call))

        update_wrapper(method, self.make)
        method.__signature__ = _signature(self.make, kind)  # type: ignore[attr-defined]
        return method


class Single(Operation[P, T]):
    """One request, one answer."""

    @overload
    def __get__(self, group: None, owner: type) -> "Single[P, T]": ...
    @overload
    def __get__(self, group: Group[Sender], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, group: Group[AsyncSender], owner: type
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        """Give the method of that client's kind."""
        if group is None:
            return self
        return self.bound(group, lambda call, request: group.sender.call(request, call.read))


class Paged(Operation[P, Page[T]], Generic[P, T]):
    """A list, of which each request asks for a part."""

    @overload
    def __get__(self, group: None, owner: type) -> "Paged[P, T]": ...
    @overload
    def __get__(self, group: Group[Sender], owner: type) -> Callable[P, Listing[T]]: ...
    @overload
    def __get__(self, group: Group[AsyncSender], owner: type) -> Callable[P, AsyncListing[T]]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        """Give the method of that client's kind. It asks nothing yet."""
        if group is None:
            return self
        kind: Any = Listing if isinstance(group.sender, Sender) else AsyncListing
        return self.bound(group, lambda call, sent: kind(group.sender, sent, call.read), kind)


class Streamed(Operation[P, None]):
    """An answer that may be large: it is read while it comes."""

    @overload
    def __get__(self, group: None, owner: type) -> "Streamed[P]": ...
    @overload
    def __get__(
        self, group: Group[Sender], owner: type
    ) -> Callable[P, AbstractContextManager[Stream]]: ...
    @overload
    def __get__(
        self, group: Group[AsyncSender], owner: type
    ) -> Callable[P, AbstractAsyncContextManager[AsyncStream]]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        """Give the method of that client's kind; its request is sent by ``with``."""
        if group is None:
            return self
        return self.bound(group, lambda _, request: group.sender.stream(request))


def _signature(make: Callable[..., Call[Any]], kind: Any) -> inspect.Signature:
    """What callers see: without ``self``, and with what the call gives in the end."""
    seen = inspect.signature(make)
    (gives,) = get_args(seen.return_annotation)
    if kind is not None:
        gives = kind[get_args(gives)[0]]
    return seen.replace(parameters=[*seen.parameters.values()][1:], return_annotation=gives)


def operation(
    method: str, path: str, *, by: Credential = "key"
) -> Callable[[Callable[Concatenate[Any, P], Call[T]]], Single[P, T]]:
    """Make a method of a `Group` call this operation."""
    return lambda make: Single(make, method, path, by)


def listing(
    method: str, path: str
) -> Callable[[Callable[Concatenate[Any, P], Call[Page[T]]]], Paged[P, T]]:
    """Make a method of a `Group` go through the pages of this operation."""
    return lambda make: Paged(make, method, path, "key")


def streamed(
    method: str, path: str
) -> Callable[[Callable[Concatenate[Any, P], Call[None]]], Streamed[P]]:
    """Make a method of a `Group` read this operation's answer while it comes."""
    return lambda make: Streamed(make, method, path, "key")
