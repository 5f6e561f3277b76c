"""The webhooks that operators have: added, listed, changed, rotated, turned off and on, removed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, case, delete, func, insert, select, update

from reach.db.transaction import Transaction, notify
from reach.db.types import among, new_id, now
from reach.events.model import EVENT_TYPES, EVERY, IS_WAITING, webhook_events, webhooks
from reach.events.noting import CHANNEL
from reach.problems import Conflict, NotFound
from reach.webhooks.secrets import Seals, Unsealable

#: Each one costs every sign-up a row.
MOST_WEBHOOKS = 20
NAME_CHARACTERS = 100
#: How long what was signed with a secret is signed with the one before as well.
ROTATION_SECONDS = 24 * 3600.0

#: Why it is turned off: by an operator; the receiver answered 410; nothing but failures for days;
#: no key that there is opens its secret.
DisabledReason = Literal["operator", "gone", "failing", "secret"]
#: ``failing``: the last attempts failed, so one event at a time is tried, now and then.
WebhookState = Literal["enabled", "failing", "disabled"]
#: So many failures with no success between, and the receiver is taken to be down.
MANY_FAILURES = 5

_columns = webhooks.c


class NoSuchWebhook(NotFound):
    """No webhook has this id, or it was removed."""

    type, title = "no-such-webhook", "There is no such webhook"


class TooManyWebhooks(Conflict):
    """There are as many webhooks as there may be. Remove one that nobody needs."""

    type, title = "too-many-webhooks", "There are too many webhooks"


class WebhookDisabled(Conflict):
    """This webhook is turned off: nothing is sent to it. Enable it first."""

    type, title = "webhook-disabled", "This webhook is turned off"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are sent, and how that goes. ``secret`` and ``old_secret`` are sealed."""

    id: UUID
    url: str = field(repr=False)
    name: str
    types: Sequence[str]
    secret: str = field(repr=False)
    old_secret: str | None = field(repr=False)
    old_secret_until: datetime | None
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None
    failures: int
    failing_since: datetime | None
    paused_until: datetime | None
    delivered_at: datetime | None

    @property
    def state(self) -> WebhookState:
        """What operators see at a glance."""
        if self.disabled_at is not None:
            return "disabled"
        return "failing" if self.failures >= MANY_FAILURES else "enabled"


def webhook_of(row: RowMapping) -> Webhook:
    """Make it of a row of the table."""
    fields = {column.name: row[column.name] for column in _columns}
    return Webhook(**{**fields, "types": fields["types"].split()})


def written(types: Collection[str]) -> str:
    """Write types down, in one order. Raises ValueError for one that there is not, and for none."""
    if EVERY in types:
        return EVERY
    if not types or set(types) - set(EVENT_TYPES):
        raise ValueError(f"types are: {', '.join((*EVENT_TYPES, EVERY))}")
    return " ".join(one for one in EVENT_TYPES if one in types)


def add(  # noqa: PLR0913 - what a webhook is made of
    tx: Transaction, seals: Seals, *, url: str, name: str, types: Collection[str], secret: str
) -> Webhook:
    """Add one; it hears of what happens from now on. Raises TooManyWebhooks."""
    if tx.execute(select(func.count()).select_from(webhooks)).scalar_one() >= MOST_WEBHOOKS:
        raise TooManyWebhooks
    webhook_id = new_id()
    row = {
        "id": webhook_id,
        "url": url,
        "name": name,
        "types": written(types),
        "secret": seals.seal(webhook_id, secret),
        "created_at": now(),
        "failures": 0,
    }
    statement = insert(webhooks).values(row).returning(*_columns)
    return webhook_of(tx.execute(statement).mappings().one())


def every(tx: Transaction) -> Sequence[Webhook]:
    """List them all, the oldest first."""
    found = tx.execute(select(webhooks).order_by(_columns.id)).mappings()
    return [webhook_of(row) for row in found]


def view(tx: Transaction, webhook_id: UUID) -> Webhook:
    """Find one. Raises NoSuchWebhook."""
    row = tx.execute(select(webhooks).where(_columns.id == webhook_id)).mappings().one_or_none()
    if row is None:
        raise NoSuchWebhook
    return webhook_of(row)


def _update(
    tx: Transaction, webhook_id: UUID, *conditions: ColumnElement[bool], **values: Any
) -> Webhook | None:
    statement = update(webhooks).where(_columns.id == webhook_id, *conditions).values(values)
    row = tx.execute(statement.returning(*_columns)).mappings().one_or_none()
    return None if row is None else webhook_of(row)


