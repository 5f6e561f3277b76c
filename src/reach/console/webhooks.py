"""Webhooks at the console: list, add (the secret is shown once), what was told, and told again."""

import secrets as random_texts
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import at, see, show
from reach.console.safety import BEGINS
from reach.db.transaction import Transaction
from reach.events.model import EVENT_TYPES, EVERY
from reach.idempotency.stored import StoredResponse, respond_once
from reach.problems import Unprocessable
from reach.shapes import CURSOR, ID
from reach.web.body import validate
from reach.web.responses import read_cursor, write_cursor
from reach.web.routes import services_of
from reach.webhooks import actions, endpoints, history, secrets
from reach.webhooks.endpoints import Webhook
from reach.webhooks.history import Delivery
from reach.webhooks.routes import WebhookId
from reach.webhooks.schemas import NewWebhook
from reach.webhooks.secrets import Seals

HERE = f"{BEGINS}/webhooks"
PAGE_ROWS = 25
#: Of a type's field in the form; of the field that tells one form sent twice from two.
TYPE, ONCE = "type.", "once"
TONES = {"enabled": "good", "failing": "wrong", "disabled": "off"}
EVENT_TONES = {"delivered": "good", "waiting": "wait", "failed": "wrong"}
#: How far back all may be told again, by what the form says.
SPANS = {"1": "the last hour", "24": "the last day", "168": "the last week", "720": "30 days"}

MayRead = Annotated[Visit, Depends(Requires("webhooks:read"))]
MayWrite = Annotated[Visit, Depends(Requires("webhooks:read", "webhooks:write"))]

router = console_router("/webhooks")


@router.api_route("", methods=READ)
async def get_webhooks(request: Request, visit: MayRead) -> Response:
    """List webhooks, the oldest first."""
    found = await services_of(request).database.read(endpoints.every)
    may_write = visit.session.may("webhooks:write")
    return show(request, "webhooks.html", webhooks=found, tones=TONES, may_write=may_write)


@router.api_route("/new", methods=READ)
async def get_new(request: Request, _: MayWrite) -> Response:
    """Show the form of a new webhook."""
    return _form(request, {})


@router.post("")
async def post_webhook(request: Request, visit: MayWrite) -> Response:
    """Add a webhook, and show its secret: this once. What is wrong is said beside it."""
    try:
        wanted = _read(visit.form, request)
    except Unprocessable as problem:
        return _form(request, visit.form, problem)
    seals = Seals(services_of(request).settings)

    def make(tx: Transaction, secret: str) -> Webhook:
        return actions.add(
            *(tx, visit.actor, seals),
            url=wanted.url,
            name=wanted.name,
            types=wanted.types,
            secret=secret,
        )

    return await _show_secret(request, visit, make, HERE)


@router.api_route("/{id}", methods=READ)
async def get_webhook(
    request: Request, visit: MayRead, id_: WebhookId, cursor: str = ""
) -> Response:
    """Show a webhook, and what it was told, newest first. Raises NoSuchWebhook."""
    before = read_cursor(cursor) if CURSOR.fits(cursor) else None

    def read(tx: Transaction) -> tuple[Webhook, Sequence[Delivery], UUID | None]:
        return endpoints.view(tx, id_), *history.page(tx, id_, limit=PAGE_ROWS, before=before)

    webhook, found, on = await services_of(request).database.read(read)
    here = f"{HERE}/{id_}"
    return show(
        request,
        "webhook.html",
        webhook=webhook,
        deliveries=found,
        tones=TONES,
        event_tones=EVENT_TONES,
        spans=SPANS,
        may_write=visit.session.may("webhooks:write"),
        once_field=ONCE,
        once=random_texts.token_urlsafe(16),
        first=here if before else None,
        next=at(here, cursor=write_cursor(on)) if on else None,
    )


@router.post("/{id}/rotate")
async def post_rotate(request: Request, visit: MayWrite, id_: WebhookId) -> Response:
    """Give a webhook a new secret, and show it: this once. Raises NoSuchWebhook."""
    seals = Seals(services_of(request).settings)

    def rotate(tx: Transaction, secret: str) -> Webhook:
        return actions.rotate(tx, visit.actor, seals, id_, secret)

    return await _show_secret(request, visit, rotate, f"{HERE}/{id_}/rotate")


