"""Signing up over HTTP, and asking for a link: what anyone may call without a key."""

import time
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from reach.idempotency.keys import HEADER
from reach.people.consent_request import evidence_of
from reach.people.schemas import (
    CHECK_YOUR_INBOX,
    Accepted,
    Challenge,
    LinkRequestForm,
    SignUpForm,
)
from reach.web.body import in_json, parse_json, read_body, validate
from reach.web.openapi import IDEMPOTENCY_KEY, OF_BODIES, problems
from reach.web.responses import respond
from reach.web.routes import StrictRoute, fields_of, services_of

#: What nearly everybody gets, made once.
_CHECK_YOUR_INBOX = respond(CHECK_YOUR_INBOX)

router = APIRouter(tags=["Sign up"], route_class=StrictRoute)


@router.post(
    "/v1/signups",
    status_code=202,
    response_model=Accepted,
    responses=OF_BODIES | problems(429, 503),
    openapi_extra=in_json(SignUpForm) | IDEMPOTENCY_KEY,
)
async def post_signup(request: Request) -> Any:
    """Sign up. A 202 means the person and their email are on disk; it says no more."""
    services = services_of(request)
    data = parse_json(await read_body(request, services.body_seconds))
    form = in_language(request, validate(SignUpForm, data, services.settings))
    given = fields_of(request, HEADER)
    key = None
    if given:
        key = services.idempotency.of_public(given, form.email.key, request.scope["path"], data)
    evidence = evidence_of(services, request.scope, "api", form.language)
    response = await services.sign_up(form, key, evidence)
    return _CHECK_YOUR_INBOX if response is CHECK_YOUR_INBOX else respond(response)


def in_language(request: Request, form: SignUpForm) -> SignUpForm:
    """Note the language that a caller prefers, if they do not say one: a browser does, unasked."""
    accepted = fields_of(request, "accept-language")
    if form.language is not None or not accepted:
        return form
    language = services_of(request).pages.catalogues.preferred(",".join(accepted))
    return form.model_copy(update={"language": language}) if language else form


@router.post(
    "/v1/links",
    status_code=202,
    response_model=Accepted,
    responses=OF_BODIES | problems(429, 503),
    openapi_extra=in_json(LinkRequestForm) | IDEMPOTENCY_KEY,
)
async def post_link(request: Request) -> Any:
    """Ask for a link to one's record. If the address is signed up, it gets an email.

    Whether it is, is looked up after the answer.
    """
    services = services_of(request)
    data = parse_json(await read_body(request, services.body_seconds))
    form = validate(LinkRequestForm, data, services.settings)
    given = fields_of(request, HEADER)
    key = None
    if given:
        key = services.idempotency.of_public(given, form.email.key, request.scope["path"], data)
    return respond(await services.request_link(form, key))


@router.get("/v1/challenge", response_model=Challenge, responses=problems(404, 422))
async def get_challenge(request: Request) -> Response:
    """Get a proof of work to do. Good for 10 minutes and one form; 404 if none is asked for."""
    challenge = services_of(request).spam_protection.challenge(time.time())
    return JSONResponse(challenge, headers={"Cache-Control": "no-store"})
