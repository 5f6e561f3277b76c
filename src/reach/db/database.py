"""Database: opens and commits. Transaction: joins.

Whatever touches the database is a plain function whose first argument is a ``Transaction``.
Only ``Database`` opens and commits, so what happened together is visible where it is called.

``Group`` is the group commit: callers that arrive while a commit is under way share the next one.
That is what makes full durability affordable. There is no timer and no added delay: a lone caller's
commit starts at once.
"""

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import structlog
from opentelemetry.trace import Span
from sqlalchemy import Text, column, delete, false, insert, table

from reach.db.errors import (
    OUTCOME_UNKNOWN,
    TIMED_OUT,
    DatabaseUnavailable,
    NotMigrated,
    ReadOnlyDatabase,
)
from reach.db.transaction import Transaction
from reach.db.types import Instant, now
from reach.problems import Problem
from reach.settings import Settings
from reach.telemetry import traces
from reach.telemetry.metrics import (
    GROUP_MEMBERS,
    GROUP_SECONDS,
    POOL_BUSY,
    POOL_CONNECTIONS,
    TRANSACTION_SECONDS,
)

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


#: More members than this wait for the next commit, so that none waits long for its own.
MOST_MEMBERS = 500
#: How much longer a caller waits than its commit may take: the commit knows what went wrong.
PATIENCE_SECONDS = 0.25

FnAll = Callable[[Transaction, Sequence[Any]], Sequence[Any]]
_ITEM = attrgetter("item")


@dataclass(slots=True, eq=False)
class Member:
    """One caller's part of a commit."""

    fn_all: FnAll
    item: Any
    answer: "asyncio.Future[Any]"
    span: Span
    has_begun: bool = False
    #: What its transaction made of it: it becomes the answer once that has committed.
    result: Any = None


class Group:
    """The commits that callers of one process share, one under way at a time.

    One member's failure does not fail the others: if a statement fails, the transaction is
    rolled back and its members run one by one. (A lost deadlock ``run`` itself tries again,
    whole.) A database that is unavailable, or a COMMIT whose outcome is unknown, is every member's
    answer; nothing is run again then, for it may have happened.
    """

    def __init__(self, run: Callable[..., Awaitable[Any]], seconds: float) -> None:
        """Commit by ``run`` (see ``Database.run``): DatabaseUnavailable after ``seconds``."""
        self._run = run
        self._seconds = seconds + PATIENCE_SECONDS
        self._order: list[FnAll] = []
        self._waiting: list[Member] = []
        self._commits: asyncio.Task[None] | None = None

    def member(
        self, fn_all: Callable[[Transaction, Sequence[T]], Sequence[R]]
    ) -> Callable[[T], Coroutine[Any, Any, R]]:
        """Make the one-caller form of ``fn_all``.

        In a shared transaction the functions run in the order of these calls, so that every
        process takes its locks in one order.
        """
        self._order.append(fn_all)

        async def join(item: T) -> R:
            answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            joining = traces.child("join a commit") if traces.process.tracer else traces.OFF
            with joining as span:
                member = Member(fn_all, item, answer, span)
                self._waiting.append(member)
                if self._commits is None or self._commits.done():
                    # For nobody in particular: it has a context of its own.
                    self._commits = asyncio.create_task(
                        self._commit_all(), name="group-commit", context=Context()
                    )
                try:
                    # A caller that gives up cancels its answer: if its commit has not begun,
                    # it never will.
                    async with asyncio.timeout(self._seconds):
                        return await answer
                except TimeoutError:
                    raise DatabaseUnavailable(
                        OUTCOME_UNKNOWN if member.has_begun else TIMED_OUT
                    ) from None

        return join

    async def close(self, seconds: float) -> None:
        """Wait for the commits under way, this long; one that takes longer is left undone."""
        if self._commits is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._commits, seconds)

    async def _commit_all(self) -> None:
        """Commit until nobody waits."""
        while self._waiting:
            members = [m for m in self._waiting[:MOST_MEMBERS] if not m.answer.done()]
            del self._waiting[:MOST_MEMBERS]
            for member in members:
                member.has_begun = True
            if members:
                await self._commit(members)

    async def _commit(self, members: list[Member]) -> None:
        """Commit ``members`` together, or if one of them cannot be, one by one."""
        began = time.perf_counter()
        try:
            with _span_of(members) if traces.process.tracer else traces.OFF:
                await self._run("write", self._answer_all, members)
        except Exception as error:  # noqa: BLE001 - it becomes its callers' answer
            if len(members) == 1 or isinstance(error, DatabaseUnavailable):
                for member in members:
                    _fail(member, error)
                return
        else:
            GROUP_MEMBERS.observe(len(members))
            GROUP_SECONDS.observe(time.perf_counter() - began)
            for member in members:
                if isinstance(member.result, Exception):
                    _fail(member, member.result)
                elif not member.answer.done():  # it may have given up
                    member.answer.set_result(member.result)
            return
        for member in members:
            if not member.answer.done():
                await self._commit([member])

    def _answer_all(self, tx: Transaction, members: list[Member]) -> None:
        """Call each function once with all of its items; note the results on their members."""
        by_function: dict[FnAll, list[Member]] = {}
        for member in members:
            by_function.setdefault(member.fn_all, []).append(member)
        for fn_all in self._order:
            if mine := by_function.get(fn_all):
                results = fn_all(tx, list(map(_ITEM, mine)))
                for member, result in zip(mine, results, strict=True):
                    member.result = result


@contextmanager
def _span_of(members: Sequence[Member]) -> Iterator[None]:
    """Begin a commit's span, if any member's is recorded.

    It is in a trace of its own, for it is nobody's: members' spans lead to it, and it to them.
    """
    spans = [m.span for m in members if m.span.is_recording()]
    if not spans:
        yield
        return
    links = [span.get_span_context() for span in spans]
    size = {"reach.group.size": len(members)}
    with traces.root("group commit", links, attributes=size) as commit:
        for span in spans:
            span.add_link(commit.get_span_context())
        yield


def _fail(member: Member, error: Exception) -> None:
    """Have a caller meet ``error``, unless it has given up."""
    if not member.answer.done():
        member.answer.set_exception(_copy(error) if isinstance(error, Problem) else error)


def _copy(problem: Problem) -> Problem:
    """Make a caller's own instance: a traceback grows on an exception each time it is raised.

    Not by the class, whose arguments are its own affair.
    """
    own = type(problem).__new__(type(problem), *problem.args)
    vars(own).update(vars(problem))
    return own


class Database(ABC):
    """A database that many callers of one event loop share.

    Every method answers within ``settings.database_seconds``, if only with DatabaseUnavailable.
    """

    def __init__(self, settings: Settings, connections: int) -> None:
        """Remember the limits; connect to nothing yet."""
        self.seconds = settings.database_seconds
        self._connections = connections
        POOL_CONNECTIONS.inc(connections)
        self._group = self._apart = Group(self.run, settings.database_seconds)
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
        await asyncio.gather(*(group.close(seconds) for group in {self._group, self._apart}))
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