@router.post("/{id}/enable")
async def post_enable(request: Request, visit: MayWrite, id_: WebhookId) -> Response:
    """Turn a webhook on. Raises NoSuchWebhook."""
    await services_of(request).database.write(actions.enable, visit.actor, id_)
    return see(request, f"{HERE}/{id_}")


@router.post("/{id}/disable")
async def post_disable(request: Request, visit: MayWrite, id_: WebhookId) -> Response:
    """Turn a webhook off. Raises NoSuchWebhook."""
    await services_of(request).database.write(actions.disable, visit.actor, id_)
    return see(request, f"{HERE}/{id_}")


@router.post("/{id}/test")
async def post_test(request: Request, visit: MayWrite, id_: WebhookId) -> Response:
    """Have a webhook told of nothing. Raises NoSuchWebhook; WebhookDisabled."""
    await services_of(request).database.write(actions.test, visit.actor, id_)
    return see(request, f"{HERE}/{id_}")


@router.post("/{id}/replay")
async def post_replay(request: Request, visit: MayWrite, id_: WebhookId) -> Response:
    """Tell one event again, or all of the last hours. Raises NoSuchWebhook; NoSuchEvent."""
    database = services_of(request).database
    event, hours = visit.form.get("event", ""), visit.form.get("hours", "")
    if ID.fits(event):
        await database.write(actions.replay, visit.actor, id_, UUID(event))
    elif hours in SPANS:
        since, after = datetime.now(UTC) - timedelta(hours=int(hours)), None
        while True:
            _, after = await database.write(actions.replay_some, visit.actor, id_, since, after)
            if after is None:
                break
    else:
        await database.read(endpoints.view, id_)
    return see(request, f"{HERE}/{id_}")


@router.api_route("/{id}/remove", methods=READ)
async def get_remove(request: Request, _: MayWrite, id_: WebhookId) -> Response:
    """Ask whether to remove a webhook. Raises NoSuchWebhook."""
    webhook = await services_of(request).database.read(endpoints.view, id_)
    return show(request, "webhook-remove.html", webhook=webhook)


@router.post("/{id}/remove")
async def post_remove(request: Request, visit: MayWrite, id_: WebhookId) -> Response:
    """Remove a webhook. Raises NoSuchWebhook."""
    await services_of(request).database.write(actions.remove, visit.actor, id_)
    return see(request, HERE)


async def _show_secret(
    request: Request, visit: Visit, change: Callable[[Transaction, str], Webhook], route: str
) -> Response:
    """Make a secret, unless this very form has made one; that text is not known any more."""
    services, secret = services_of(request), secrets.generate()
    once = services.idempotency.of_operator(
        [visit.form.get(ONCE, "")], visit.session.id, route, dict(visit.form)
    )

    def make(tx: Transaction) -> tuple[Webhook, str | None]:
        made: list[Webhook] = []

        def work(tx: Transaction) -> StoredResponse:
            made.append(change(tx, secret))
            return StoredResponse(201, str(made[0].id))

        stored = respond_once(tx, once, work)
        return endpoints.view(tx, UUID(stored.body)), secret if made else None

    webhook, text = await services.database.write(make)
    return show(request, "webhook-secret.html", 201, webhook=webhook, text=text)


def _read(form: Mapping[str, str], request: Request) -> NewWebhook:
    """Read the form of a new webhook. Raises Unprocessable."""
    types = [name.removeprefix(TYPE) for name in form if name.startswith(TYPE)]
    data: dict[str, Any] = {"url": form.get("url", ""), "name": form.get("name", "")}
    data["types"] = [EVERY] if EVERY in types else types
    return validate(NewWebhook, data, services_of(request).settings)


def _form(
    request: Request, typed: Mapping[str, str], problem: Unprocessable | None = None
) -> Response:
    errors: Sequence[Mapping[str, str]] = problem.members["errors"] if problem else []  # type: ignore[assignment]
    return show(
        request,
        "webhook-new.html",
        problem.status if problem else 200,
        typed=typed,
        errors={one.get("pointer", "").lstrip("/").split("/")[0]: one["detail"] for one in errors},
        types=(EVERY, *EVENT_TYPES),
        type_field=TYPE,
        once_field=ONCE,
        once=typed.get(ONCE) or random_texts.token_urlsafe(16),
    )
