"""How a webhook does, as attempts tell: paused while it fails, turned off after five days."""

import random
from collections.abc import Sequence
from uuid import UUID

import structlog
from sqlalchemy import Float, bindparam, case, func, or_, update

from reach.db.transaction import Transaction, after_commit
from reach.db.types import now
from reach.events.model import EventState, webhooks
from reach.messages import outbox
from reach.messages.model import WEBHOOK_DISABLED
from reach.messages.outbox import Promise
from reach.settings import Settings
from reach.telemetry.metrics import WEBHOOKS_DISABLED
from reach.webhooks import endpoints, queue
from reach.webhooks.endpoints import MANY_FAILURES, DisabledReason
from reach.webhooks.queue import Tried

log = structlog.get_logger("reach.worker")

#: Nothing but failures for so long, and it is turned off.
DISABLE_SECONDS = 5 * 24 * 3600.0
#: The pause of one that fails: it doubles with each further failure, up to an hour, ±20 %.
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS, JITTER = 10.0, 3600.0, 0.2
#: That it works is written down so often: each attempt would lock the same row.
WORKS_SECONDS = 10.0

_c = webhooks.c
_is_it = _c.id == bindparam("webhook_id")
_WORKS = (
    update(webhooks)
    .where(
        _is_it,
        or_(_c.failures > 0, _c.delivered_at.is_(None), _c.delivered_at < now(-WORKS_SECONDS)),
    )
    .values(failures=0, failing_since=None, paused_until=None, delivered_at=now())
)
_FAILS = (
    update(webhooks)
    .where(_is_it)
    .values(
        failures=_c.failures + bindparam("more"),
        failing_since=func.coalesce(_c.failing_since, now()),
    )
    .returning(
        _c.failures,
        case((_c.failing_since < now(-DISABLE_SECONDS), 1), else_=0).label("is_over"),
    )
)
_PAUSE = update(webhooks).where(_is_it).values(paused_until=now(bindparam("seconds", type_=Float)))


def record_all(
    tx: Transaction, tried: Sequence[Tried], settings: Settings
) -> Sequence[EventState | None]:
    """Record what became of attempts, and what that says of their webhooks: see ``queue.record``.

    The events first, then the webhooks, each in the order of their ids.
    """
    states = queue.record(tx, tried)
    counted = [one for one, state in zip(tried, states, strict=True) if state is not None]
    for webhook_id in sorted({one.due.webhook_id for one in counted}):
        of_it = [one for one in counted if one.due.webhook_id == webhook_id]
        _note(tx, webhook_id, of_it, settings)
    return states


def _note(tx: Transaction, webhook_id: UUID, tried: Sequence[Tried], settings: Settings) -> None:
    results = {one.result for one in tried}
    if "delivered" in results:
        tx.execute(_WORKS, {"webhook_id": webhook_id})
    else:
        _note_failures(tx, webhook_id, tried, settings)
    if "gone" in results:
        disable(tx, webhook_id, "gone", settings)


def _note_failures(
    tx: Transaction, webhook_id: UUID, tried: Sequence[Tried], settings: Settings
) -> None:
    row = tx.execute(_FAILS, {"webhook_id": webhook_id, "more": len(tried)}).one_or_none()
    if row is None:  # it was removed meanwhile
        return
    seconds = max(one.pause_seconds for one in tried)
    if row.failures >= MANY_FAILURES:
        seconds = max(seconds, pause_seconds(row.failures))
    if seconds > 0:
        tx.execute(_PAUSE, {"webhook_id": webhook_id, "seconds": seconds})
    if row.is_over:
        disable(tx, webhook_id, "failing", settings)


def pause_seconds(failures: int) -> float:
    """Choose how long nothing is sent after so many failures in a row."""
    doubled = FIRST_PAUSE_SECONDS * 2.0 ** min(failures - MANY_FAILURES, 32)
    return min(doubled, MOST_PAUSE_SECONDS) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter needs no secrecy


def disable(tx: Transaction, webhook_id: UUID, reason: DisabledReason, settings: Settings) -> None:
    """Turn a webhook off that is on, and have the operators told: see ``REACH_NOTIFY``."""
    try:
        is_new = endpoints.disable(tx, webhook_id, reason)
    except endpoints.NoSuchWebhook:
        return
    if not is_new:
        return
    name = endpoints.view(tx, webhook_id).name
    told = {"webhook": name, "id": str(webhook_id), "reason": reason}
    promises = [
        Promise(None, address, WEBHOOK_DISABLED, told, None)
        for address in settings.notify_addresses
    ]
    if promises:
        outbox.promise(tx, promises, settings)
    after_commit(tx, lambda: _tell(webhook_id, reason))


def _tell(webhook_id: UUID, reason: DisabledReason) -> None:
    """Count and log that a webhook was turned off by itself."""
    WEBHOOKS_DISABLED.labels(reason).inc()
    log.error("webhook disabled", reach_webhook_id=str(webhook_id), reason=reason)
