"""Whether an event loop still moves: what a process says to those who would replace it."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from reach.telemetry import logging

log = structlog.get_logger("reach")

BEAT_SECONDS = 1.0
#: What stands still for so long will not move again: nothing here blocks a loop on purpose.
STUCK_SECONDS = 10.0
#: A process that ended itself so; not 3, with which uvicorn's supervisor would end too.
STUCK = 70


class Heart:
    """Tells when something last moved."""

    def __init__(self, limit_seconds: float = STUCK_SECONDS) -> None:
        """Begin with a beat."""
        self._limit_seconds = limit_seconds
        self.beat()

    def beat(self) -> None:
        """Move."""
        self.beat_at = time.monotonic()

    def is_alive(self) -> bool:
        """Whether it has moved within the limit. Any thread may ask."""
        return time.monotonic() - self.beat_at < self._limit_seconds


@contextmanager
def beating() -> Iterator[Heart]:
    """Have the running event loop beat for as long as the block lasts."""
    loop = asyncio.get_running_loop()
    heart = Heart()
    next_beat: asyncio.TimerHandle

    def beat() -> None:
        nonlocal next_beat
        heart.beat()
        next_beat = loop.call_later(BEAT_SECONDS, beat)

    beat()
    try:
        yield heart
    finally:
        next_beat.cancel()


@contextmanager
def ending_if_stuck() -> Iterator[None]:
    """End this process if its event loop is stuck, for a parent to replace it.

    The parent could not tell: what answers it is a thread.
    """
    over = threading.Event()
    with beating() as heart:
        watch = threading.Thread(
            target=_watch, args=(heart, over), name="reach-heartbeat", daemon=True
        )
        watch.start()
        try:
            yield
        finally:
            over.set()


def _watch(heart: Heart, over: threading.Event) -> None:
    """Look whether the heart has beaten since the last look, every second.

    Looks are counted, not seconds: on a machine that is busy, or stood still, this thread does not
    look either.
    """
    seen, misses = heart.beat_at, 0
    while not over.wait(BEAT_SECONDS):
        misses = misses + 1 if heart.beat_at == seen else 0
        seen = heart.beat_at
        if misses * BEAT_SECONDS > STUCK_SECONDS:
            log.critical("event loop stuck")
            logging.flush()
            os._exit(STUCK)
