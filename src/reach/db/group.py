"""Group commit: callers that arrive while a commit is under way share the next one.

That is what makes full durability affordable. There is no timer and no added delay: a lone caller's
commit starts at once. Callers that only read share transactions too, for what each costs beside its
statements: a thread's turn, or a round trip.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Literal, TypeVar

from opentelemetry.trace import Span

from reach.db.errors import OUTCOME_UNKNOWN, TIMED_OUT, DatabaseUnavailable
from reach.db.transaction import Transaction
from reach.problems import Problem
from reach.telemetry import traces
from reach.telemetry.metrics import GROUP_MEMBERS, GROUP_SECONDS

R = TypeVar("R")
T = TypeVar("T")

#: More members than this wait for the next commit, so that none waits long for its own.
MOST_MEMBERS = 500
#: How much longer a caller waits than its commit may take: the commit knows what went wrong.
PATIENCE_SECONDS = 0.25
#: Who reads need not wait for a transaction that is under way for longer than this.
SLOW_SECONDS = 0.05
#: How often it is looked who has waited for too long: a timer for each caller would cost more.
LOOK_SECONDS = 0.05
FnAll = Callable[[Transaction, Sequence[Any]], Sequence[Any]]
_ITEM = attrgetter("item")


@dataclass(slots=True, eq=False)
class Member:
    """One caller's part of a commit."""

    fn_all: FnAll
    item: Any
    answer: "asyncio.Future[Any]"
    #: By the event loop's clock.
    deadline: float
    span: Span
    has_begun: bool = False
    #: What its transaction made of it: it becomes the answer once that has committed.
    result: Any = None


class Group:
    """The transactions that callers of one process share, one under way at a time.

    One member's failure does not fail the others: if a statement fails, the transaction is
    rolled back and its members run one by one. (A lost deadlock ``run`` itself tries again,
    whole.) A database that is unavailable, or a COMMIT whose outcome is unknown, is every member's
    answer; nothing is run again then, for it may have happened.
    """

    def __init__(
        self, run: Callable[..., Awaitable[Any]], kind: Literal["read", "write"], seconds: float
    ) -> None:
        """Do it by ``run`` (see ``Database.run``): DatabaseUnavailable after ``seconds``."""
        self._run, self._kind = run, kind
        self._seconds = seconds + PATIENCE_SECONDS
        self._order: list[FnAll] = []
        #: All who have not been answered, in the order in which they came.
        self._waiting: list[Member] = []
        self._under_way: list[Member] = []
        self._commits: asyncio.Task[None] | None = None
        self._begun_at = 0.0
        self._look: asyncio.TimerHandle | None = None

    def member(
        self, fn_all: Callable[[Transaction, Sequence[T]], Sequence[R]]
    ) -> Callable[[T], Coroutine[Any, Any, R]]:
        """Make the one-caller form of ``fn_all``.

        In a shared transaction the functions run in the order of these calls, so that every
        process takes its locks in one order. One that two parts of a process ask for is still
        called once.
        """
        if fn_all not in self._order:
            self._order.append(fn_all)
        return partial(self.join, fn_all)

    async def join(self, fn_all: FnAll, item: Any) -> Any:
        """Have ``fn_all`` answer for one item more in the next transaction.

        Raises DatabaseUnavailable, and what ``fn_all`` raises.
        """
        joining = traces.child("join a commit") if traces.process.tracer else traces.OFF
        with joining as span:
            loop = asyncio.get_running_loop()
            member = Member(fn_all, item, loop.create_future(), loop.time() + self._seconds, span)
            self._waiting.append(member)
            if self._look is None:
                self._look = loop.call_later(LOOK_SECONDS, self._give_up, context=Context())
            if self._commits is None or self._commits.done():
                # For nobody in particular: it has a context of its own.
                self._commits = asyncio.create_task(
                    self._commit_all(), name="group-commit", context=Context()
                )
            # A caller that leaves cancels its answer: if its commit has not begun, it never will.
            return await member.answer

    @property
    def is_slow(self) -> bool:
        """Whether its transaction takes long: a disk or a server does not answer."""
        return bool(self._under_way) and time.monotonic() - self._begun_at > SLOW_SECONDS

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
                self._under_way, self._begun_at = members, time.monotonic()
                await self._commit(members)
                self._under_way = []

    def _give_up(self) -> None:
        """Answer those who have waited for too long, and look again while anybody waits."""
        loop = asyncio.get_running_loop()
        waiting = (*self._under_way, *self._waiting)
        for member in waiting:
            if member.deadline > loop.time():
                break
            may_be_made = member.has_begun and self._kind == "write"
            detail = OUTCOME_UNKNOWN if may_be_made else TIMED_OUT
            _fail(member, DatabaseUnavailable(detail))
        self._look = None
        if waiting:
            self._look = loop.call_later(LOOK_SECONDS, self._give_up, context=Context())

    async def _commit(self, members: list[Member]) -> None:
        """Commit ``members`` together, or if one of them cannot be, one by one."""
        began = time.perf_counter()
        try:
            with _span_of(members) if traces.process.tracer else traces.OFF:
                await self._run(self._kind, self._answer_all, members)
        except Exception as error:  # noqa: BLE001 - it becomes its callers' answer
            if len(members) == 1 or isinstance(error, DatabaseUnavailable):
                for member in members:
                    _fail(member, error)
                return
        else:
            if self._kind == "write":
                GROUP_MEMBERS.observe(len(members))
                GROUP_SECONDS.observe(time.perf_counter() - began)
            for member in members:
                _answer(member)
            return
        for member in members:
            if not member.answer.done():
                await self._commit([member])

    def _answer_all(self, tx: Transaction, members: list[Member]) -> None:
        """Call each function once with all of its items; note the results on their members."""
        by_function: dict[FnAll, list[Member]] = {}
        for member in members:
            by_function.setdefault(member.fn_all, []).append(member)
        for fn_all in (*self._order, *(by_function.keys() - self._order)):
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


def _answer(member: Member) -> None:
    if isinstance(member.result, Exception):
        _fail(member, member.result)
    elif not member.answer.done():  # it may have given up
        member.answer.set_result(member.result)


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
