"""Operators look after messages: show, retry, cancel. How to find them: ``people.messages``."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict

from reach.auth.audit import Actor
from reach.auth.keys import Operator
from reach.db.transaction import Transaction
from reach.idempotency.stored import StoredResponse, respond_once
from reach.messages import actions, outbox
from reach.messages.model import TEMPLATE_NAME, TEMPLATE_NAME_CHARACTERS, History, Message, State
from reach.messages.outbox import NoSuchMessage
from reach.problems import MethodNotAllowed
from reach.shapes import Shape, shaped
from reach.web.guard import OperatorKey, PathId, idempotency_key, path_id
from reach.web.openapi import IDEMPOTENCY_KEY, OF_KEYS, problems
from reach.web.responses import as_json, respond, response_of, write_cursor
from reach.web.routes import StrictRoute, services_of

router = APIRouter(
    prefix="/v1/messages", tags=["Messages"], responses=OF_KEYS, route_class=StrictRoute
)

#: ``POST /v1/messages/retry`` and ``…/cancel`` are beside the ids: see ``people.messages``.
RETRY, CANCEL = "retry", "cancel"
MayRead = Depends(OperatorKey("messages:read"))
Writer = Annotated[Operator, Depends(OperatorKey("messages:write"))]


TEMPLATE = Shape(
    TEMPLATE_NAME.pattern,
    "It is lower case, digits and hyphens, and begins with a letter.",
    TEMPLATE_NAME_CHARACTERS,
)
Template = Annotated[str, *shaped(TEMPLATE)]


MESSAGE: dict[str, Any] = {
    "id": "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a01",
    "person_id": "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1",
    "template": "welcome",
    "recipient": "ada@example.com",
    "state": "sent",
    "attempts": 1,
    "created_at": "2026-03-04T05:06:07.890123Z",
    "due_at": None,
    "finished_at": "2026-03-04T05:06:08.310000Z",
    "message_id": "<01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a01@example.com>",
    "last_error": None,
}


class MessageBody(BaseModel):
    """A message, as operators see it. ``due_at`` is the next try's time, while there is one.

    A `notice` (see `REACH_NOTIFY`) has a `person_id` only if it names that person.
    """

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [MESSAGE]})

    id: UUID
    person_id: UUID | None
    template: str
    recipient: str
    state: State
    attempts: int
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    message_id: str
    last_error: str | None


class AttemptBody(BaseModel):
    """One try, and the mail server's answer."""

    model_config = ConfigDict(from_attributes=True)

    worker: str
    started_at: datetime
    finished_at: datetime
    outcome: Literal["sent", "deferred", "rejected", "unknown"]
    smtp_code: int | None
    enhanced_code: str | None
    text: str


class ReportBody(BaseModel):
    """What a mail server, or a provider, reported of a message after it was sent.

    `category` is whose fault a bounce is: `permanent` and `transient` are the address's, `sender`
    is ours.
    """

    model_config = ConfigDict(from_attributes=True)

    kind: Literal["delivered", "delayed", "bounced", "complained"]
    category: Literal["permanent", "transient", "sender", "undetermined"] | None
    source: str
    smtp_code: int | None
    enhanced_code: str | None
    text: str
    reported_at: datetime


class MessageWithHistory(MessageBody):
    """A message with every attempt, and what was reported of it, the oldest first."""

    history: list[AttemptBody]
    reports: list[ReportBody]


class MessagePage(BaseModel):
    """Part of a list, newest first; ``next_cursor`` asks for the next part."""

    items: list[MessageBody]
    next_cursor: str | None


def message_body(message: Message) -> MessageBody:
    """Show a message; one that is not queued has no next try."""
    body = MessageBody.model_validate(message)
    return body if message.state == "queued" else body.model_copy(update={"due_at": None})


def message_page(found: Sequence[Message], on: UUID | None) -> MessagePage:
    """Show part of a list, which goes on before the id ``on``."""
    return MessagePage(
        items=[message_body(one) for one in found], next_cursor=write_cursor(on) if on else None
    )


async def message_id(id_: PathId) -> UUID:
    """Read an id from the path; what is not one names no message.

    Nor does the name of a call: to read ``/v1/messages/retry`` is the wrong method.
    """
    if id_ in (RETRY, CANCEL):
        raise MethodNotAllowed(headers={"Allow": "POST"})
    found = path_id(id_)
    if found is None:
        raise NoSuchMessage
    return found


MessageId = Annotated[UUID, Depends(message_id)]


@router.get(
    "/{id}", response_model=MessageWithHistory, dependencies=[MayRead], responses=problems(404)
)
async def get_message(request: Request, id_: MessageId) -> Any:
    """Show a message. It has every attempt, the time of the next try, and what was reported."""
    found = await services_of(request).database.read(outbox.history, id_)
    return as_json(_with_history(found))


@router.post(
    "/{id}/retry",
    response_model=MessageBody,
    responses=problems(400, 404, 409, 422),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_retry(request: Request, operator: Writer, id_: MessageId) -> Any:
    """Try a message again. It is due now; 409 if it was sent."""
    return await _change(request, operator, actions.retry, id_)


@router.post(
    "/{id}/cancel",
    response_model=MessageBody,
    responses=problems(400, 404, 409, 422),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_cancel(request: Request, operator: Writer, id_: MessageId) -> Any:
    """Cancel a message. It is not sent then; 409 unless it is queued."""
    return await _change(request, operator, actions.cancel, id_)


async def _change(
    request: Request,
    operator: Operator,
    change: Callable[[Transaction, Actor, UUID], Message],
    id_: UUID,
) -> Any:
    key = idempotency_key(request, operator)

    def work(tx: Transaction) -> StoredResponse:
        if key is not None:
            outbox.hold_person(tx, id_)
        message = change(tx, operator.actor, id_)
        return response_of(message_body(message), person_id=message.person_id)

    return respond(await services_of(request).database.write(respond_once, key, work))


def _with_history(found: History) -> MessageWithHistory:
    history = [AttemptBody.model_validate(attempt) for attempt in found.attempts]
    reports = [ReportBody.model_validate(report) for report in found.reports]
    body = message_body(found.message).model_dump()
    return MessageWithHistory(**body, history=history, reports=reports)
