"""Operators look after webhooks, over HTTP: add, change, rotate, test, replay, see."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from reach.auth.keys import Operator
from reach.db.transaction import Transaction
from reach.events.model import EventState
from reach.idempotency import stored
from reach.idempotency.stored import StoredResponse, respond_once
from reach.web.body import in_json, json_body, parse_json, read_body, validate
from reach.web.guard import OperatorKey, PathId, idempotency_key, path_id
from reach.web.openapi import IDEMPOTENCY_KEY, OF_BODIES, OF_KEYS, problems
from reach.web.responses import (
    NO_STORE,
    Cursor,
    Limit,
    as_json,
    read_cursor,
    respond,
    response_of,
    write_cursor,
)
from reach.web.routes import StrictRoute, services_of
from reach.webhooks import actions, endpoints, history, secrets
from reach.webhooks.endpoints import NoSuchWebhook, Webhook
from reach.webhooks.schemas import (
    DeliveryPage,
    NewWebhook,
    Replayed,
    ReplayRequest,
    Tested,
    WebhookBody,
    WebhookChanges,
    WebhookList,
    WebhookWithSecret,
    delivery_body,
)
from reach.webhooks.secrets import Seals

router = APIRouter(
    prefix="/v1/webhooks", tags=["Webhooks"], responses=OF_KEYS, route_class=StrictRoute
)

MayRead = Depends(OperatorKey("webhooks:read"))
Writer = Annotated[Operator, Depends(OperatorKey("webhooks:write"))]

SHOWN = "Keep this secret: it is not shown again."
SHOWN_ONCE = (
    "The secret was shown once, in the first answer to this Idempotency-Key. "
    "If that did not reach you, rotate it."
)


async def webhook_id(id_: PathId) -> UUID:
    """Read an id from the path; what is not one names no webhook."""
    found = path_id(id_)
    if found is None:
        raise NoSuchWebhook
    return found


WebhookId = Annotated[UUID, Depends(webhook_id)]


@router.get("", response_model=WebhookList, dependencies=[MayRead])
async def get_webhooks(request: Request) -> Any:
    """List webhooks. All of them, the oldest first, without their secrets."""
    found = await services_of(request).database.read(endpoints.every)
    return as_json(WebhookList(items=[WebhookBody.model_validate(one) for one in found]))


@router.post(
    "",
    status_code=201,
    response_model=WebhookWithSecret,
    responses=OF_BODIES | problems(409),
    openapi_extra=in_json(NewWebhook) | IDEMPOTENCY_KEY,
)
async def post_webhook(request: Request, operator: Writer) -> Any:
    """Add a webhook. Its secret is shown once; 409 if there are twenty already."""
    services = services_of(request)
    data = parse_json(await read_body(request, services.body_seconds))
    body = validate(NewWebhook, data, services.settings)
    seals = Seals(services.settings)

    def make(tx: Transaction, secret: str) -> Webhook:
        return actions.add(
            *(tx, operator.actor, seals),
            url=body.url,
            name=body.name,
            types=body.types,
            secret=secret,
        )

    return await _with_new_secret(request, operator, make, 201, data)


@router.get("/{id}", response_model=WebhookBody, dependencies=[MayRead], responses=problems(404))
async def get_webhook(request: Request, id_: WebhookId) -> Any:
    """Show a webhook. And how it goes with it, but not its secret."""
    found = await services_of(request).database.read(endpoints.view, id_)
    return as_json(WebhookBody.model_validate(found))


@router.patch(
    "/{id}",
    response_model=WebhookBody,
    responses=OF_BODIES | problems(404),
    openapi_extra=in_json(WebhookChanges),
)
async def patch_webhook(
    request: Request,
    operator: Writer,
    id_: WebhookId,
    body: Annotated[WebhookChanges, Depends(json_body(WebhookChanges))],
) -> Any:
    """Change a webhook. What it has not heard yet goes to the new place."""
    changed = await services_of(request).database.write(
        actions.change, operator.actor, id_, url=body.url, name=body.name, types=body.types
    )
    return as_json(WebhookBody.model_validate(changed))


@router.delete("/{id}", status_code=204, responses=problems(404))
async def delete_webhook(request: Request, operator: Writer, id_: WebhookId) -> Response:
    """Remove a webhook. It hears of nothing more, also of what it has not heard yet."""
    await services_of(request).database.write(actions.remove, operator.actor, id_)
    return Response(status_code=204)


@router.post(
    "/{id}/rotate",
    response_model=WebhookWithSecret,
    responses=problems(400, 404, 422),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_webhook_rotate(request: Request, operator: Writer, id_: WebhookId) -> Any:
    """Make a new secret. It is shown once; for a day the one before signs as well."""
    seals = Seals(services_of(request).settings)

    def rotate(tx: Transaction, secret: str) -> Webhook:
        return actions.rotate(tx, operator.actor, seals, id_, secret)

    return await _with_new_secret(request, operator, rotate, 200)


@router.post(
    "/{id}/enable",
    response_model=WebhookBody,
    responses=problems(400, 404, 422),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_webhook_enable(request: Request, operator: Writer, id_: WebhookId) -> Any:
    """Turn a webhook on again. First it hears what waits since it was turned off."""
    return await _once(request, operator, lambda tx: actions.enable(tx, operator.actor, id_))


@router.post(
    "/{id}/disable",
    response_model=WebhookBody,
    responses=problems(400, 404, 422),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_webhook_disable(request: Request, operator: Writer, id_: WebhookId) -> Any:
    """Turn a webhook off. What it has not heard yet waits; of what happens now it never hears."""
    return await _once(request, operator, lambda tx: actions.disable(tx, operator.actor, id_))


@router.post(
    "/{id}/test",
    status_code=202,
    response_model=Tested,
    responses=problems(400, 404, 409, 422),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_webhook_test(request: Request, operator: Writer, id_: WebhookId) -> Any:
    """Send a webhook something that is about nobody. Of the type `webhook.test`."""
    key = idempotency_key(request, operator)

    def work(tx: Transaction) -> StoredResponse:
        return response_of(Tested(id=actions.test(tx, operator.actor, id_)), 202)

    return respond(await services_of(request).database.write(respond_once, key, work))


@router.post(
    "/{id}/replay",
    status_code=202,
    response_model=Replayed,
    responses=OF_BODIES | problems(404, 409),
    openapi_extra=in_json(ReplayRequest) | IDEMPOTENCY_KEY,
)
async def post_webhook_replay(request: Request, operator: Writer, id_: WebhookId) -> Any:
    """Tell a webhook again what it was told. With the same `webhook-id`.

    One event, or all since a time that are delivered or failed; as long as they are kept
    (`REACH_KEEP_EVENTS_DAYS`).
    """
    services = services_of(request)
    data = parse_json(await read_body(request, services.body_seconds))
    body = validate(ReplayRequest, data, services.settings)
    key, database = idempotency_key(request, operator, data), services.database
    if key is not None and (earlier := await database.read(stored.find, key)) is not None:
        return respond(earlier)
    count = 1
    if body.since is not None:
        count, on = await database.write(actions.replay_some, operator.actor, id_, body.since)
        while on is not None:
            more, on = await database.write(
                actions.replay_some, operator.actor, id_, body.since, on
            )
            count += more

    def work(tx: Transaction) -> StoredResponse:
        if body.event is not None:
            actions.replay(tx, operator.actor, id_, body.event)
        return response_of(Replayed(count=count), 202)

    return respond(await database.write(respond_once, key, work))


@router.get(
    "/{id}/deliveries",
    response_model=DeliveryPage,
    dependencies=[MayRead],
    responses=problems(404),
)
async def get_webhook_deliveries(
    request: Request,
    id_: WebhookId,
    state: Annotated[EventState | None, Query(description="Those in this state")] = None,
    limit: Limit = 50,
    cursor_: Cursor = None,
) -> Any:
    """List what a webhook hears, newest first. Each with every attempt, the oldest first.

    A page may have fewer entries than `limit`, even none, and a `next_cursor` all the same.
    """
    found, on = await services_of(request).database.read(
        history.page, id_, limit=limit, before=read_cursor(cursor_), state=state
    )
    items = [delivery_body(one) for one in found]
    return as_json(DeliveryPage(items=items, next_cursor=write_cursor(on) if on else None))


async def _once(
    request: Request, operator: Operator, change: Callable[[Transaction], Webhook]
) -> Any:
    key = idempotency_key(request, operator)

    def work(tx: Transaction) -> StoredResponse:
        return response_of(WebhookBody.model_validate(change(tx)))

    return respond(await services_of(request).database.write(respond_once, key, work))


async def _with_new_secret(
    request: Request,
    operator: Operator,
    change: Callable[[Transaction, str], Webhook],
    status: int,
    data: Any = None,
) -> Any:
    """Answer with a secret once. What is stored to be given again, in clear, has none in it."""
    key = idempotency_key(request, operator, data)
    secret = secrets.generate()

    def make(tx: Transaction) -> StoredResponse:
        made: list[Webhook] = []

        def work(tx: Transaction) -> StoredResponse:
            made.append(change(tx, secret))
            return _shown(made[0], None, SHOWN_ONCE, status)

        again = respond_once(tx, key, work)
        return _shown(made[0], secret, SHOWN, status) if made else again

    return respond(await services_of(request).database.write(make))


def _shown(webhook: Webhook, secret: str | None, note: str, status: int) -> StoredResponse:
    fields = WebhookBody.model_validate(webhook).model_dump()
    body = WebhookWithSecret(**fields, secret=secret, note=note)
    return response_of(body, status, cache_control=NO_STORE)
