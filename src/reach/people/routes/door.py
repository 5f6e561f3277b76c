"""The door: where people sign up."""

import time
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from reach.bodies.document import OF_BODIES, problems
from reach.bodies.guard import in_json, json_body
from reach.messages.routes import as_json
from reach.people.bodies import Accepted, Challenge, DoorSignUp

router = APIRouter(tags=["door"])

CHECK_YOUR_INBOX = Accepted(message="Check your inbox.")

read_sign_up = json_body(DoorSignUp)


@router.post(
    "/v1/signups",
    status_code=202,
    response_model=Accepted,
    responses=OF_BODIES | problems(503),
    openapi_extra=in_json(DoorSignUp),
)
async def post_signup(request: Request) -> Any:
    """Sign up. A 202 means the person and their email are on disk; it says no more."""
    # Nothing is injected here: to solve dependencies takes longer than all that is done below.
    await request.app.state.sign_up(await read_sign_up(request))
    return as_json(CHECK_YOUR_INBOX, 202)


@router.get("/v1/challenge", response_model=Challenge, responses=problems(404))
async def get_challenge(request: Request) -> Response:
    """Give a proof of work to do, good for 10 minutes and one form. 404 if none is asked for."""
    challenge = request.app.state.robots.challenge(time.time())
    return JSONResponse(challenge, headers={"Cache-Control": "no-store"})
