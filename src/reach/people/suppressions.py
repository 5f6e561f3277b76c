"""Addresses that nothing is sent to, over HTTP: list, show, add, lift."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from reach.auth.keys import Operator
from reach.db.transaction import Transaction
from reach.idempotency.stored import StoredResponse, respond_once
from reach.messages import actions, suppressions
from reach.messages.suppressions import Cause, Filter, NoSuchSuppression, Suppression
from reach.people import queries
from reach.people.address import Address
from reach.people.messages import Recipient
from reach.people.schemas import Description
from reach.web.body import in_json, parse_json, read_body, validate
from reach.web.guard import OperatorKey, PathId, idempotency_key, path_id
from reach.web.openapi import IDEMPOTENCY_KEY, OF_BODIES, OF_KEYS, location, problems
from reach.web.responses import (
    Cursor,
    Limit,
    as_json,
    read_cursor,
    respond,
    response_of,
    write_cursor,
)
from reach.web.routes import StrictRoute, services_of

HERE: Final = "/v1/suppressions"
router = APIRouter(prefix=HERE, tags=["Suppressions"], responses=OF_KEYS, route_class=StrictRoute)

MayRead = Depends(OperatorKey("messages:read"))
Writer = Annotated[Operator, Depends(OperatorKey("messages:write"))]

SUPPRESSION: dict[str, Any] = {
    "id": "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a01",
    "email": "ada@example.com",
    "cause": "bounced",
    "text": "550 5.1.1 No such user",
    "message_id": "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1",
    "created_at": "2026-03-04T05:06:07.890123Z",
    "updated_at": "2026-03-04T05:06:07.890123Z",
}
EXAMPLE: dict[str, Any] = {"email": "ada@example.com", "note": "Asked by telephone."}


class NewSuppression(BaseModel):
    """An address that nothing is to be sent to. The note is for operators: it says why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    email: Address
    note: Description | None = None


class SuppressionBody(BaseModel):
    """An address that nothing is sent to, in lower case, and why.

    `bounced`: mail to it came back for good, or for a week. `complained`: its owner marked mail as
    spam. `operator`: somebody wanted it so. `text` is what the mail server said, or the operator;
    `message_id` is the `id` of the message that it was about.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [SUPPRESSION]})

    id: UUID
    email: str
    cause: Cause
    text: str
    message_id: UUID | None
    created_at: datetime
    updated_at: datetime


class SuppressionPage(BaseModel):
    """Part of a list, newest first; ``next_cursor`` asks for the next part."""

    items: list[SuppressionBody]
    next_cursor: str | None


def fields_of(found: Suppression) -> dict[str, Any]:
    """Show one: to the API and to commands."""
    names = ("id", "cause", "text", "message_id", "created_at", "updated_at")
    return {"email": found.email_key, **{name: getattr(found, name) for name in names}}


async def suppression_id(id_: PathId) -> UUID:
    """Read an id from the path; what is not one names nothing."""
    found = path_id(id_)
    if found is None:
        raise NoSuchSuppression
    return found


SuppressionId = Annotated[UUID, Depends(suppression_id)]


@router.get("", response_model=SuppressionPage, dependencies=[MayRead])
async def get_suppressions(
    request: Request,
    cause: Cause | None = None,
    address: Annotated[Recipient | None, Query(description="A whole address")] = None,
    limit: Limit = 50,
    cursor_: Cursor = None,
) -> Any:
    """List suppressed addresses. The newest first; `address` is a whole one, in any spelling."""
    found, on = await services_of(request).database.read(
        suppressions.page, Filter(cause, address), limit=limit, before=read_cursor(cursor_)
    )
    items = [SuppressionBody(**fields_of(one)) for one in found]
    return as_json(SuppressionPage(items=items, next_cursor=write_cursor(on) if on else None))


@router.get(
    "/{id}", response_model=SuppressionBody, dependencies=[MayRead], responses=problems(404)
)
async def get_suppression(request: Request, id_: SuppressionId) -> Any:
    """Show a suppressed address. 404 if it was lifted."""
    found = await services_of(request).database.read(suppressions.find, id_)
    return as_json(SuppressionBody(**fields_of(found)))


@router.post(
    "",
    status_code=201,
    response_model=SuppressionBody,
    responses=OF_BODIES
    | {
        200: {"model": SuppressionBody, "description": "It was suppressed already"},
        201: {"headers": location(HERE)},
    },
    openapi_extra=in_json(NewSuppression) | IDEMPOTENCY_KEY,
)
async def post_suppression(request: Request, operator: Writer) -> Any:
    """Have nothing sent to an address. Anybody's; what is queued for it is not sent either.

    200 if it is suppressed already: then the note is changed. Of an address that bounced, the cause
    is `operator` from then on, so that no sign-up lifts it; one whose owner complained stays as it
    is.
    """
    services = services_of(request)
    data = parse_json(await read_body(request, services.body_seconds))
    body = validate(NewSuppression, data, services.settings)
    key = idempotency_key(request, operator, data)

    def add(tx: Transaction) -> StoredResponse:
        # An erasure locks a person first, and what refers to them after that.
        person = queries.find_by_key(tx, body.email.key)
        person = person and queries.lock(tx, person.id)
        made, is_new = actions.suppress(tx, operator.actor, body.email.key, body.note or "")
        shown, person_id = SuppressionBody(**fields_of(made)), person.id if person else None
        if not is_new:
            return response_of(shown, person_id=person_id)
        return response_of(shown, 201, person_id=person_id, location=f"{HERE}/{made.id}")

    return respond(await services.database.write(respond_once, key, add))


@router.delete("/{id}", status_code=204, responses=problems(404))
async def delete_suppression(request: Request, operator: Writer, id_: SuppressionId) -> Response:
    """Have mail sent to an address again. What ended as `suppressed` can be retried then.

    404 if it was lifted.
    """
    await services_of(request).database.write(actions.lift, operator.actor, id_)
    return Response(status_code=204)
