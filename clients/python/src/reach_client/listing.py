"""Lists, of which the next part is asked for when it is needed."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

import httpx

from reach_client.model import Page
from reach_client.sending import AsyncSender, Request, Sender

T = TypeVar("T")
Read = Callable[[httpx.Response], Page[T]]


class Listing(Generic[T]):
    """Everything in a list: ``for item in listing``. Each ``for`` asks from the beginning again."""

    def __init__(self, sender: Sender, request: Request, read: Read[T]) -> None:
        """Take the request for the first part."""
        self._sender, self._request, self._read = sender, request, read

    def pages(self) -> Iterator[Page[T]]:
        """Go through the parts, each of one request: the last one's ``next_cursor`` is None."""
        request: Request | None = self._request
        while request is not None:
            page = self._sender.call(request, self._read)
            yield page
            request = _next(request, page)

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.items


class AsyncListing(Generic[T]):
    """Everything in a list: ``async for item in listing``, from the beginning each time."""

    def __init__(self, sender: AsyncSender, request: Request, read: Read[T]) -> None:
        """Take the request for the first part."""
        self._sender, self._request, self._read = sender, request, read

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Go through the parts, each of one request: the last one's ``next_cursor`` is None."""
        request: Request | None = self._request
        while request is not None:
            page = await self._sender.call(request, self._read)
            yield page
            request = _next(request, page)

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item


def _next(request: Request, page: Page[T]) -> Request | None:
    if page.next_cursor is None:
        return None
    return replace(request, query={**request.query, "cursor": page.next_cursor})
