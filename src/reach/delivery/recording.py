"""Recording: what became of attempts is written down beside the next ones, many in one commit."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache

import anyio
import anyio.abc
import structlog
from opentelemetry.trace import Span, SpanContext, use_span

from reach.delivery.leases import FAILURES, Holding, Leases, reason_of
from reach.messages import queue
from reach.messages.model import SENT, Message, State
from reach.messages.outcome import Outcome
from reach.messages.queue import AttemptOutcome
from reach.messages.recording import record_outcomes
from reach.problems import ServiceUnavailable
from reach.settings import Settings
from reach.telemetry import traces
from reach.telemetry.metrics import FINISHED, GROUP_MEMBERS, GROUP_SECONDS, SENT_SECONDS

log = structlog.get_logger("reach.worker")

#: A slot goes on while what it did is being recorded. What is accepted and not recorded when a
#: worker dies is sent again, so this is a trade: with 1 a slot, a third fewer emails a second.
UNRECORDED_PER_SLOT = 3
#: A commit waits so long for three quarters of these, while attempts are under way: a commit costs
#: as much processor time as an email, however much it records. The rest is for what ends meanwhile.
GATHER_SECONDS = 0.01
#: How often it is looked whether the database is back.
LOOK_SECONDS = 1.0
#: What the database did not take is recorded again this soon: before anybody else can lease the
#: message and send it a second time.
RECORD_AGAIN_SECONDS = 0.1

#: What there can be is there from the start, at 0: ``rate`` does not see a series' first event.
_finished = {state: FINISHED.labels(state) for state in ("sent", "failed")}
#: Its bounce had come before it was recorded as sent.
_finished["bounced"] = _finished["sent"]
FINISHED.labels("suppressed")
_sent_seconds = cache(SENT_SECONDS.labels)


@dataclass(slots=True, eq=False)
class Ended:
    """An attempt that is over, how long it took, and in which trace its lines are."""

    holding: Holding
    outcome: Outcome
    seconds: float
    trace: SpanContext | None
    #: Whether a line has said that the database does not take it.
    has_waited: bool = False
    #: The innermost first.
    spans: Sequence[Span] = ()

    def told(self) -> dict[str, str | int | None]:
        """Describe it for a log line."""
        message, outcome = self.holding.message, self.outcome
        return {
            "reach_message_id": str(message.id),
            "message_id": message.message_id,
            "outcome": outcome.name,
            "smtp_code": outcome.code,
            "enhanced_code": outcome.enhanced,
            "nanoseconds": int(self.seconds * 1e9),
        }


class Recorder:
    """Records what became of a worker's attempts; it knows whether the database is unavailable.

    ``is_unavailable`` may be set by others who find it so; ``gives_up_at`` is on anyio's clock:
    from then on, what the database did not take is given up, and while it takes nothing, all.

    It has one commit under way at a time. That is no part of other writers' group: sign-ups cancel
    messages of their own choice first, so in one transaction with them messages would be locked in
    two orders.
    """

    def __init__(
        self,
        settings: Settings,
        leases: Leases,
        is_busy: Callable[[], bool],
        on_recorded: Callable[[], None],
    ) -> None:
        """Take the collaborators; ``is_busy`` says whether attempts are under way."""
        self.is_unavailable = False
        self.gives_up_at = math.inf
        self._settings = settings
        self._database = leases.database
        self._leases = leases
        self._is_busy = is_busy
        self._on_recorded = on_recorded
        self._most = UNRECORDED_PER_SLOT * settings.worker_slots
        self._waiting: list[tuple[Ended, AttemptOutcome]] = []
        #: How many are not recorded: those that wait, and those of the commit under way.
        self._unrecorded = 0
        self._is_running = self._is_broken = False
        #: Set, and replaced, when some are recorded; set when a commit need not wait for more.
        self._freed, self._is_enough = anyio.Event(), anyio.Event()
        #: Whether the last answer of the database was none.
        self._has_failed = False

    @property
    def has_place(self) -> bool:
        """Whether one more may be unrecorded."""
        return self._unrecorded < self._most

    async def wait_for_place(self) -> None:
        """Wait until one more may be unrecorded. Raises RuntimeError once nothing is recorded.

        Then the worker is to end, and not to wait: nobody else gets what it holds meanwhile.
        """
        while not self.has_place:
            if self._is_broken:
                raise RuntimeError("outcomes are recorded no more")
            await self._freed.wait()

    def take(self, ended: Ended, outcome: AttemptOutcome, deliveries: anyio.abc.TaskGroup) -> None:
        """Have it recorded, however long the database is unavailable; it is dropped then."""
        if traces.process.tracer:
            ended.spans = _spans()
        self._waiting.append((ended, outcome))
        self._unrecorded += 1
        if not self._must_gather():
            self._is_enough.set()
        if not self._is_running:
            self._is_running = True
            deliveries.start_soon(self._record_all)

    def _must_gather(self) -> bool:
        return 4 * len(self._waiting) < 3 * self._most and self._is_busy()

    async def _record_all(self) -> None:
        """Record until nothing waits."""
        try:
            with anyio.CancelScope(shield=True):
                while self._waiting:
                    if self._must_gather():
                        self._is_enough = anyio.Event()
                        with anyio.move_on_after(GATHER_SECONDS):
                            await self._is_enough.wait()
                    batch, self._waiting = self._waiting, []
                    await self._record(batch)
        except Exception:
            self._is_broken = True
            self._freed.set()
            raise
        finally:
            self._is_running = False

    async def _record(self, batch: Sequence[tuple[Ended, AttemptOutcome]]) -> None:
        """Record these in one commit; what the database did not take waits again, for a moment.

        Repeating one whose COMMIT was lost is harmless: a lease is recorded once. If it is one of
        them that cannot be recorded, it keeps none of the others from it.
        """
        if self._has_failed and anyio.current_time() > self.gives_up_at:
            self._finish(batch, [None] * len(batch))
            return
        outcomes, began = [outcome for _, outcome in batch], time.perf_counter()
        try:
            with _commit_of(batch) if traces.process.tracer else traces.OFF:
                states = await self._database.write(record_outcomes, outcomes, self._settings)
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, ServiceUnavailable):
                await self._record_each(batch)
                return
            if not isinstance(error, FAILURES):
                raise
            self._note_failed(batch, error)
            await anyio.sleep(RECORD_AGAIN_SECONDS)
        else:
            self._has_failed = False
            GROUP_MEMBERS.observe(len(batch))
            GROUP_SECONDS.observe(time.perf_counter() - began)
            self._finish(batch, states)

    async def _record_each(self, batch: Sequence[tuple[Ended, AttemptOutcome]]) -> None:
        """Record one by one. A fault of ours with one is raised once the others are recorded."""
        fault: Exception | None = None
        for one in batch:
            try:
                await self._record([one])
            except Exception as error:  # noqa: BLE001 - it is raised below
                fault = error
        if fault is not None:
            raise fault

    def _note_failed(self, batch: Sequence[tuple[Ended, AttemptOutcome]], error: Exception) -> None:
        self.is_unavailable = self._has_failed = True
        self._waiting[:0] = batch
        for ended, _ in batch:
            if not ended.has_waited:
                ended.has_waited = True
                with _in_trace(ended):
                    log.warning("cannot record the outcome yet", reason=reason_of(error))

    def _finish(
        self, batch: Sequence[tuple[Ended, AttemptOutcome]], states: Sequence[State | None]
    ) -> None:
        """Count what attempts have brought messages to, and let go of these."""
        for (ended, outcome), state in zip(batch, states, strict=True):
            message = ended.holding.message
            for span in ended.spans:
                span.end()
            _count(message, state, outcome)
            if state == "failed":
                with _in_trace(ended):
                    log.warning("message failed", **ended.told())
            if state is None:
                id_, name = str(message.id), ended.outcome.name
                with _in_trace(ended):
                    log.warning("outcome recorded too late", reach_message_id=id_, outcome=name)
            self._leases.drop(ended.holding)
            self._unrecorded -= 1
            self._on_recorded()
        self._freed.set()
        self._freed = anyio.Event()

    async def wait_until_back(self) -> None:
        """Wait until the database is back, and what became of attempts is recorded.

        Leases ran out meanwhile: to lease before that would be to send again what was accepted,
        and could not be recorded, by another worker or by this one.
        """
        while self.is_unavailable:
            with suppress(*FAILURES):
                await self._database.read(queue.look)
                self.is_unavailable = self._unrecorded > 0
            await anyio.sleep(LOOK_SECONDS)


def _count(message: Message, state: State | None, outcome: AttemptOutcome) -> None:
    """Count what an attempt has brought a message to."""
    if state in _finished:
        _finished[state].inc()
    # One that an operator retried has failed before, and was counted then. Each try is a failure
    # until it succeeds, but for those before a retry.
    was_retried = message.attempts > message.failures
    if state in SENT and not was_retried:
        # The worker's clock may be behind the database's, by which it was promised.
        seconds = (outcome.finished_at - message.created_at).total_seconds()
        _sent_seconds(message.template).observe(max(0.0, seconds))


def expect(template: str) -> None:
    """Count the emails of a template from 0 on."""
    _sent_seconds(template)


@contextmanager
def _in_trace(ended: Ended) -> Iterator[None]:
    """Write lines as those of the attempt's trace."""
    token = traces.current.set(ended.trace)
    try:
        yield
    finally:
        traces.current.reset(token)


def _spans() -> Sequence[Span]:
    """Begin the spans of recording beneath the current one, which has ended."""
    record = traces.begin("record the outcome", of_ended=True)
    if record is None:
        return ()
    with use_span(record):
        join = traces.begin("join a commit")
    return (record,) if join is None else (join, record)


@contextmanager
def _commit_of(batch: Sequence[tuple[Ended, AttemptOutcome]]) -> Iterator[None]:
    """Begin a commit's span, in a trace of its own: it is nobody's, and linked with all."""
    spans = [ended.spans[0] for ended, _ in batch if ended.spans]
    if not spans:
        yield
        return
    links = [span.get_span_context() for span in spans]
    with traces.root("group commit", links, attributes={"reach.group.size": len(batch)}) as commit:
        for span in spans:
            span.add_link(commit.get_span_context())
        yield
