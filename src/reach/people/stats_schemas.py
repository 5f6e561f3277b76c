"""What is shown of the statistics, as JSON."""

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

HAPPENED = {"sign_ups": 12, "deliveries": 14, "failures": 0, "bounces": 1, "complaints": 0}
STATS: dict[str, Any] = {
    "people": 250,
    "confirmed": 198,
    "messages": {
        "queued": 3,
        "sent": 308,
        "failed": 1,
        "cancelled": 0,
        "bounced": 3,
        "complained": 0,
        "suppressed": 1,
    },
    "oldest_due_seconds": 0.4,
    "late": 0,
    "mail_seconds": {"p50": 0.08, "p99": 1.9},
    "per_hour": [{"hour": "2026-03-04T05:00:00Z", **HAPPENED}],
    "per_day": [{"day": "2026-03-04", **HAPPENED, "sign_ups": 31, "deliveries": 36}],
    "as_of": "2026-03-04T05:06:07.890123Z",
}


class MessageCounts(BaseModel):
    """How many messages are in each state."""

    queued: int
    sent: int
    failed: int
    cancelled: int
    bounced: int
    complained: int
    suppressed: int


class Happened(BaseModel):
    """How many signed up, and how many messages were delivered, and failed, in some time.

    And of how many it was reported then that they bounced, or that somebody complained, whenever
    they were sent.
    """

    model_config = ConfigDict(from_attributes=True)

    sign_ups: int
    deliveries: int
    failures: int
    bounces: int
    complaints: int


class HourBody(Happened):
    """What happened in the hour from ``hour`` on."""

    hour: datetime


class DayBody(Happened):
    """What happened on a day (UTC)."""

    day: date


class MailSecondsBody(BaseModel):
    """How long the newest 1,000 sent messages took, from the promise to the mail server.

    Half of them took no longer than `p50`, 99 of 100 no longer than `p99`.
    """

    model_config = ConfigDict(from_attributes=True)

    p50: float
    p99: float


class StatsBody(BaseModel):
    """How many there were at ``as_of``, at most 5 s ago.

    ``oldest_due_seconds`` is how long the longest due message has been due, or the oldest request
    for a link has waited to be looked up, 0 if there is none; ``late`` how many queued messages
    were promised more than a minute ago, 10,000 at most. ``per_hour`` has the last 48 hours and
    ``per_day`` the last 90 days, the oldest first; the last ones have only begun. Null for
    ``mail_seconds`` says that nothing was sent.
    """

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [STATS]})

    people: int
    confirmed: int
    messages: MessageCounts
    oldest_due_seconds: float
    late: int
    mail_seconds: MailSecondsBody | None
    per_hour: list[HourBody]
    per_day: list[DayBody]
    as_of: datetime
