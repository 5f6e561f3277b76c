"""What the command says, and how it ends."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TextIO

import typer

from reach.settings import Settings, load, unknown_variables

if TYPE_CHECKING:
    from reach.auth.audit import Actor


def configured(stream: Any, **flags: object) -> Settings:
    """Read the settings and set the logs up. Raises BadSettings."""
    settings = load(flags)
    # structlog would import it, 5 MB, for tracebacks that are drawn: Reach writes none.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # "there is no such module"
    from reach.telemetry import logging

    logging.configure(settings.log_level, stream)
    for name in unknown_variables():
        say(f"Warning: {name} is no setting of Reach; `reach check` lists them.", sys.stderr)
    return settings


@contextmanager
def database_of(settings: Settings) -> Iterator[None]:
    """End with 2 where the settings name no database of Reach; say where, and what to set."""
    from reach.db.errors import NoDatabase

    try:
        yield
    except NoDatabase as missing:
        end(f"{missing.told(settings)} {missing.remedy(settings)}", MISUSED)


def write(settings: Settings, fn: Any, *arguments: Any) -> Any:
    """Run ``fn(tx, …)`` in a transaction of its own. Raises Problem."""
    from reach.db.connect import open_database
    from reach.db.schema import require_database

    def checked(tx: Any) -> Any:
        require_database(tx)
        return fn(tx, *arguments)

    async def run() -> Any:
        database = open_database(settings)
        try:
            return await database.write(checked)
        finally:
            await database.close()

    with database_of(settings):
        return asyncio.run(run())


def by_command() -> "Actor":
    """Who the audit trail says it was: the user of this machine, by number, who gave a command."""
    from reach.auth.audit import Actor

    return Actor("command", str(os.getuid()), "cli")


#: By what a line means. What does not matter stays as it is.
STYLES: Mapping[str, Mapping[str, Any]] = {
    "good": {"fg": "green"},
    "bad": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow"},
}


def painter() -> Callable[[str, str], str]:
    """Choose how a line (its text, and how it is meant) is written to stdout.

    Without colours unless stdout is a terminal; nor where ``NO_COLOR`` is set
    (https://no-color.org) or the terminal is dumb.
    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    if not is_terminal or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return lambda text, _tone: text
    return lambda text, tone: typer.style(text, **STYLES[tone]) if tone in STYLES else text


FAILED, MISUSED = 1, 2
#: How a help is read: with typer's own choice, "rich", [words in brackets] would vanish from it.
MARKUP: Literal["markdown"] = "markdown"
LAST_STANDARD_DESCRIPTOR = 2


class Unwritten(Exception):
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
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
