"""The overview: is it healthy, is it keeping up, who is hurt? Cheap at any size, and live."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from sqlalchemy import select, text

from reach.auth.keys import Scope
from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import fill, show
from reach.console.live import Live
from reach.console.plots import Period, period
from reach.db.schema import newest, revision
from reach.db.transaction import Transaction
from reach.delivery import open_breakers
from reach.delivery.open_breakers import OpenBreaker
from reach.messages.model import IS_QUEUED, attempts, messages
from reach.people import rates, stats
from reach.people.stats import Stats
from reach.telemetry.log_lines import own_version
from reach.web.routes import services_of

#: What is due for longer than this is not on its way any more.
DUE_SECONDS = 60.0
MINUTE_SECONDS, HOUR_SECONDS, DAY_SECONDS = 60, 3600, 86_400

SCOPES: tuple[Scope, ...] = ("people:read", "messages:read")
MayRead = Annotated[Visit, Depends(Requires(*SCOPES))]
MayWatch = Annotated[Visit, Depends(Requires(*SCOPES, is_use=False))]

_LONGEST_DUE = (
    select(messages.c.last_error, messages.c.due_at)
    .where(IS_QUEUED)
    .order_by(messages.c.due_at)
    .limit(1)
)
_LAST_ATTEMPT = (
    select(attempts.c.outcome, attempts.c.finished_at).order_by(attempts.c.id.desc()).limit(1)
)
_VERSIONS = {"sqlite": "SELECT sqlite_version()", "postgresql": "SHOW server_version"}
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

router = console_router()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the outbox says of the mail servers.

    ``breakers`` are open: nothing goes out by those servers. ``waits_for`` is what was last said to
    the message that has been due for longest; None if nothing has been tried.
    """

    breakers: Sequence[OpenBreaker]
    waits_for: str | None
    last_outcome: str | None
    last_at: datetime | None
    database: str
    schema: str | None

    @property
    def stopped(self) -> Sequence[OpenBreaker]:
        """Those of workers that send nothing at all."""
        return open_breakers.stopped(self.breakers)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it goes, in a word and a sentence or two. ``tone`` is good, wait or wrong."""

    tone: str
    title: str
    says: str


def read(tx: Transaction) -> Delivery:
    """Read it: the ends of two indexes, and two versions."""
    due, last = tx.execute(_LONGEST_DUE).one_or_none(), tx.execute(_LAST_ATTEMPT).one_or_none()
    name = tx.dialect.name
    version = str(tx.execute(text(_VERSIONS[name])).scalar_one()).split(" ")[0]
    return Delivery(
        breakers=open_breakers.read(tx),
        waits_for=due.last_error if due else None,
        last_outcome=last.outcome if last else None,
        last_at=last.finished_at if last else None,
        database=f"{_NAMES[name]} {version}",
        schema=revision(tx),
    )


def verdict(found: Stats, delivery: Delivery) -> Verdict:
    """Judge how it goes."""
    if delivery.stopped:
        return _stopped(delivery)
    if found.oldest_due_seconds > DUE_SECONDS:
        since = span(found.oldest_due_seconds)
        if delivery.waits_for:
            says = f"What was last said to what has been due for longest: {delivery.waits_for}"
            return Verdict("wrong", f"Mail has been due for {since}", says)
        says = "No worker has taken it. Is one running, with this database?"
        return Verdict("wrong", f"Mail has been due for {since}", says)
    return _by_another(delivery.breakers[0]) if delivery.breakers else _in_time(found)


def _in_time(found: Stats) -> Verdict:
    """Judge what goes out in time: whether it is late, comes back, or has failed."""
    if found.late:
        says = f"{found.late} of the messages in the outbox were promised over a minute ago."
        return Verdict("wait", "Some mail is late", says)
    week = rates.last_week(found)
    if week.tone != "good":
        says = "Mail providers refuse mail of those of whom too much comes back. See below."
        is_bad = week.tone == "wrong"
        return Verdict(week.tone, "Too much comes back" if is_bad else "Much comes back", says)
    if found.messages["failed"]:
        says = "What failed was given up. See why, mend that, and retry them."
        return Verdict("wait", "Mail goes out, and some has failed", says)
    return Verdict("good", "All is well", "Mail goes out as it is promised, and none has failed.")


def _stopped(delivery: Delivery) -> Verdict:
    """Tell since when nothing goes out, and what the mail server says."""
    first, *others = delivery.stopped
    since = f"{first.opened_at:%H:%M} UTC, {first.opened_at:%Y-%m-%d}"
    codes = [str(code) for code in (first.smtp_code, first.enhanced_code) if code]
    server = f"The mail server answers {' '.join(codes)}" if codes else "It does not answer"
    said = f" It said: {delivery.waits_for}" if delivery.waits_for else ""
    of = f" (of {len(others) + 1} workers)" if others else ""
    says = f"{server}; it is asked again and again, and nothing is lost.{said}"
    return Verdict("wrong", f"Nothing is sent: the circuit breaker is open since {since}{of}", says)


def _by_another(breaker: OpenBreaker) -> Verdict:
    """Tell which mail server is passed over."""
    since = f"{breaker.opened_at:%H:%M} UTC, {breaker.opened_at:%Y-%m-%d}"
    codes = [str(code) for code in (breaker.smtp_code, breaker.enhanced_code) if code]
    server = f"answers {' '.join(codes)}" if codes else "does not answer"
    says = f"{breaker.server} {server} since {since}; it is asked again and again."
    return Verdict("wait", "Mail goes out, by another mail server", says)


def span(seconds: float) -> str:
    """Write how long something took, or takes, in one unit."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < MINUTE_SECONDS:
        return f"{seconds:.1f} s" if seconds < MINUTE_SECONDS / 6 else f"{seconds:.0f} s"
    if seconds < HOUR_SECONDS:
        return f"{seconds / MINUTE_SECONDS:.0f} min"
    if seconds < 2 * DAY_SECONDS:
        return f"{seconds / HOUR_SECONDS:.0f} h"
    return f"{seconds / DAY_SECONDS:.0f} days"


def periods(found: Stats) -> Sequence[Period]:
    """Plot what happened an hour and a day, by UTC."""
    hours = period("hour", "48 hours", found.per_hour, lambda at: at.strftime("%d %b %H:%M"))
    days = period("day", "90 days", found.per_day, lambda at: at.strftime("%d %b"))
    return [hours, days]


@router.api_route("", methods=READ)
async def get_overview(request: Request, _: MayRead) -> Response:
    """Show how it goes now."""
    return show(request, "overview.html", **await _values(request))


@router.get("/events")
async def get_events(request: Request, _: MayWatch) -> Response:
    """Go on telling how it goes. Raises TooManyWatch."""

    async def look() -> str:
        return fill(request, "overview-live.html", **await _values(request))

    return Live(request, look)


async def _values(request: Request) -> dict[str, Any]:
    services = services_of(request)
    found = await stats.recent(services.database, services.settings)
    delivery, needed = await services.database.read(read), newest()
    return {
        "stats": found,
        "mail_seconds": found.mail_seconds,
        "delivery": delivery,
        "verdict": verdict(found, delivery),
        "rates": {"24 hours": rates.last_day(found), "7 days": rates.last_week(found)},
        "limits": rates,
        "periods": periods(found),
        "span": span,
        "versions": {
            "Reach": own_version(),
            "Database": delivery.database,
            "Schema": f"{delivery.schema}{'' if delivery.schema == needed else f', not {needed}'}",
            "Python": platform.python_version(),
        },
    }
