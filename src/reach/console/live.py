"""A page that goes on by itself: one answer stays open, by which the server tells how it looks.

It ends with the session, and is no use of it: a page that nobody looks at keeps nobody signed in.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from reach.console.guard import SESSION, session_of
from reach.problems import Problem, ServiceUnavailable
from reach.web.html import HEADERS
from reach.web.middleware import STAYS_OPEN

#: What is shown is so old at most; and so soon a session's end is seen.
EVERY_SECONDS = 5.0
#: Each is an open page of an operator's, and a page in the background does not listen.
MOST_LISTENERS = 32
RETRY_AFTER_SECONDS = 30
#: After so long a browser asks again, if the connection is lost.
RETRY_MILLISECONDS = 3000
#: Proxies hang up on an answer that says nothing for a minute. Browsers pass over such a line.
NOTHING_NEW = ":\n\n"
#: nginx would keep what it is given until it is worth passing on.
UNBUFFERED = {"X-Accel-Buffering": "no"}


class TooManyWatch(Problem):
    """So many pages of the console are open that this one is not told what is new.

    Close some of them. Or load this page again when you want to see what is new.
    """

    status, type, title = 429, "too-many-watch", "Too many pages watch"

    def __init__(self) -> None:
        """Say when to come back."""
        super().__init__(headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


class Watched:
    """How many pages of this process are told what is new."""

    count = 0


class Live(StreamingResponse):
    """A server-sent event with a text, at first and whenever it has changed.

    While the database does not answer, the page is told that; when the session is over, too.
    """

    def __init__(self, request: Request, show: Callable[[], Awaitable[str]]) -> None:
        """Have ``show`` called at first, and every few seconds."""
        headers = {**HEADERS, **UNBUFFERED}
        super().__init__((), headers=headers, media_type="text/event-stream")
        self._request, self._show = request, show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for as long as the caller listens. Raises TooManyWatch."""
        if Watched.count >= MOST_LISTENERS:
            raise TooManyWatch
        Watched.count += 1
        try:
            scope[STAYS_OPEN] = True
            self.body_iterator = self._events()
            await super().__call__(scope, receive, send)
        finally:
            Watched.count -= 1

    async def _events(self) -> AsyncIterator[str]:
        yield f"retry: {RETRY_MILLISECONDS}\n\n"
        told = None
        while True:
            name, text = await self._look()
            if (name, text) != told:
                lines = "\n".join(f"data: {line}" for line in text.splitlines())
                yield f"event: {name}\n{lines}\n\n"
                told = name, text
            else:
                yield NOTHING_NEW
            if name == "over":
                return
            await asyncio.sleep(EVERY_SECONDS)

    async def _look(self) -> tuple[str, str]:
        """Say what the page is told: how it looks, that this is not known, or that it is over."""
        self._request.scope.pop(SESSION, None)
        try:
            if await session_of(self._request) is None:
                return "over", "over"
            return "look", await self._show()
        except ServiceUnavailable:
            return "unknown", "unknown"
