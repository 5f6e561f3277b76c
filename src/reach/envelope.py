"""Around every request: its id, its log line, its size, and a 500 that tells nothing."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reach.db.errors import OUTCOME_UNKNOWN
from reach.db.types import new_id
from reach.people.signup import note_answer
from reach.problems import NotFound, Problem, ServiceUnavailable
from reach.settings import Settings
from reach.telemetry import trace_context, traces
from reach.telemetry.logs import frames
from reach.telemetry.metrics import REQUESTS_IN_PROGRESS
from reach.web import html as render
from reach.web import middleware as requests
from reach.web.guard import DOOR, IS_COUNTED
from reach.web.middleware import UNMATCHED
from reach.web.security import Header, safety_headers, sharing, with_safety

log = structlog.get_logger("reach.app")

#: For the log alone, where nobody was left to be answered.
CALLER_LEFT = 499

#: An id that a caller may choose: it is answered and logged, so it can break neither; and it has
#: nowhere the look of an operator's key or of a link's token, which are never logged.
REQUEST_ID = re.compile(r"(?!.*(?:rk_|eyJ))[A-Za-z0-9._-]{1,128}")

Answer = Callable[[Request, Exception], Awaitable[Response]]


def as_get(scope: Scope) -> Scope:
    """Take HEAD for GET below ``/v1``: a route there answers both, and says GET only."""
    is_head = scope["method"] == "HEAD" and scope["path"].startswith("/v1/")
    return {**scope, "method": "GET"} if is_head else scope


class CutOff(ServiceUnavailable):
    """This process was stopped before your request was done. Another one will take the next.

    Whether a change that met this was made is unknown: ask, or repeat it.
    """

    type, title = "cut-off", "The service stopped meanwhile"


class Envelope:
    """Around every request: its id, its log line, and a 500 that tells nothing.

    An exception's message may quote what was typed, so neither the answer nor the log has it.
    """

    def __init__(self, app: ASGIApp, answer_problem: Answer, settings: Settings) -> None:
        """Wrap ``app``; ``answer_problem`` makes the answer to a problem."""
        self._share = sharing(settings)
        self.app = self._share(app)
        self._answer_problem = answer_problem
        self._safety = safety_headers(settings)
        for path in DOOR:
            for status in (Problem.status, ServiceUnavailable.status):
                requests.expect(path, "POST", status)

    def _answering(self, problem: Problem) -> ASGIApp:
        """Make what answers any request with ``problem``, without a look at it."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await self._answer_problem(Request(scope, receive), problem)
            await response(scope, receive, send)

        # A script from elsewhere could not read a refusal that CORS has not seen.
        return self._share(answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, served = time.perf_counter_ns(), Served.of(scope, self._safety)
        given = values(scope, b"traceparent")
        trace_context.current.set(traces.here() or trace_context.of_request(given))
        asked = as_get(scope)
        send_on = served.sending(send, with_body=asked["method"] == scope["method"])
        REQUESTS_IN_PROGRESS.inc()
        try:
            refused = why_refused(asked)
            app = self.app if refused is None else self._answering(refused)
            await app(asked, receive, send_on)
        except ClientDisconnect:
            served.status = CALLER_LEFT
        except asyncio.CancelledError:
            if served.status:
                raise
            await self._answering(CutOff(OUTCOME_UNKNOWN))(asked, receive, send_on)
        except Exception as error:  # noqa: BLE001 - the last resort
            log.error(  # noqa: TRY400 - its message may hold what was typed
                "request crashed", request_id=served.request_id, **frames(error)
            )
            if served.status:
                served.status = Problem.status
                raise ConnectionAbortedError from None  # half an answer is out: cut it off
            await self._answering(Problem())(asked, receive, send_on)
        finally:
            REQUESTS_IN_PROGRESS.dec()
            served.count(asked, time.perf_counter_ns() - began)
        if IS_COUNTED not in asked:
            served.write_log(asked, time.perf_counter_ns() - began)


@dataclass
class Served:
    """A request, and how it is answered."""

    request_id: str
    method: str
    safety: tuple[Header, ...]
    status: int = 0

    @classmethod
    def of(cls, scope: Scope, safety: tuple[Header, ...]) -> "Served":
        """Begin with a request: its own id if it has a good one, else a new one."""
        given, method = values(scope, b"x-request-id"), scope["method"]
        is_good = len(given) == 1 and REQUEST_ID.fullmatch(given[0])
        request_id = given[0] if is_good else new_id().hex
        return cls(request_id, requests.named(method), safety)

    def sending(self, send: Send, *, with_body: bool) -> Send:
        """Send the answer on, with what every one has; HEAD's without its body."""

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                message["headers"] = with_safety(message["headers"], self.safety)
                message["headers"].append((b"x-request-id", self.request_id.encode()))
            elif not with_body:
                message = {**message, "body": b""}
            await send(message)

        return send_on

    def count(self, scope: Scope, nanoseconds: int) -> None:
        """Count the request, and what it says of a sign-up."""
        # Who is refused by a rate limit never gets to a route; there are four such paths.
        is_refused = IS_COUNTED in scope
        route = scope["path"] if is_refused else getattr(scope.get("route"), "path", UNMATCHED)
        requests.observe(route, self.method, self.status or CALLER_LEFT, nanoseconds / 1e9)
        note_answer(self.method, route, self.status)

    def write_log(self, scope: Scope, nanoseconds: int) -> None:
        """Write the request's line."""
        reason = scope.get(render.REASON)
        log.info(
            "request",
            request_id=self.request_id,
            method=self.method,
            route=getattr(scope.get("route"), "path", None),
            status=self.status,
            nanoseconds=nanoseconds,
            reason=reason if self.status >= Problem.status else None,
        )


def why_refused(scope: Scope) -> Problem | None:
    """Find what is wrong with a request whatever it asks for.

    A pattern's ``$`` also matches before a line break at the end: ``/v1/signups%0A`` would find
    its route, and no limiter before it.
    """
    return NotFound() if "\n" in scope["path"] else None


def values(scope: Scope, name: bytes) -> list[str]:
    """List what a request says in a header, each time that it has it."""
    return [value.decode("latin-1") for found, value in scope["headers"] if found == name]
