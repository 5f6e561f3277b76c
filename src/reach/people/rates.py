"""Which share of the emails came back or was marked as spam, and how much of it providers bear.

Their figures, which the alerts in deploy/prometheus/rules.yaml have too:

- Gmail: a spam rate below 0.10 %, and never 0.30 % or more
  (https://support.google.com/a/answer/81126).
- Yahoo: a spam rate below 0.3 % (https://senders.yahooinc.com/best-practices/).
- Amazon SES looks into an account whose bounces are 5 %, and may pause it at 10 %
  (https://docs.aws.amazon.com/ses/latest/dg/faqs-enforcement.html).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from reach.people.stats import Day, Hour, Stats

#: In percent of the deliveries: from where one should look into it, and where mail is refused.
BOUNCES_MUCH, BOUNCES_TOO_MUCH = 5.0, 10.0
COMPLAINTS_MUCH, COMPLAINTS_TOO_MUCH = 0.1, 0.3
#: Of fewer deliveries a share says little: one of three that comes back is no rate of 33 %.
LEAST = 100

DAY_HOURS, WEEK_DAYS = 24, 7


@dataclass(frozen=True, slots=True)
class Rates:
    """What came back in some time: reported in it, of messages that may have been sent before.

    The shares are in percent of the ``deliveries`` in that time; None of fewer than 100.
    """

    deliveries: int
    bounces: int
    complaints: int

    @classmethod
    def of(cls, times: Iterable[Hour | Day]) -> "Rates":
        """Add up hours or days."""
        counts = [(one.deliveries, one.bounces, one.complaints) for one in times]
        return cls(*map(sum, zip(*counts, strict=True))) if counts else cls(0, 0, 0)

    @property
    def bounced_percent(self) -> float | None:
        """How many of a hundred came back."""
        return self._percent(self.bounces)

    @property
    def complained_percent(self) -> float | None:
        """How many of a hundred were marked as spam."""
        return self._percent(self.complaints)

    @property
    def tone(self) -> str:
        """How it looks: good, wait (look into it) or wrong (providers refuse mail for it)."""
        bounced, complained = self.bounced_percent or 0.0, self.complained_percent or 0.0
        if bounced >= BOUNCES_TOO_MUCH or complained >= COMPLAINTS_TOO_MUCH:
            return "wrong"
        is_much = bounced >= BOUNCES_MUCH or complained >= COMPLAINTS_MUCH
        return "wait" if is_much else "good"

    def _percent(self, count: int) -> float | None:
        return count / self.deliveries * 100 if self.deliveries >= LEAST else None


def last_day(found: Stats) -> Rates:
    """Add up the last 24 hours, the one that has begun among them."""
    since = found.as_of - timedelta(hours=DAY_HOURS)
    return Rates.of(hour for hour in found.per_hour if hour.hour > since)


def last_week(found: Stats) -> Rates:
    """Add up the last 7 days, by UTC; today among them."""
    return Rates.of(found.per_day[-WEEK_DAYS:])
