"""Sign-ups at the door, counted by what came of them; page and API are one door."""

from reach.telemetry.metrics import SIGN_UPS

#: Where people sign up.
ROUTES = ("/", "/v1/signups")

NEW, KNOWN, ROBOT, INVALID, LIMITED, FAILED = (
    SIGN_UPS.labels(result) for result in ("new", "known", "robot", "invalid", "limited", "failed")
)
_BY_STATUS = {422: INVALID, 429: LIMITED}
_OURS = 500


def note_admitted(new: int, known: int) -> None:
    """Count those of one transaction, which has committed."""
    for counter, count in ((NEW, new), (KNOWN, known)):
        if count:
            counter.inc(count)


def note_answer(method: str, route: str, status: int) -> None:
    """Count an answer of the door that says that nothing was done: whoever says it, and why."""
    if method == "POST" and route in ROUTES:
        counter = FAILED if status >= _OURS else _BY_STATUS.get(status)
        if counter is not None:
            counter.inc()
