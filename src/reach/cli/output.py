"""What the command says, and how it ends."""

import logging
import os
import sys
from contextlib import suppress
from typing import Literal, NoReturn, TextIO

FAILED, MISUSED = 1, 2
#: How a help is read: with typer's own choice, "rich", [words in brackets] would vanish from it.
MARKUP: Literal["markdown"] = "markdown"
LAST_STANDARD_DESCRIPTOR = 2


class Unwritten(Exception):  # noqa: N818 - an expected failure
    """What a command has to say cannot be written where it belongs."""


def end(line: str, code: int) -> NoReturn:
    """Say why on stderr, and end with this exit code."""
    for handler in logging.getLogger().handlers:
        handler.flush()  # what the log has to say of it comes before
    say(line, sys.stderr)
    sys.exit(code)


def answer(text: str) -> None:
    """Print what a command was asked for. Raises Unwritten."""
    rest = f"{text}\n".encode(errors="replace")
    # A stream that was closed when the process started is None.
    descriptor = -1 if sys.stdout is None else sys.stdout.fileno()
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise Unwritten(f"The output cannot be written: {error.strerror}.") from None


def say(text: str, stream: TextIO | None) -> None:
    """Write beside a service's work, which goes on if nobody can read it.

    Past Python's buffer, which would try again at the end. A stream that was closed when the
    process started is None.
    """
    if stream is not None:
        with suppress(OSError):
            os.write(stream.fileno(), f"{text}\n".encode(errors="replace"))


def take_standard_descriptors() -> None:
    """Put nothing in the place of streams that were closed when the process started.

    What is opened next would have their numbers, and libuv ends a process that closes one of them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= LAST_STANDARD_DESCRIPTOR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no name
    os.close(descriptor)
