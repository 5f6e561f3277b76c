"""Opaque ids that sort by the time they were made."""

import os
import threading
import time
from uuid import UUID

#: Random bytes are drawn for so many ids at a time: a system call lets go of the interpreter's
#: lock, and a busy thread gets it back only after a while.
DRAWN_IDS = 512
RANDOM_BYTES = 8

TICKS = 4096
#: A clock that runs ahead is moved by less; 10 s, in ticks of a 4096th of a millisecond.
SET_BACK_TICKS = 10_000 * TICKS

_lock = threading.Lock()
_last = 0
_random = memoryview(b"")


def new_id() -> UUID:
    """Make a UUIDv7 (RFC 9562 §5.7), later than every other one made by this process.

    But where the clock was set back by more than 10 s: what it said before was wrong, and ids of
    then would be found by no search for what was made now.

    The 12 bits after the milliseconds hold the fraction of the millisecond (§6.2, method 3);
    the 62 random bits keep ids from being guessed.
    """
    global _last, _random  # noqa: PLW0603 - the process's clock, which must not stand still
    with _lock:
        ticks = time.time_ns() * TICKS // 1_000_000
        is_set_back = ticks < _last - SET_BACK_TICKS
        _last = ticks = ticks if is_set_back else max(ticks, _last + 1)
        drawn, _random = _random[:RANDOM_BYTES], _random[RANDOM_BYTES:]
        if not drawn:
            drawn, _random = _draw()
    milliseconds, fraction = divmod(ticks, TICKS)
    rest = int.from_bytes(drawn, "big") >> 2
    return UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | rest)


def earliest_id(seconds: float) -> UUID:
    """Make the bound below which no id lies that was made at ``seconds`` since 1970 or later."""
    return UUID(int=max(int(seconds * 1000), 0) << 80)


def _draw() -> tuple[memoryview, memoryview]:
    drawn = memoryview(os.urandom(DRAWN_IDS * RANDOM_BYTES))
    return drawn[:RANDOM_BYTES], drawn[RANDOM_BYTES:]


def _forget() -> None:
    """Let a forked child draw its own: it would make the same ids as its parent."""
    global _random  # noqa: PLW0603 - see new_id
    _random = memoryview(b"")


os.register_at_fork(after_in_child=_forget)
