"""Transaction: what a plain function that touches the database joins, and never commits."""

from collections.abc import Callable, Collection

from sqlalchemy import Connection

Transaction = Connection

#: Where a transaction keeps what it will announce, and do, if it commits.
_CHANNELS, _CALLS = "reach_channels", "reach_calls"


def notify(tx: Transaction, channel: str) -> None:
    """Wake all who wait for ``channel``, in this process and in others, if ``tx`` commits."""
    tx.info.setdefault(_CHANNELS, set()).add(channel)


def notified(tx: Transaction) -> Collection[str]:
    """Name the channels that ``tx`` has announced so far."""
    channels: set[str] = tx.info.get(_CHANNELS, set())
    return channels


def after_commit(tx: Transaction, fn: Callable[[], None]) -> None:
    """Call ``fn`` once ``tx`` has committed; never if it is rolled back, or its outcome unknown.

    It is called in the thread that commits, so it must be quick, safe there, and not fail: it
    counts something, say.
    """
    tx.info.setdefault(_CALLS, []).append(fn)


def forget_last(tx: Transaction) -> None:
    """Forget what an earlier transaction of this connection wanted, which was rolled back."""
    tx.info.pop(_CHANNELS, None)
    tx.info.pop(_CALLS, None)


def has_committed(tx: Transaction) -> set[str]:
    """Do what ``tx`` wanted done after its COMMIT; the channels that it wanted announced."""
    for fn in tx.info.pop(_CALLS, ()):
        fn()
    channels: set[str] = tx.info.pop(_CHANNELS, set())
    return channels
