"""Opaque ids that sort by the time they were made."""

import secrets
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0


def new_id() -> UUID:
    """Make a UUIDv7 (RFC 9562 §5.7), later than every other one made by this process.

    The 12 bits after the milliseconds hold the fraction of the millisecond (§6.2, method 3);
    the 62 random bits keep ids from being guessed.
    """
    global _last  # noqa: PLW0603 - the process's clock, which must not stand still
    with _lock:
        ticks = time.time_ns() * 4096 // 1_000_000
        _last = ticks = max(ticks, _last + 1)
    milliseconds, fraction = divmod(ticks, 4096)
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return UUID(int=value)
