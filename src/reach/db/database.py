"""Database: opens and commits. Transaction: joins.

Whatever touches the database is a plain function whose first argument is a ``Transaction``.
Only ``Database`` opens and commits, so what happened together is visible where it is called.
"""

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import structlog
from sqlalchemy import Text, column, delete, false, insert, table

from reach.db.errors import DatabaseUnavailable, NotMigrated, ReadOnlyDatabase
from reach.db.group import Group
from reach.db.transaction import Transaction
from reach.db.types import Instant, now
from reach.problems import Problem
from reach.settings import Settings
from reach.telemetry import traces
from reach.telemetry.metrics import POOL_BUSY, POOL_CONNECTIONS, TRANSACTION_SECONDS

R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")

#: What a transaction may do. A ``read`` sees one snapshot, and changes nothing.
Kind = Literal["read", "write"]

log = structlog.get_logger("reach.db")

#: After a write was refused, only so long without another such one means that it is over: where
#: a disk is full, what needs no room still succeeds.
REFUSAL_SECONDS = 5

_seconds = {
    (kind, result): TRANSACTION_SECONDS.labels(kind, result)
    for kind in ("read", "write")
    for result in ("ok", "refused", "unavailable", "failed")
}

#: A small table that no trigger watches.
_PROOFS = table("proofs", column("nonce", Text), column("used_at", Instant))
_NOTHING = delete(_PROOFS).where(false())


class Database(ABC):
    """A database that many callers of one event loop share.

    Every method answers within ``settings.database_seconds``, if only with DatabaseUnavailable.
    """

    def __init__(self, settings: Settings, connections: int) -> None:
        """Remember the limits; connect to nothing yet."""
        self.seconds = settings.database_seconds
        self._connections = connections
        POOL_CONNECTIONS.inc(connections)
        self._group = self._apart = Group(self.run, "write", settings.database_seconds)
        #: One is enough, but while its transaction waits for a disk or a server.
        self._reads, self._other_reads = (
            Group(self.run, "read", settings.database_seconds) for _ in range(2)
        )
        self._listeners: dict[str, set[asyncio.Event]] = defaultdict(set)
        #: When a write was last refused, by ``time.monotonic()``; None once they are taken again.
        self._refused_at: float | None = None
        #: Whether it takes writes: the last question.
        self._asked: asyncio.Task[None] | None = None

    def read(
        self, fn: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]:
        """Run ``fn(tx, …)`` in one read-only transaction. Raises what it raises."""
        return self.run("read", fn, *args, **kwargs)

    def write(
        self, fn: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]:
        """Run ``fn(tx, …)`` in one transaction, which is committed when this returns.

        Raises what ``fn`` raises, with nothing changed; DatabaseUnavailable.
        """
        return self.run("write", fn, *args, **kwargs)

    def group(
        self, fn_all: Callable[[Transaction, Sequence[T]], Sequence[R]], *, apart: bool = False
    ) -> Callable[[T], Coroutine[Any, Any, R]]:
        """Make the form of ``fn_all`` that one caller uses for one item, commits being shared.

        ``fn_all(tx, items)`` answers for each item, in order; see ``Group`` for failures.
        ``apart``: where several transactions write at a time, it shares none with those that are
        not apart, for it locks rows that they lock as well, and not in the order of both.
        """
        return (self._apart if apart else self._group).member(fn_all)

    async def read_together(
        self, find_all: Callable[[Transaction, Sequence[T]], Sequence[R]], item: T
    ) -> R:
        """Run ``find_all(tx, items)`` in a read-only transaction that callers share; one's answer.

        It begins after all have asked whom it answers: they see what was committed before. While
        traces are on nothing is shared, so that each statement shows whose it is.
        """
        if traces.process.tracer:
            (found,) = await self.read(find_all, [item])
            return found
        group = self._other_reads if self._reads.is_slow else self._reads
        answer: R = await group.join(find_all, item)
        return answer

    async def run(self, kind: Kind, fn: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Run ``fn(tx, …)`` in a transaction, and count it by its result.

        One whose caller left has none.
        """
        POOL_BUSY.inc()
        began, result = time.perf_counter(), ""
        try:
            answer = await self._run(kind, fn, args, kwargs)
            result = "ok"
        except (DatabaseUnavailable, NotMigrated) as error:
            result = "unavailable"
            if kind == "write" and isinstance(error, ReadOnlyDatabase):
                self._note_refused(error)
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
        if kind == "write" and self._refused_at is not None:
            self._note_taken(self._refused_at)
        return answer

    @abstractmethod
    async def _run(
        self,
        kind: Kind,
        fn: Callable[..., R],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> R:
        """Run ``fn(tx, *args, **kwargs)`` in a transaction, and announce what it committed."""

    def subscribe(self, channel: str) -> asyncio.Event:
        """Get an event that is set whenever a commit announces ``channel`` (see ``relay``)."""
        event = asyncio.Event()
        self._listeners[channel].add(event)
        return event

    def announce(self, channel: str) -> None:
        """Set the events of this process that wait for ``channel``."""
        for event in self._listeners[channel]:
            event.set()

    async def require_writes(self) -> None:
        """Raise DatabaseUnavailable, NotMigrated unless it takes writes. Changes nothing.

        It is asked, which costs no disk. While it has been refusing it is tried, with something to
        be kept: whether a disk has room again shows in no other way.

        Who asks meanwhile gets the same answer: anybody may ask, as often as they like, and on
        SQLite each question takes a turn of those who write.
        """
        if self._asked is None or self._asked.done():
            question = _ask if self._refused_at is None else _try_out
            self._asked = asyncio.create_task(self.write(question))
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
        groups = {self._group, self._apart, self._reads, self._other_reads}
        await asyncio.gather(*(group.close(seconds) for group in groups))
        POOL_CONNECTIONS.dec(self._connections)
        self._connections = 0


def _ask(tx: Transaction) -> None:
    """Change nothing, by a statement that is refused where nothing may be changed.

    It costs no disk, so a full one takes it: see ``_try_out``.
    """
    tx.execute(_NOTHING)


def _try_out(tx: Transaction) -> None:
    """Write a row and remove it: something for the disk to keep."""
    nonce = f"try-out {secrets.token_hex(16)}"
    tx.execute(insert(_PROOFS).values(nonce=nonce, used_at=now()))
    tx.execute(delete(_PROOFS).where(_PROOFS.c.nonce == nonce))
