"""Pipes for what is logged, of which the test has both ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe: where it is read, and where it is written."""
    reading, written = os.pipe()
    try:
        yield reading, written
    finally:
        for end in (reading, written):
            try:
                os.close(end)
            except OSError:
                continue  # the test has closed it
