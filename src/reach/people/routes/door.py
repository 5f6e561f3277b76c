"""The door: where people sign up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from fastapi import APIRouter, Request

from reach.access.answers import Answer, Once
from reach.access.idempotency import HEADER, Onces
from reach.bodies.document import IDEMPOTENCY_KEY, OF_BODIES, problems
from reach.bodies.guard import in_json, read_json, validate
from reach.messages.routes import answer_of, respond
from reach.people.bodies import Accepted
from reach.people.links import LinkRequest
from reach.people.signup import SignUp

router = APIRouter(tags=["door"])

#: What everybody is told, whether their address is known or not.
CHECK_YOUR_INBOX = answer_of(Accepted(message="Check your inbox."), 202)


#: Longer than a sign-up takes on an idle machine, whoever signs up; a busy one hides it anyhow.
ANSWER_SECONDS = 0.005


@asynccontextmanager
async def in_one_time() -> AsyncIterator[None]:
    """Answer no sooner than 5 ms after the work has begun: each address's is another work.

    The time is set beforehand. What was left of it, once the work is done, the event loop would
    round to milliseconds, and so tell how long the work took.
    """
    is_time = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, is_time.set)
    try:
        yield
        await is_time.wait()
    finally:
        timer.cancel()


class SignUpFunction(Protocol):
    """Sign up; when it returns, the person and their email are on disk."""

    async def __call__(self, request: SignUp, once: Once | None = None) -> Answer:
        """Raise KeyReused if ``once`` is another request's."""


@router.post(
    "/v1/signups",
    status_code=202,
    response_model=Accepted,
    responses=OF_BODIES | problems(429, 503),
    openapi_extra=in_json(SignUp) | IDEMPOTENCY_KEY,
)
async def post_signup(request: Request) -> Any:
    """Sign up. A 202 means the person and their email are on disk; it says no more."""
    # Nothing is injected here: to solve dependencies takes longer than all that is done below.
    sign_up: SignUpFunction = request.app.state.sign_up
    onces: Onces = request.app.state.onces
    data = await read_json(request)
    body = validate(SignUp, data, request)
    headers = request.headers.getlist(HEADER)
    once = onces.at_door(headers, body.email.key, "/v1/signups", data)
    return respond(await sign_up(body, once))
