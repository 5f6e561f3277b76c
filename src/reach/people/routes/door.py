"""The door: where people sign up."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request

from reach.bodies.document import OF_BODIES, problems
from reach.bodies.guard import in_json, json_body
from reach.messages.routes import as_json
from reach.people.bodies import Accepted
from reach.people.links import LinkRequest
from reach.people.signup import SignUp

router = APIRouter(tags=["door"])

CHECK_YOUR_INBOX = Accepted(message="Check your inbox.")

SignUpFunction = Callable[[SignUp], Awaitable[None]]

LinkFunction = Callable[[LinkRequest], Awaitable[None]]

read_sign_up = json_body(SignUp)
read_link_request = json_body(LinkRequest)


@router.post(
    "/v1/signups",
    status_code=202,
    response_model=Accepted,
    responses=OF_BODIES | problems(503),
    openapi_extra=in_json(SignUp),
)
async def post_signup(request: Request) -> Any:
    """Sign up. A 202 means the person and their email are on disk; it says no more."""
    # Nothing is injected here: to solve dependencies takes longer than all that is done below.
    sign_up: SignUpFunction = request.app.state.sign_up
    await sign_up(await read_sign_up(request))
    return as_json(CHECK_YOUR_INBOX, 202)


@router.post(
    "/v1/links",
    status_code=202,
    response_model=Accepted,
    responses=OF_BODIES | problems(503),
    openapi_extra=in_json(LinkRequest),
)
async def post_link(request: Request) -> Any:
    """Ask for a link to one's record. If the address is signed up, it gets an email."""
    request_link: LinkFunction = request.app.state.request_link
    await request_link(await read_link_request(request))
    return as_json(CHECK_YOUR_INBOX, 202)
