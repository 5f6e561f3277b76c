"""What the command says, and how it ends."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TextIO

import typer

from reach.problems import Problem
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


def allow_rich() -> None:
    """Let rich be imported after all, by a command that draws."""
    if sys.modules.get("rich", sys) is None:
        del sys.modules["rich"]


@contextmanager
def database_of(settings: Settings) -> Iterator[None]:
    """End with 2 where the settings name no database of Reach; say where, and what to set."""
    from reach.db.errors import NoDatabase

    try:
        yield
    except NoDatabase as missing:
        end(f"{missing.told(settings)} {missing.remedy(settings)}", MISUSED)


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


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sees, or types, what a stream carries. A closed one is None."""
    return stream is not None and not stream.closed and stream.isatty()


def is_plain() -> bool:
    """Whether no colours are wanted (https://no-color.org), or none can be shown."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def painter() -> Callable[[str, str], str]:
    """Choose how a line (its text, and how it is meant) is written to stdout.

    Without colours unless stdout is a terminal; nor where ``NO_COLOR`` is set
    (https://no-color.org) or the terminal is dumb.
    """
    if not is_terminal(sys.stdout) or is_plain():
        return lambda text, _tone: text
    return lambda text, tone: typer.style(text, **STYLES[tone]) if tone in STYLES else text


FAILED, MISUSED, INTERRUPTED = 1, 2, 130
#: What a shell says of a program that nobody listens to any more: 128, and SIGPIPE's number.
UNREAD = 141
#: How a help is read: with typer's own choice, "rich", [words in brackets] would vanish from it.
MARKUP: Literal["markdown"] = "markdown"
LAST_STANDARD_DESCRIPTOR = 2


class Unwritten(Exception):
    """What a command has to say cannot be written where it belongs."""


class Unread(Unwritten):
    """Who read it has gone, as `head` does once it has enough."""


def end(line: str, code: int) -> NoReturn:
    """Say why on stderr, and end with this exit code."""
    for handler in logging.getLogger().handlers:
        handler.flush()  # what the log has to say of it comes before
    say(line, sys.stderr)
    sys.exit(code)


def answer(text: str, *, end: str = "\n") -> None:
    """Print what a command was asked for. Raises Unwritten; Unread."""
    write(f"{text}{end}".encode(errors="replace"), stdout())


def stdout() -> int:
    """Where answers go. A stream that was closed when the process started is None: -1."""
    return -1 if sys.stdout is None else sys.stdout.fileno()


def write(part: bytes, descriptor: int) -> None:
    """Write all of it. Raises Unwritten; Unread."""
    rest = memoryview(part)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        kind = Unread if isinstance(error, BrokenPipeError) else Unwritten
        raise kind(f"The output cannot be written: {error.strerror}.") from None


def told(problem: Problem) -> str:
    """Put what a problem says into a line, and one for each fault in what was given."""
    lines = [f"{problem.title}. {problem.detail or ''}".strip()]
    faults: Any = problem.members.get("errors", ())
    for fault in faults:
        place = fault.get("pointer", fault.get("parameter", "")).strip("/")
        lines.append(f"  {place}: {fault['detail']}" if place else f"  {fault['detail']}")
    return "\n".join(lines)


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
