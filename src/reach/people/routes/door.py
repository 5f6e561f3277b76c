"""The door: where people sign up."""

import time
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from reach.idempotency.keys import HEADER, IDEMPOTENCY_KEY, Onces
from reach.people.schemas import Accepted, Challenge, DoorLinkRequest, DoorSignUp
from reach.people.signup import Knocking
from reach.web.body import StrictRoute, in_json, read_json, validate
from reach.web.keys import answer_of, respond
from reach.web.openapi import OF_BODIES, problems

F = TypeVar("F", DoorSignUp, DoorLinkRequest)

router = APIRouter(tags=["door"], route_class=StrictRoute)

#: What everybody is told, whether their address is known or not.
CHECK_YOUR_INBOX = answer_of(Accepted(message="Check your inbox."), 202)
LINK_ON_ITS_WAY = answer_of(
    Accepted(message="If that address is signed up, a link is on its way."), 202
)


@router.post(
    "/v1/signups",
    status_code=202,
    response_model=Accepted,
    responses=OF_BODIES | problems(429, 503),
    openapi_extra=in_json(DoorSignUp) | IDEMPOTENCY_KEY,
)
async def post_signup(request: Request) -> Any:
    """Sign up. A 202 means the person and their email are on disk; it says no more."""
    # Nothing is injected here: to solve dependencies takes longer than all that is done below.
    return await _answer(request, DoorSignUp, request.app.state.sign_up)


@router.post(
    "/v1/links",
    status_code=202,
    response_model=Accepted,
    responses=OF_BODIES | problems(429, 503),
    openapi_extra=in_json(DoorLinkRequest) | IDEMPOTENCY_KEY,
)
async def post_link(request: Request) -> Any:
    """Ask for a link to one's record. If the address is signed up, it gets an email.

    Whether it is, is looked up after the answer.
    """
    return await _answer(request, DoorLinkRequest, request.app.state.request_link)


@router.get("/v1/challenge", response_model=Challenge, responses=problems(404, 422))
async def get_challenge(request: Request) -> Response:
    """Give a proof of work to do, good for 10 minutes and one form. 404 if none is asked for."""
    challenge = request.app.state.robots.challenge(time.time())
    return JSONResponse(challenge, headers={"Cache-Control": "no-store"})


async def _answer(request: Request, model: type[F], knock: Knocking) -> Response:
    """Read a form and do what it asks for, once if it carries a key."""
    data = await read_json(request)
    form = validate(model, data, request)
    onces: Onces = request.app.state.onces
    headers = request.headers.getlist(HEADER)
    once = onces.at_door(headers, form.email.key, request.scope["path"], data)
    return respond(await knock(form, once))
