"""The 429: before a body is read, and before the database is asked."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from reach.limits.limiter import Limiter, PolicyName
from reach.limits.refusal import Refusal
from reach.problems import QuotaExceeded

Answer = Callable[[Request, Exception], Awaitable[Response]]

#: Where strangers knock; all knocks of one client are counted together.
DOOR = {path: SimpleNamespace(path=path) for path in ("/", "/links", "/v1/signups", "/v1/links")}


class Door:
    """Around the application: refuses who knocks too often before anything else is done."""

    def __init__(self, app: ASGIApp, answer_problem: Answer) -> None:
        """Wrap ``app``; ``answer_problem`` makes the answer to a problem."""
        self.app = app
        self._answer_problem = answer_problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_knock = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in DOOR
        if is_knock:
            request = Request(scope, receive)
            refusal = await _limiter(request).hit("signups", client(request))
            if refusal is not None:
                scope["route"] = DOOR[scope["path"]]  # for the log
                response = await self._answer_problem(request, _problem(refusal))
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def may_try(request: Request) -> None:
    """Let a client show a key or a link, unless too many of its were wrong.

    Raises QuotaExceeded. It asks nobody, so it costs those with good keys nothing.
    """
    _raise(_limiter(request).is_known_full("failed_keys", client(request)))


async def failed(request: Request) -> None:
    """Count a wrong key or link. Raises QuotaExceeded, in place of the caller's 401."""
    await _hit(request, "failed_keys", client(request))


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
