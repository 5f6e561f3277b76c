"""What operators do with webhooks, by whatever way: each is noted in the audit trail with it."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from reach.auth import audit
from reach.auth.audit import Actor
from reach.db.transaction import Transaction
from reach.webhooks import endpoints, history
from reach.webhooks.endpoints import Webhook
from reach.webhooks.secrets import Seals


def add(  # noqa: PLR0913 - what a webhook is made of, and who does it
    tx: Transaction,
    actor: Actor,
    seals: Seals,
    *,
    url: str,
    name: str,
    types: Collection[str],
    secret: str,
) -> Webhook:
    """Add a webhook: see ``endpoints.add``."""
    webhook = endpoints.add(tx, seals, url=url, name=name, types=types, secret=secret)
    audit.note(tx, actor, "webhook.add", webhook.id, types=list(webhook.types))
    return webhook


def change(  # noqa: PLR0913 - as endpoints.change, and who does it
    tx: Transaction,
    actor: Actor,
    webhook_id: UUID,
    *,
    url: str | None = None,
    name: str | None = None,
    types: Collection[str] | None = None,
) -> Webhook:
    """Change a webhook: see ``endpoints.change``. What changes nothing is not noted."""
    before = endpoints.view(tx, webhook_id)
    webhook = endpoints.change(tx, webhook_id, url=url, name=name, types=types)
    fields = [n for n in ("name", "types", "url") if getattr(before, n) != getattr(webhook, n)]
    if fields:
        audit.note(tx, actor, "webhook.change", webhook_id, fields=fields)
    return webhook


def rotate(tx: Transaction, actor: Actor, seals: Seals, webhook_id: UUID, secret: str) -> Webhook:
    """Give a webhook a new secret: see ``endpoints.rotate``."""
    webhook = endpoints.rotate(tx, seals, webhook_id, secret)
    audit.note(tx, actor, "webhook.rotate", webhook_id)
    return webhook


def enable(tx: Transaction, actor: Actor, webhook_id: UUID) -> Webhook:
    """Turn a webhook on: see ``endpoints.enable``."""
    webhook = endpoints.enable(tx, webhook_id)
    audit.note(tx, actor, "webhook.enable", webhook_id)
    return webhook


def disable(tx: Transaction, actor: Actor, webhook_id: UUID) -> Webhook:
    """Turn a webhook off: see ``endpoints.disable``. What was off already is not noted."""
    if endpoints.disable(tx, webhook_id):
        audit.note(tx, actor, "webhook.disable", webhook_id)
    return endpoints.view(tx, webhook_id)


def remove(tx: Transaction, actor: Actor, webhook_id: UUID) -> None:
    """Remove a webhook: see ``endpoints.remove``."""
    endpoints.remove(tx, webhook_id)
    audit.note(tx, actor, "webhook.remove", webhook_id)


def test(tx: Transaction, actor: Actor, webhook_id: UUID) -> UUID:
    """Have a webhook told of nothing: see ``history.test``."""
    event_id = history.test(tx, webhook_id)
    audit.note(tx, actor, "webhook.test", webhook_id)
    return event_id


def replay(tx: Transaction, actor: Actor, webhook_id: UUID, event_id: UUID) -> None:
    """Tell one event again: see ``history.replay``."""
    history.replay(tx, webhook_id, event_id)
    audit.note(tx, actor, "webhook.replay", webhook_id, event_id=str(event_id))


def replay_some(
    tx: Transaction, actor: Actor, webhook_id: UUID, since: datetime, after: UUID | None = None
) -> tuple[int, UUID | None]:
    """Tell again some of what happened since a time: see ``history.replay_some``."""
    count, on = history.replay_some(tx, webhook_id, since, after)
    if count:
        told = {"since": since.isoformat()}
        audit.note(tx, actor, "webhook.replay", webhook_id, count=count, **told)
    return count, on
