"""When to try again."""

import random

from reach.settings import Settings

JITTER = 0.2
#: What other workers may have been told to wait, whatever this one's settings are.
USUAL_CAP_SECONDS = 4 * 3600.0


def next_delay_seconds(
    failures: int, *, first_seconds: float = 30.0, cap_seconds: float = 4 * 3600.0
) -> float:
    """Choose how long to wait after the ``failures``-th failure: doubling to a cap, ±20 %.

    The jitter keeps the end of an outage from becoming a stampede. RFC 5321 §4.5.4.1 asks
    relays for 30 minutes between tries and 4-5 days before giving up; first tries are sooner
    here because we hand over to a relay, whose own outages are short.

    Raises ValueError if ``failures`` < 1.
    """
    if failures < 1:
        raise ValueError("nothing has failed yet")
    # The exponent is bounded first: 2.0 ** 5000 would overflow.
    delay_seconds = min(cap_seconds, first_seconds * 2.0 ** min(failures - 1, 64))
    return delay_seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter needs no secrecy


def longest_wait_seconds(settings: Settings) -> float:
    """Tell how far ahead ``due_at`` can lie by any rule: a delay or a pause, then a lease."""
    cap = max(settings.retry_cap_seconds, settings.pause_cap_seconds, USUAL_CAP_SECONDS)
    return cap * (1 + JITTER) + settings.lease_seconds