def change(
    tx: Transaction,
    webhook_id: UUID,
    *,
    url: str | None = None,
    name: str | None = None,
    types: Collection[str] | None = None,
) -> Webhook:
    """Change what is given of one; what waits goes to the new place. Raises NoSuchWebhook."""
    wanted = {"url": url, "name": name, "types": None if types is None else written(types)}
    changes = {key: value for key, value in wanted.items() if value is not None}
    if not changes:
        return view(tx, webhook_id)
    changed = _update(tx, webhook_id, **changes)
    if changed is None:
        raise NoSuchWebhook
    return changed


def rotate(tx: Transaction, seals: Seals, webhook_id: UUID, secret: str) -> Webhook:
    """Sign with a new secret, and for a day with the one before too. Raises NoSuchWebhook.

    One that was turned off for want of its secret is on again.
    """
    before = view(tx, webhook_id)
    lacked = _columns.disabled_reason == "secret"
    try:
        seals.open(webhook_id, before.secret)
        old: dict[str, Any] = {
            "old_secret": before.secret,
            "old_secret_until": now(ROTATION_SECONDS),
        }
    except Unsealable:
        old = {"old_secret": None, "old_secret_until": None}
    rotated = _update(
        tx,
        webhook_id,
        secret=seals.seal(webhook_id, secret),
        disabled_at=case((lacked, None), else_=_columns.disabled_at),
        disabled_reason=case((lacked, None), else_=_columns.disabled_reason),
        **old,
    )
    if rotated is None:
        raise NoSuchWebhook
    notify(tx, CHANNEL)
    return rotated


def enable(tx: Transaction, webhook_id: UUID) -> Webhook:
    """Send to it again: what waited first, whose three days begin again. Raises NoSuchWebhook.

    The events are locked first, in the order of their ids: who records attempts does so too.
    """
    columns = webhook_events.c
    is_failing = (columns.webhook_id == webhook_id) & columns.first_failed_at.is_not(None)
    locked = select(columns.id).where(is_failing, IS_WAITING).order_by(columns.id).with_for_update()
    chosen = locked.cte("chosen").prefix_with("MATERIALIZED")
    again = update(webhook_events).where(is_failing, among(columns.id, select(chosen.c.id)))
    # One that is being sent at this moment stays with its worker.
    is_free = columns.lease == columns.recorded_lease
    due_at = case((is_free, now()), else_=columns.due_at)
    tx.execute(again.values(failures=0, first_failed_at=None, due_at=due_at))
    enabled = _update(
        tx,
        webhook_id,
        disabled_at=None,
        disabled_reason=None,
        failures=0,
        failing_since=None,
        paused_until=None,
    )
    if enabled is None:
        raise NoSuchWebhook
    notify(tx, CHANNEL)
    return enabled


def disable(tx: Transaction, webhook_id: UUID, reason: DisabledReason = "operator") -> bool:
    """Send nothing to it; what waits stays. False if it was off already. Raises NoSuchWebhook."""
    is_on = _columns.disabled_at.is_(None)
    if _update(tx, webhook_id, is_on, disabled_at=now(), disabled_reason=reason) is not None:
        return True
    view(tx, webhook_id)
    return False


def remove(tx: Transaction, webhook_id: UUID) -> None:
    """Remove one; a worker sweeps what it was to hear. Raises NoSuchWebhook."""
    if tx.execute(delete(webhooks).where(_columns.id == webhook_id)).rowcount == 0:
        raise NoSuchWebhook


def unlike_key(tx: Transaction, seals: Seals) -> tuple[Sequence[UUID], Sequence[UUID]]:
    """Find webhooks whose secret is not sealed by the first key: by an older one; by none."""
    old: list[UUID] = []
    lost: list[UUID] = []
    for webhook in every(tx):
        try:
            is_old = seals.is_old(webhook.id, webhook.secret)
            if webhook.old_secret is not None:
                is_old |= seals.is_old(webhook.id, webhook.old_secret)
        except Unsealable:
            if webhook.disabled_at is None:
                lost.append(webhook.id)
        else:
            if is_old:
                old.append(webhook.id)
    return old, lost


def seal_again(tx: Transaction, seals: Seals) -> int:
    """Seal with the first key what an older one sealed, so that the older one may go; how many."""
    old, _ = unlike_key(tx, seals)
    for webhook in (one for one in every(tx) if one.id in old):
        changes = {
            name: seals.seal(webhook.id, seals.open(webhook.id, sealed))
            for name in ("secret", "old_secret")
            if (sealed := getattr(webhook, name)) is not None
        }
        is_same = _columns.secret == webhook.secret  # or it was rotated meanwhile
        _update(tx, webhook.id, is_same, **changes)
    return len(old)
