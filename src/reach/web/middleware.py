"""Around every request: its record (id, log line, count), its answer's headers, and the 429."""

import asyncio
import re
import time
from collections.abc import Sequence
from contextvars import Context
from functools import cache

import structlog
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reach.db.errors import OUTCOME_UNKNOWN
from reach.db.types import new_hex_id
from reach.limits.limiter import Limiter
from reach.problems import (
    NotFound,
    Problem,
    QuotaExceeded,
    ServiceUnavailable,
    Unprocessable,
)
from reach.settings import Settings
from reach.telemetry import traces
from reach.telemetry.logging import frames
from reach.telemetry.metrics import REQUEST_SECONDS, REQUESTS_IN_PROGRESS, SIGN_UPS
from reach.texts import N_
from reach.web.errors import REASON, answer_problem, prefers_html
from reach.web.policy import EMBED, EMBED_JSON
from reach.web.routes import services_of
from reach.web.security import NAMES, Header, safety_headers, sharing

log = structlog.get_logger("reach.app")
limits_log = structlog.get_logger("reach.limits")

#: For the log alone, where nobody was left to be answered.
CALLER_LEFT = 499

#: An id that a caller may choose: it is answered and logged, so it can break neither; and it has
#: nowhere the look of an operator's key or of a link's token, which are never logged.
REQUEST_ID = re.compile(r"(?!.*(?:rk_|rlt_))[A-Za-z0-9._-]{1,128}")

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
#: Stands for every other method, which is what callers type.
OTHER = "other"
#: Stands for every address that no route has: so there are only so many series.
UNMATCHED = "unmatched"

#: Where people sign up, by page, on somebody's own page, and by API; and where strangers write,
#: whose requests are counted together for each client.
SIGN_UP_PATHS = ("/", EMBED, EMBED_JSON, "/v1/signups")
PUBLIC_PATHS = frozenset((*SIGN_UP_PATHS, "/links", "/v1/links"))
#: Where a request has what writes a whole answer at once: given its status, the lines of its fields
#: and its body, it says whether it has.
ANSWER = "reach.answer"
#: Where it has what makes one piece of the next two: of an answer's head, and what follows it.
JOIN = "reach.join"
#: Neither a field's name nor its value has such characters (RFC 9110 §5.5): they would begin
#: another field, or the body.
CONTROLS = re.compile(rb"[\x00-\x08\n-\x1f\x7f]")
#: Of these some say how the connection goes on, which is for uvicorn to do; others are said in
#: place of those that every answer has.
UNUSUAL = NAMES | {b"connection", b"transfer-encoding"}
#: Where a request has the refusal that is its answer; its line in the log is that of many.
REFUSAL = "reach.refusal"
#: Where a request says that its answer goes on for as long as the caller listens.
STAYS_OPEN = "reach.stays-open"
#: Where a request is a HEAD that is asked as GET.
IS_HEAD = "reach.is-head"
TELL_SECONDS = 1.0

_seconds = cache(REQUEST_SECONDS.labels)
_invalid, _limited, _failed = (
    SIGN_UPS.labels(result) for result in ("invalid", "limited", "failed")
)
#: What an answer says of a sign-up that was not admitted; ``people.signup`` counts the others.
_SIGN_UPS = {Unprocessable.status: _invalid, QuotaExceeded.status: _limited}


class CutOff(ServiceUnavailable):
    """This process was stopped before your request was done. Another one will take the next.

    Whether a change that met this was made is unknown: ask, or repeat it.
    """

    type, title = "cut-off", N_("The service stopped meanwhile")


