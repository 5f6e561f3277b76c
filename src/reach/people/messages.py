"""Operators find messages, by whom they are for and when; try all of them again, or cancel them."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from reach.auth.audit import Actor
from reach.auth.keys import Operator
from reach.db.transaction import Transaction
from reach.idempotency.stored import StoredResponse, respond_once
from reach.messages import actions, filters
from reach.messages.filters import MOST_AT_ONCE, Filter
from reach.messages.model import State
from reach.messages.routes import CANCEL, RETRY, MessagePage, Template, message_page
from reach.people.address import LONGEST, key_prefix
from reach.shapes import BLANK, UNSEEN, Id, Shape, Time, shaped
from reach.web.body import in_json, parse_json, read_body, validate
from reach.web.guard import OperatorKey, idempotency_key
from reach.web.openapi import IDEMPOTENCY_KEY, OF_BODIES, OF_KEYS
from reach.web.responses import Cursor, Limit, as_json, read_cursor, respond, response_of
from reach.web.routes import StrictRoute, services_of

router = APIRouter(
    prefix="/v1/messages", tags=["Messages"], responses=OF_KEYS, route_class=StrictRoute
)
MayRead = Depends(OperatorKey("messages:read"))
Writer = Annotated[Operator, Depends(OperatorKey("messages:write"))]

#: Whatever else there may be on either side: the rules may have been others when it was stored.
RECIPIENT = Shape(
    rf"[ \t]*[^@{BLANK}{UNSEEN}]+@[^@{BLANK}{UNSEEN}]+[ \t]*",
    "It must be a whole address.",
    LONGEST,
)
Recipient = Annotated[str, *shaped(RECIPIENT), AfterValidator(key_prefix)]
EXAMPLE: dict[str, Any] = {
    "filter": {"state": "failed", "since": "2026-03-04T05:00:00Z"},
    "dry_run": True,
}
CANCEL_EXAMPLE: dict[str, Any] = {
    "filter": {"state": "queued", "template": "changed"},
    "dry_run": True,
}


def without_null(schema: dict[str, Any]) -> None:
    """Say that something is to be said, and that null says nothing: ``says_something``."""
    schema["minProperties"] = 1
    for name, field in schema["properties"].items():
        if "anyOf" in field:
            (kind,) = [kind for kind in field["anyOf"] if kind != {"type": "null"}]
            schema["properties"][name] = {"title": field["title"], **kind}


class Many(BaseModel):
    """What many messages are found by."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=without_null)

    #: What says that all are meant.
    ALL: ClassVar[str] = ""

    template: Template | None = None
    recipient: Recipient | None = None
    person_id: Id | None = None
    since: Time | None = None
    until: Time | None = None

    @model_validator(mode="after")
    def says_something(self) -> Self:
        """Refuse a filter that says nothing: it would be everything, which nobody asked for.

        Null too: it is what a caller's program has where it meant to name somebody.
        """
        said = [getattr(self, name) for name in self.model_fields_set]
        if not said:
            raise ValueError(f"It must say something: {self.ALL}.")
        if None in said:
            raise ValueError("Null finds nothing: leave out what you do not filter by.")
        return self


class RetryFilter(Many):
    """Which messages are tried again: at least one thing must be said of them.

    `state` is "failed" unless you say so: {"state": "failed"} is all that have failed. Of the
    queued, those are meant that wait for their next try.
    """

    ALL = '{"state": "failed"} is all that have failed'

    state: Literal["failed", "cancelled", "suppressed", "queued"] = "failed"


class CancelFilter(Many):
    """Which messages are cancelled: at least one thing must be said of them.

    Only those that are queued can be: {"state": "queued"} is all of them.
    """

    ALL = '{"state": "queued"} is all that are queued'

    state: Literal["queued"] = "queued"


class Retry(BaseModel):
    """Which messages to try again; a dry run only says how many they are."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    filter: RetryFilter
    dry_run: Annotated[bool, Field(strict=True)] = False


class Cancel(BaseModel):
    """Which messages to cancel; a dry run only says how many they are."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [CANCEL_EXAMPLE]})

    filter: CancelFilter
    dry_run: Annotated[bool, Field(strict=True)] = False


