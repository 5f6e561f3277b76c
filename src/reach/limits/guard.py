"""The 429: before a body is read, and before the database is asked."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

import structlog
from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from reach.limits.limiter import Limiter, PolicyName
from reach.limits.memory import Refusal
from reach.problems import QuotaExceeded

log = structlog.get_logger("reach.limits")

Answer = Callable[[Request, Exception], Awaitable[Response]]

#: Where strangers knock; all knocks of one client are counted together.
DOOR = frozenset(("/", "/links", "/v1/signups", "/v1/links"))
#: Where a request says that its line in the log is not to be written: it is in that of many.
IS_COUNTED = "reach.is_counted"
TELL_SECONDS = 1.0


class Door:
    """Around the application: refuses who knocks too often before anything else is done.

    What a flood meets is made once: of a refusal that is no page only the headers are new, and
    one line in the log a second says how many there were.
    """

    def __init__(self, app: ASGIApp, answer_problem: Answer) -> None:
        """Wrap ``app``; ``answer_problem`` makes the answer to a problem."""
        self.app = app
        self._answer_problem = answer_problem
        self._refused = 0
        self._bodies: dict[tuple[str, ...], Response] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in DOOR:
            request = Request(scope, receive)
            refusal = await _limiter(request).hit("signups", client(request))
            if refusal is not None:
                scope[IS_COUNTED] = True
                self._count()
                await self._refuse(request, refusal, send)
                return
        await self.app(scope, receive, send)

    async def _refuse(self, request: Request, refusal: Refusal, send: Send) -> None:
        if not request.scope["path"].startswith("/v1/"):
            answer = await self._answer_problem(request, _problem(refusal))
            await answer(request.scope, request.receive, send)
            return
        made = self._bodies.get(tuple(refusal.violated))
        if made is None:
            made = await self._answer_problem(request, _problem(refusal))
            self._bodies[tuple(refusal.violated)] = made
        fresh = {name.lower().encode(): v.encode() for name, v in refusal.headers.items()}
        headers = [(name, fresh.get(name, value)) for name, value in made.raw_headers]
        await send({"type": "http.response.start", "status": made.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": made.body})

    def _count(self) -> None:
        if not self._refused:
            asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell, context=Context())
        self._refused += 1

    def _tell(self) -> None:
        log.info("refused by a rate limit", count=self._refused)
        self._refused = 0


async def may_try(request: Request) -> None:
    """Let a client show a key, unless too many of its were wrong.

    Raises QuotaExceeded. It asks nobody, so it costs those with good keys nothing.
    """
    _raise(_limiter(request).is_known_full("failed_keys", client(request)))


async def failed_key(request: Request) -> None:
    """Count a wrong key that was shown. Raises QuotaExceeded, in place of the caller's 401."""
    await _hit(request, "failed_keys", client(request))


async def failed_link(request: Request) -> None:
    """Count a wrong link. Raises QuotaExceeded, in place of the caller's 401.

    Good ones are never refused for it: a signature of 256 bits is not found by trying, and a page
    elsewhere can have its visitors' browsers show as many wrong ones as it likes.
    """
    await _hit(request, "failed_links", client(request))


async def hit_api(request: Request, who: str) -> None:
    """Count a call of ``who`` (the text of a key, say). Raises QuotaExceeded."""
    await _hit(request, "api", who)


def client(request: Request) -> str:
    """Name the client of a request, whoever it says it is."""
    scope = request.scope
    peer = scope.get("client")
    lines = [value.decode("latin-1") for n, value in scope["headers"] if n == b"x-forwarded-for"]
    return _limiter(request).clients.of(peer[0] if peer else None, lines)


async def _hit(request: Request, name: PolicyName, who: str) -> None:
    _raise(await _limiter(request).hit(name, who))


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise _problem(refusal)


def _problem(refusal: Refusal) -> QuotaExceeded:
    return QuotaExceeded(refusal.violated, refusal.headers)


def _limiter(request: Request) -> Limiter:
    found: Limiter = request.scope["app"].state.limiter
    return found