class RequestRecord:
    """Around every request: its id, its log line, its count, and a 500 that tells nothing.

    An exception's message may quote what was typed, so neither the answer nor the log has it.
    Who signs up too often is refused before anything else is done.
    """

    def __init__(self, app: ASGIApp, settings: Settings, limiter: Limiter) -> None:
        """Wrap ``app``; ``limiter`` counts who signs up."""
        self._share = sharing(settings)
        self.app = self._share(app)
        self._limiter = limiter
        self._refuse = self._share(Refusing())
        safety = safety_headers(settings)
        self._safety = safety, tuple(map(b": ".join, safety))
        for path in PUBLIC_PATHS:
            for status in (Problem.status, ServiceUnavailable.status):
                # A series that only begins with its first event hides that one from ``rate``.
                _seconds(path, "POST", status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = Record(scope, send, self._safety)
        scope = record.scope
        REQUESTS_IN_PROGRESS.inc()
        try:
            # A pattern's ``$`` also matches before a line break at the end: ``/v1/signups%0A``
            # would find its route, and no limiter before it.
            app = self._answering(NotFound()) if "\n" in scope["path"] else self.app
            if scope["method"] == "POST" and scope["path"] in PUBLIC_PATHS:
                client = self._limiter.clients.of_request(scope)
                refusal = await self._limiter.hit("signups", client)
                if refusal is not None:
                    scope[REFUSAL], app = refusal, self._refuse
            await app(scope, receive, record.send)
        except ClientDisconnect:
            record.status = CALLER_LEFT
        except asyncio.CancelledError:
            if record.status:
                raise
            await self._answering(CutOff(OUTCOME_UNKNOWN))(scope, receive, record.send)
        except Exception as error:  # noqa: BLE001 - the last resort
            record.note_crash(error)
            await self._answering(Problem())(scope, receive, record.send)
        finally:
            REQUESTS_IN_PROGRESS.dec()
            fields = record.end()
        if REFUSAL not in scope:  # whose line is that of many
            log.info("request", **fields)

    def _answering(self, problem: Problem) -> ASGIApp:
        """Make what answers any request with ``problem``, without a look at it."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await answer_problem(Request(scope, receive), problem)
            await response(scope, receive, send)

        # A script from elsewhere could not read a refusal that CORS has not seen.
        return self._share(answer)


class Record:
    """One request, and how it is answered."""

    def __init__(
        self, scope: Scope, send: Send, safety: tuple[Sequence[Header], Sequence[bytes]]
    ) -> None:
        """Begin with a request: its own id if it has a good one, else a new one.

        ``safety`` is what every answer says to browsers, also as lines.
        """
        self._began = time.perf_counter_ns()
        self._send = send
        self._safety, self._safety_lines = safety
        asked, traceparent = [], []
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                asked.append(value.decode("latin-1"))
            elif name == b"traceparent":
                traceparent.append(value.decode("latin-1"))
        is_good = len(asked) == 1 and REQUEST_ID.fullmatch(asked[0])
        self.request_id = asked[0] if is_good else new_hex_id()
        self.status = self._answered = 0
        method = scope["method"]
        self._method = method if method in METHODS else OTHER
        #: HEAD below ``/v1`` is asked as GET, and only its body is left out.
        self.scope = as_get(scope) if method == "HEAD" else scope
        self._with_body = self.scope is scope
        self._start: Message | None = None
        here = traces.here() if traces.process.tracer else None
        traces.current.set(here or traces.of_request(traceparent))

    async def send(self, message: Message) -> None:
        """Send the answer on, with the headers that every one has; HEAD's without its body.

        The head waits for the body, which is nearly always whole: then both are written at once.
        """
        if message["type"] == "http.response.start":
            self._start = message
            return
        if not self._with_body:
            message = {**message, "body": b""}
        start, self._start = self._start, None
        if start is not None:
            self.status = start["status"]
            if STAYS_OPEN in self.scope:  # how long it is listened to is no time of ours
                self._answered = time.perf_counter_ns()
            if not message.get("more_body") and self._is_written(start, message.get("body", b"")):
                return
            headers = list(start["headers"])
            said = NAMES.intersection(dict(headers))
            headers += [one for one in self._safety if one[0] not in said]
            headers.append((b"x-request-id", self.request_id.encode()))
            if JOIN in self.scope and self._method != "HEAD":  # which nothing follows
                self.scope[JOIN]()
            await self._send({**start, "headers": headers})
        await self._send(message)

    def _is_written(self, start: Message, body: bytes) -> bool:
        """Write a whole answer, if it is an everyday one; say whether it was."""
        answer, headers = self.scope.get(ANSWER), start["headers"]
        if traces.process.tracer:  # FastAPI's, which looks at what is sent
            return False
        said = dict(headers)
        if answer is None or self._method == "HEAD" or not UNUSUAL.isdisjoint(said):
            return False
        lines = [name.lower() + b": " + value for name, value in headers]
        if said.get(b"content-length") != b"%d" % len(body) or any(map(CONTROLS.search, lines)):
            return False
        lines += self._safety_lines
        lines.append(b"x-request-id: %b\r\n" % self.request_id.encode())
        return bool(answer(self.status, b"\r\n".join(lines), body))

    def note_crash(self, error: Exception) -> None:
        """Log what went wrong. Raises ConnectionAbortedError if half an answer is out: cut it."""
        log.error("request crashed", request_id=self.request_id, **frames(error))
        if self.status:
            self.status = Problem.status
            raise ConnectionAbortedError from None

    def end(self) -> dict[str, object]:
        """Count the request, and what it says of a sign-up; give the fields of its line."""
        scope = self.scope
        route = getattr(scope.get("route"), "path", None)
        # A request over the limit never gets to a route; there are few such paths.
        counted = scope["path"] if REFUSAL in scope else route or UNMATCHED
        nanoseconds = (self._answered or time.perf_counter_ns()) - self._began
        _seconds(counted, self._method, self.status or CALLER_LEFT).observe(nanoseconds / 1e9)
        if self._method == "POST" and counted in SIGN_UP_PATHS:
            counter = _failed if self.status >= Problem.status else _SIGN_UPS.get(self.status)
            if counter is not None:
                counter.inc()
        return {
            "request_id": self.request_id,
            "method": self._method,
            "route": route,
            "status": self.status,
            "nanoseconds": nanoseconds,
            "reason": scope.get(REASON) if self.status >= Problem.status else None,
        }


def as_get(scope: Scope) -> Scope:
    """Take HEAD for GET below ``/v1``: a route there answers both, and says GET only."""
    return {**scope, "method": "GET", IS_HEAD: True} if scope["path"].startswith("/v1/") else scope


class Refusing:
    """Answers those who sign up too often.

    What a flood meets is made once: of a refusal that is no page only the headers are new, and
    one line in the log a second says how many there were.
    """

    def __init__(self) -> None:
        """Have refused nobody yet."""
        self._refused = 0
        self._bodies: dict[tuple[str, ...], Response] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse one request."""
        self._count()
        request, refusal = Request(scope, receive), scope[REFUSAL]
        problem = QuotaExceeded(refusal.violated, refusal.headers)
        if not request.scope["path"].startswith("/v1/"):
            page = services_of(request).refused_page
            is_page = request.scope["path"] == EMBED_JSON or prefers_html(request)
            answer = await (page if is_page else answer_problem)(request, problem)
            await answer(request.scope, request.receive, send)
            return
        made = self._bodies.get(tuple(refusal.violated))
        if made is None:
            made = await answer_problem(request, problem)
            self._bodies[tuple(refusal.violated)] = made
        fresh = {name.lower().encode(): v.encode() for name, v in problem.headers.items()}
        headers = [(name, fresh.get(name, value)) for name, value in made.raw_headers]
        await send({"type": "http.response.start", "status": made.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": made.body})

    def _count(self) -> None:
        if not self._refused:
            asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell, context=Context())
        self._refused += 1

    def _tell(self) -> None:
        limits_log.info("refused by a rate limit", count=self._refused)
        self._refused = 0
