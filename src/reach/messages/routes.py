"""Operators look after messages: show, retry, cancel. How to find them: ``people.routes``."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict

from reach.auth.keys import ApiKey
from reach.db.transaction import Transaction
from reach.idempotency.keys import HEADER, IDEMPOTENCY_KEY, Onces, do_once
from reach.idempotency.stored import Done, Once
from reach.mail.templates import NAME, NAME_CHARACTERS
from reach.messages import operations
from reach.messages.model import Attempt, Message
from reach.messages.operations import NoSuchMessage
from reach.problems import MethodNotAllowed
from reach.shapes import ID_IN_PATH, Shape, read_id, shaped
from reach.web import responses as cursor
from reach.web.body import StrictRoute
from reach.web.guard import needs, operator, operator_key
from reach.web.keys import Db, answer_of, as_json, respond
from reach.web.openapi import OF_KEYS, problems

router = APIRouter(
    prefix="/v1/messages",
    tags=["messages"],
    dependencies=[Depends(operator_key)],
    responses=OF_KEYS,
    route_class=StrictRoute,
)

#: ``POST /v1/messages/retry`` is beside the messages' ids: see ``people.routes.messages``.
RETRY = "retry"
MayRead = Depends(needs("messages:read"))
MayWrite = Depends(needs("messages:write"))


TEMPLATE = Shape(
    NAME.pattern, "It is lower case, digits and hyphens, and begins with a letter.", NAME_CHARACTERS
)
Template = Annotated[str, *shaped(TEMPLATE)]


class MessageBody(BaseModel):
    """A message, as operators see it. ``due_at`` is the next try's time, while there is one."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    person_id: UUID
    template: str
    recipient: str
    state: Literal["queued", "sent", "failed", "cancelled"]
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
    outcome: Literal["sent", "later", "refused", "unknown"]
    smtp_code: int | None
    enhanced_code: str | None
    text: str


class MessageWithHistory(MessageBody):
    """A message with every attempt, the oldest first."""

    history: list[AttemptBody]


class MessagePage(BaseModel):
    """Part of a list, newest first; ``next_cursor`` asks for the next part."""

    items: list[MessageBody]
    next_cursor: str | None


def message_body(message: Message) -> MessageBody:
    """Show a message; one that is settled has no next try."""
    body = MessageBody.model_validate(message)
    return body if message.state == "queued" else body.model_copy(update={"due_at": None})


def message_page(found: Sequence[Message], limit: int) -> MessagePage:
    """Show a page, given one message more than ``limit`` if there is another page."""
    shown = found[:limit]
    more = len(found) > limit
    return MessagePage(
        items=[message_body(message) for message in shown],
        next_cursor=cursor.write(shown[-1].id) if more else None,
    )


async def once_of_operator(
    request: Request, key: Annotated[ApiKey, Depends(operator)]
) -> Once | None:
    """Read the key of a request that has no body."""
    onces: Onces = request.app.state.onces
    return onces.of_operator(request.headers.getlist(HEADER), key.id, request.url.path)


BodilessOnce = Annotated[Once | None, Depends(once_of_operator)]


async def message_id(id: Annotated[str, ID_IN_PATH]) -> UUID:  # noqa: A002 - the path's word
    """Read an id from the path; what is not one names no message.

    Nor does the name of a call: to read ``/v1/messages/retry`` is the wrong method.
    """
    if id == RETRY:
        raise MethodNotAllowed(headers={"Allow": "POST"})
    try:
        return read_id(id)
    except ValueError:
        raise NoSuchMessage from None


MessageId = Annotated[UUID, Depends(message_id)]


@router.get(
    "/{id}", response_model=MessageWithHistory, dependencies=[MayRead], responses=problems(404)
)
async def get_message(db: Db, id_: MessageId) -> Any:
    """Show a message with every attempt and the time of the next try."""
    message, attempts = await db.read(operations.history, id_)
    return as_json(_with_history(message, attempts))


@router.post(
    "/{id}/retry",
    response_model=MessageBody,
    dependencies=[MayWrite],
    responses=problems(400, 404, 409, 422),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_retry(db: Db, id_: MessageId, once: BodilessOnce) -> Any:
    """Queue a message again, due now. 409 if it was sent."""
    return respond(await db.write(do_once, once, _changing(operations.retry, id_, once)))


@router.post(
    "/{id}/cancel",
    response_model=MessageBody,
    dependencies=[MayWrite],
    responses=problems(400, 404, 409, 422),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_cancel(db: Db, id_: MessageId, once: BodilessOnce) -> Any:
    """Keep a queued message from being sent. 409 unless it is queued."""
    return respond(await db.write(do_once, once, _changing(operations.cancel, id_, once)))


def _changing(
    change: Callable[[Transaction, UUID], Message], id_: UUID, once: Once | None
) -> Callable[[Transaction], Done]:
    def work(tx: Transaction) -> Done:
        if once is not None:
            operations.hold_person(tx, id_)
        message = change(tx, id_)
        return Done(answer_of(message_body(message)), message.person_id)

    return work


def _with_history(message: Message, attempts: Sequence[Attempt]) -> MessageWithHistory:
    history = [AttemptBody.model_validate(attempt) for attempt in attempts]
    return MessageWithHistory(**message_body(message).model_dump(), history=history)
