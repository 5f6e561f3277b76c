"""`reach stats`: how many there are, and whether emails go out."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from reach.cli.connection import connected
from reach.cli.forms import Column, Form, show
from reach.cli.options import AsJson
from reach.cli.output import configured

if TYPE_CHECKING:
    from reach.people.stats import Stats

DAY = timedelta(hours=24)
PARTS = (
    Column("people", "People"),
    Column("confirmed", "Confirmed"),
    Column("sign_ups.hour", "Sign-ups this hour"),
    Column("sign_ups.day", "Sign-ups in 24 hours"),
    Column("deliveries.hour", "Deliveries this hour"),
    Column("deliveries.day", "Deliveries in 24 hours"),
    Column("failures.hour", "Failures this hour"),
    Column("failures.day", "Failures in 24 hours"),
    Column("bounces.day", "Bounces in 24 hours"),
    Column("bounces.percent_week", "Bounces in 7 days, % of deliveries"),
    Column("complaints.day", "Complaints in 24 hours"),
    Column("complaints.percent_week", "Complaints in 7 days, % of deliveries"),
    Column("mail_seconds.p50", "Seconds to mail, half"),
    Column("mail_seconds.p99", "Seconds to mail, 99 %"),
    Column("messages.queued", "Messages queued"),
    Column("messages.sent", "Messages sent"),
    Column("messages.failed", "Messages failed"),
    Column("messages.cancelled", "Messages cancelled"),
    Column("messages.bounced", "Messages bounced"),
    Column("messages.complained", "Messages complained about"),
    Column("messages.suppressed", "Messages suppressed"),
    Column("oldest_due_seconds", "Oldest due, in seconds"),
    Column("late", "Late by a minute or more"),
    Column("as_of", "As of"),
)


def stats(*, json: AsJson = False) -> None:
    """Show how many people and messages there are, and how it goes.

    With --json for each of the last 48 hours and 90 days, too.
    """
    settings = configured(sys.stderr)
    from reach.people import stats as counted

    with connected(settings) as database:
        found = database.read(counted.read, settings)
    form = Form.chosen(as_json=json, quiet=False)
    show(shown(found) if json else shown(found) | sums(found), PARTS, form)


def shown(found: "Stats") -> dict[str, Any]:
    """Show them as the API does."""
    assert is_dataclass(found)
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in asdict(found).items()
    }


def sums(found: "Stats") -> dict[str, Any]:
    """Add up what the last hours had, and what came back in the last days."""
    from reach.people import rates

    last = [hour for hour in found.per_hour if hour.hour > found.as_of - DAY]
    this, week = last[-1], rates.last_week(found)
    summed: dict[str, Any] = {
        name: {"hour": getattr(this, name), "day": sum(getattr(hour, name) for hour in last)}
        for name in ("sign_ups", "deliveries", "failures", "bounces", "complaints")
    }
    summed["bounces"]["percent_week"] = week.bounced_percent
    summed["complaints"]["percent_week"] = week.complained_percent
    return summed
