"""Database: opens and commits. Transaction: joins.

Whatever touches the database is a plain function whose first argument is a ``Transaction``.
Only ``Database`` opens and commits, so what happened together is visible where it is called.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import structlog
from sqlalchemy import Connection, func, select

from reach.db import writing
from reach.db.errors import DatabaseUnavailable, NotMigrated, ReadOnlyDatabase
from reach.db.group import Group
from reach.problems import Problem
from reach.settings import Settings
from reach.telemetry.metrics import POOL_BUSY, POOL_CONNECTIONS, TRANSACTION_SECONDS

Transaction = Connection

R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")

#: Where a transaction keeps what it will announce, and do, if it commits.
_NOTICES, _CALLS = "reach_notices", "reach_calls"

log = structlog.get_logger("reach.db")

#: After a write was refused, only so long without another such one means that it is over: where
#: a disk is full, what needs no room still succeeds.
REFUSAL_SECONDS = 5

_seconds = {
    (kind, result): TRANSACTION_SECONDS.labels(kind, result)
    for kind in ("read", "write")
    for result in ("ok", "refused", "away", "failed")
}


def notify(tx: Transaction, channel: str) -> None:
    """Wake whoever waits for ``channel``, here and in other processes, if ``tx`` commits."""
    notices: set[str] = tx.info.setdefault(_NOTICES, set())
    if channel not in notices:
        notices.add(channel)
        if tx.dialect.name == "postgresql":
            tx.execute(select(func.pg_notify(channel, "")))


def after_commit(tx: Transaction, fn: Callable[[], None]) -> None:
    """Call ``fn`` once ``tx`` has committed; never if it is rolled back, or its fate unknown.

    It is called in whichever thread commits, so it must be quick, safe there, and not fail: it
    counts something, say.
    """
    tx.info.setdefault(_CALLS, []).append(fn)


def take_notices(tx: Transaction) -> set[str]:
    """Take what a finished transaction wanted announced. For ``Database`` alone."""
    notices: set[str] = tx.info.pop(_NOTICES, set())
    return notices


def has_committed(tx: Transaction) -> None:
    """Do what ``tx`` wanted done after its COMMIT. For ``Database`` alone."""
    for fn in tx.info.pop(_CALLS, ()):
        fn()


def forget_last(tx: Transaction) -> None:
    """Forget what an earlier transaction of this connection wanted, which was rolled back."""
    tx.info.pop(_NOTICES, None)
    tx.info.pop(_CALLS, None)


class Database(ABC):
    """A database that many callers of one event loop share.

    Every method answers within ``settings.database_seconds``, if only with ``DatabaseUnavailable``.
    """

    def __init__(self, settings: Settings, connections: int) -> None:
        """Remember the limits; connect to nothing yet."""
        self.seconds = settings.database_seconds
        self._connections = connections
        POOL_CONNECTIONS.inc(connections)
        self._group = self._apart = Group(self.transact, settings.database_seconds)
        self._listeners: dict[str, set[asyncio.Event]] = defaultdict(set)
        #: When a write was last refused, by ``time.monotonic()``; None once they are taken again.
        self._refused_at: float | None = None
        #: Whether it takes writes: the last question.
        self._asked: asyncio.Task[None] | None = None

    async def read(
        self, fn: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``fn(tx, …)`` in one read-only transaction. Raises what it raises."""
        return await self.look(partial(_call, fn, args, kwargs))

    async def write(
        self, fn: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``fn(tx, …)`` in one transaction and commit it before returning.

        Raises what ``fn`` raises, with nothing changed; DatabaseUnavailable.
        """
        return await self.transact(partial(_call, fn, args, kwargs))

    def group(
        self, fn_all: Callable[[Transaction, Sequence[T]], Sequence[R]], *, apart: bool = False
    ) -> Callable[[T], Coroutine[Any, Any, R]]:
        """Make the form of ``fn_all`` that one caller uses for one item, commits being shared.

        ``fn_all(tx, items)`` answers for each item, in order; see ``Group`` for failures.
        ``apart``: where several transactions write at a time, it shares none with those that are
        not apart, for it locks rows that they lock as well, and not in the order of both.
        """
        return (self._apart if apart else self._group).member(fn_all)

    def subscribe(self, channel: str) -> asyncio.Event:
        """Get an event that is set whenever a commit announces ``channel`` (see ``relay``)."""
        event = asyncio.Event()
        self._listeners[channel].add(event)
        return event

    def announce(self, channel: str) -> None:
        """Set the events of this process that wait for ``channel``."""
        for event in self._listeners[channel]:
            event.set()

    async def look(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a read-only transaction."""
        return await _counted("read", self._look(work))

    async def transact(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a transaction and commit it."""
        try:
            answer = await _counted("write", self._transact(work))
        except ReadOnlyDatabase as refused:
            self._note_refused(refused)
            raise
        if self._refused_at is not None:
            self._note_taken(self._refused_at)
        return answer

    async def require_writes(self) -> None:
        """Raise DatabaseUnavailable, NotMigrated unless it takes writes. Nothing is changed by it.

        It is asked, which costs no disk. While it has been refusing it is tried, with something to
        be kept: whether a disk has room again shows in no other way.

        Who asks meanwhile gets the same answer: anybody may ask, as often as they like, and on
        SQLite each question takes a turn of those who write.
        """
        if self._asked is None or self._asked.done():
            how = writing.ask if self._refused_at is None else writing.try_out
            self._asked = asyncio.create_task(self.write(how))
        await asyncio.shield(self._asked)

    def _note_refused(self, refused: ReadOnlyDatabase) -> None:
        if self._refused_at is None:
            log.warning("the database takes no writes", reason=refused.reason)
        self._refused_at = time.monotonic()

    def _note_taken(self, refused_at: float) -> None:
        if time.monotonic() - refused_at > REFUSAL_SECONDS:
            self._refused_at = None
            log.info("the database takes writes again")

    @abstractmethod
    async def _look(self, work: Callable[[Transaction], R]) -> R:
        """Do what ``look`` does."""

    @abstractmethod
    async def _transact(self, work: Callable[[Transaction], R]) -> R:
        """Do what ``transact`` does."""

    @abstractmethod
    async def relay(self, *channels: str) -> None:
        """Announce here what other processes commit on ``channels``; runs until cancelled."""

    @abstractmethod
    async def scrub(self) -> None:
        """Make sure that no file of ours still holds what was deleted."""

    @property
    def patience_seconds(self) -> float:
        """How long to wait, at the end, for what is under way."""
        return self.seconds

    async def close(self) -> None:
        """Finish the commits under way and let go of every connection."""
        seconds = self.patience_seconds
        await asyncio.gather(*(group.close(seconds) for group in {self._group, self._apart}))
        POOL_CONNECTIONS.dec(self._connections)
        self._connections = 0


def _call(
    fn: Callable[..., R], args: tuple[object, ...], kwargs: dict[str, object], tx: Transaction
) -> R:
    return fn(tx, *args, **kwargs)


async def _counted(kind: str, running: Coroutine[Any, Any, R]) -> R:
    """Run a transaction, and count it by its result; one whose caller left has none."""
    POOL_BUSY.inc()
    began, result = time.perf_counter(), ""
    try:
        answer = await running
        result = "ok"
    except (DatabaseUnavailable, NotMigrated):
        result = "away"
        raise
    except Problem:
        result = "refused"
        raise
    except Exception:
        result = "failed"
        raise
    finally:
        POOL_BUSY.dec()
        if result:
            _seconds[kind, result].observe(time.perf_counter() - began)
    return answer


def open_database(settings: Settings) -> Database:
    """Choose the database by its URL. Connects to nothing yet."""
    if settings.database.is_sqlite:
        from reach.db.sqlite import SqliteDatabase  # noqa: PLC0415 - one driver is enough

        return SqliteDatabase(settings)
    from reach.db.postgres import PostgresDatabase  # noqa: PLC0415 - one driver is enough

    return PostgresDatabase(settings)
