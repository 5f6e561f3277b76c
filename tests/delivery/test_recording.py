"""Outcomes share a commit, and one that cannot be recorded keeps none of the others from it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import anyio
import pytest

from reach.delivery.leases import Holding, Leases, now_seconds
from reach.delivery.recording import UNRECORDED_PER_SLOT, Ended, Recorder
from reach.messages.model import Message
from reach.messages.outcome import Sent
from tests.support.clock import eventually
from tests.support.database.outboxes import (
    LEASE_SECONDS,
    Outbox,
    attempt_outcomes,
    held_by,
)
from tests.support.telemetry.metrics import Since

SENT = Sent("final dot: 2.0.0 taken", 250, "2.0.0")
SLOTS = 4
MOST = UNRECORDED_PER_SLOT * SLOTS
COMMITS = "reach_group_commit_members_count"


class Recording:
    """A recorder with what it records, of attempts that are said to be under way or not."""

    def __init__(self, outbox: Outbox) -> None:
        """Record nothing yet."""
        self.is_busy, self.recorded = False, 0
        settings = outbox.settings.model_copy(update={"worker_slots": SLOTS})
        leases = Leases(outbox.database, LEASE_SECONDS)
        self.recorder = Recorder(settings, leases, lambda: self.is_busy, self._note)

    def _note(self) -> None:
        self.recorded += 1

    def take(self, messages: Sequence[Message], group: Any, **changes: Any) -> None:
        """Have attempts at these recorded as sent."""
        for message in messages:
            (outcome,) = attempt_outcomes([(message, SENT)], 0)
            holding = Holding(message, held_by(message), now_seconds() + LEASE_SECONDS)
            ended = Ended(holding, SENT, 0.01, None)
            self.recorder.take(ended, replace(outcome, **changes), group)


@pytest.fixture
async def recording(outbox: Outbox) -> Recording:
    """A recorder that has nothing to do."""
    return Recording(outbox)


async def test_attempts_that_end_together_share_a_commit(
    outbox: Outbox, recording: Recording
) -> None:
    """While others are under way it waits for three quarters of what may be unrecorded."""
    await outbox.fill(MOST)
    messages, since = await outbox.lease(), Since()
    recording.is_busy = True
    async with anyio.create_task_group() as group:
        recording.take(messages[: MOST * 3 // 4], group)
    assert since.of(COMMITS) == 1
    assert recording.recorded == MOST * 3 // 4
    recording.is_busy = False
    async with anyio.create_task_group() as group:
        recording.take(messages[MOST * 3 // 4 :], group)
    assert {message.state for message in await outbox.all()} == {"sent"}


async def test_what_may_be_unrecorded_is_bounded(outbox: Outbox, recording: Recording) -> None:
    """A worker that dies then sends no more than that again."""
    await outbox.fill(MOST)
    messages = await outbox.lease()
    async with anyio.create_task_group() as group:
        recording.take(messages[: MOST - 1], group)
        places = [recording.recorder.has_place]
        recording.take(messages[MOST - 1 :], group)
        places.append(recording.recorder.has_place)
        assert places == [True, False]
        await recording.recorder.wait_for_place()
        assert recording.recorded > 0


async def test_one_that_cannot_be_recorded_is_alone(outbox: Outbox, recording: Recording) -> None:
    """The others of its commit are recorded; it is tried again until it is given up."""
    await outbox.fill(5)
    bad, *good = await outbox.lease()
    async with anyio.create_task_group() as group:
        recording.take([bad], group, worker=cast("str", None))
        recording.take(good, group)
        await eventually(lambda: recording.recorded == len(good))
        states = {message.id: message.state for message in await outbox.all()}
        assert states == {bad.id: "queued", **dict.fromkeys((m.id for m in good), "sent")}
        assert recording.recorder.is_unavailable
        recording.recorder.gives_up_at = -math.inf
    assert recording.recorded == 1 + len(good)
    assert len(await outbox.attempts()) == len(good)


async def test_a_fault_of_ours_is_raised_once_the_others_are_recorded(
    outbox: Outbox, recording: Recording
) -> None:
    """What a worker has sent and not recorded would be sent again."""
    await outbox.fill(5)
    bad, *good = await outbox.lease()

    async def record() -> None:
        async with anyio.create_task_group() as group:
            recording.take([bad], group, worker=cast("str", object()))
            recording.take(good, group)

    with pytest.raises(BaseExceptionGroup):
        await record()
    states = {message.id: message.state for message in await outbox.all()}
    assert states == {bad.id: "queued", **dict.fromkeys((m.id for m in good), "sent")}


async def test_a_fault_of_ours_leaves_nobody_waiting(outbox: Outbox, recording: Recording) -> None:
    """Who waits for a place, shielded, is told: a worker that hung would keep what it holds."""
    await outbox.fill(MOST)
    messages = await outbox.lease()
    told: list[RuntimeError] = []

    async def record() -> None:
        async with anyio.create_task_group() as group:
            recording.take(messages, group, worker=cast("str", object()))
            with anyio.CancelScope(shield=True), anyio.fail_after(20):
                try:
                    await recording.recorder.wait_for_place()
                except RuntimeError as error:
                    told.append(error)

    with pytest.raises(BaseExceptionGroup):
        await record()
    assert len(told) == 1