class Retried(BaseModel):
    """How many messages were queued again, or would be; `more`, if the same call would find more.

    10,000 a call at most.
    """

    queued: int
    more: bool
    dry_run: bool


class Cancelled(BaseModel):
    """How many messages were cancelled, or would be; `more`, if the same call would find more.

    10,000 a call at most.
    """

    cancelled: int
    more: bool
    dry_run: bool


@router.get("", response_model=MessagePage, dependencies=[MayRead])
async def get_messages(  # noqa: PLR0913 - one for each filter
    *,
    request: Request,
    state: State | None = None,
    template: Template | None = None,
    recipient: Recipient | None = None,
    since: Time | None = None,
    until: Time | None = None,
    limit: Limit = 50,
    cursor_: Cursor = None,
) -> Any:
    """List messages, newest first.

    `recipient` is a whole address, in any spelling: the messages of the person who has it now,
    those too that went to their former address, and no notices. `since` and `until` say when they
    were promised: from the one on, and before the other (RFC 3339).

    A page may have fewer messages than `limit`, even none, and a `next_cursor` all the same: where
    few of very many fit, it is not all looked through at once. Null alone is the end.
    """
    chosen_by = Filter(state, template, recipient, None, since, until)
    found, on = await services_of(request).database.read(
        filters.page, chosen_by, limit=limit, before=read_cursor(cursor_)
    )
    return as_json(message_page(found, on))


@router.post(
    f"/{RETRY}",
    response_model=Retried,
    responses=OF_BODIES,
    openapi_extra=in_json(Retry) | IDEMPOTENCY_KEY,
)
async def post_retry_all(request: Request, operator: Writer) -> Any:
    """Try many messages again. They are due now: 10,000 at most, the oldest first.

    Those that are being sent at this moment are not among them. What was sent stays sent.
    """

    def retried(count: int, *, more: bool, dry_run: bool) -> Retried:
        return Retried(queued=count, more=more, dry_run=dry_run)

    ways = (filters.retryable, actions.retry_all, retried)
    return await _change_all(request, operator, Retry, *ways)


@router.post(
    f"/{CANCEL}",
    response_model=Cancelled,
    responses=OF_BODIES,
    openapi_extra=in_json(Cancel) | IDEMPOTENCY_KEY,
)
async def post_cancel_all(request: Request, operator: Writer) -> Any:
    """Cancel many messages. They are not sent then: 10,000 at most, the oldest first.

    One that is being sent at this moment ends as `sent` if the mail server takes it, because it
    was. What is cancelled can be tried again.
    """

    def cancelled(count: int, *, more: bool, dry_run: bool) -> Cancelled:
        return Cancelled(cancelled=count, more=more, dry_run=dry_run)

    ways = (filters.cancellable, actions.cancel_all, cancelled)
    return await _change_all(request, operator, Cancel, *ways)


async def _change_all(  # noqa: PLR0913, PLR0917 - what there is of each way
    request: Request,
    operator: Operator,
    kind: type[Retry] | type[Cancel],
    choose: Callable[[Transaction, Filter], Sequence[UUID]],
    change: Callable[[Transaction, Actor, Sequence[UUID], Filter], tuple[int, bool]],
    answer: Callable[..., BaseModel],
) -> Any:
    """Choose by a read, which holds up nobody; then change those that are still as they were."""
    services = services_of(request)
    data = parse_json(await read_body(request, services.body_seconds))
    body = validate(kind, data, services.settings)
    key = idempotency_key(request, operator, data)
    chosen_by = Filter(**dict(body.filter))
    ids = await services.database.read(choose, chosen_by)

    def work(tx: Transaction) -> StoredResponse:
        count, is_left = len(ids[:MOST_AT_ONCE]), False
        if not body.dry_run:
            count, is_left = change(tx, operator.actor, ids[:MOST_AT_ONCE], chosen_by)
        more = is_left or len(ids) > MOST_AT_ONCE
        return response_of(answer(count, more=more, dry_run=body.dry_run))

    is_read = body.dry_run and key is None
    run = services.database.read if is_read else services.database.write
    return respond(await run(respond_once, key, work))
