"""Writers of several processes take turns at a SQLite file.

SQLite's own busy wait polls, and starves one of two busy processes. The lock file orders our
own writers; SQLite's lock still guards against everybody else's.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def take_turn(database: Path) -> Iterator[None]:
    """Wait for this process's turn to write to ``database``. Raises OSError."""
    turn = os.open(f"{database}-turn", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield
    finally:
        os.close(turn)
