"""What is wrong with a template, and in which line of which file."""

import traceback
from pathlib import Path
from typing import NamedTuple

from jinja2.exceptions import (
    SecurityError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
)

from reach.mail.files import BUILT_IN, FILE
from reach.mail.headers import BadHeader
from reach.mail.linking import CannotLink

FAULT_CHARACTERS = 300
OUR_MACROS = {str(BUILT_IN / name) for name in ("parts.html", "ends.html")}


class Fault(NamedTuple):
    """What is wrong with a template.

    ``words`` say what, and in which line of which file: fit to be stored and shown, and not to be
    logged, for they may name a key of the message's data. ``kind`` is the exception's class.
    """

    words: str
    file: str | None
    line: int | None
    kind: str


class BrokenTemplate(Exception):
    """A template cannot be rendered."""

    def __init__(self, fault: Fault) -> None:
        """Carry what is wrong with it."""
        super().__init__(fault.words)
        self.fault = fault


def fault_of(error: Exception, file: str = "") -> Fault:
    """Say what is wrong, and where: in ``file``, if nothing says otherwise.

    The message of an exception is left out if it may quote what it was given.
    """
    words = kind = type(error).__name__
    place, line = _place(error, file)
    if isinstance(error, TemplateSyntaxError):
        place, line = Path(error.filename or file).name, error.lineno
        words = error.message or kind
    elif isinstance(error, TemplateNotFound):
        words = f"there is no template file {error.name}"
        place = "" if error.name == place else place
    elif isinstance(error, (UndefinedError, SecurityError, BadHeader, CannotLink)):
        words = str(error)
    where = f"{place}, line {line}: " if line else f"{place}: " if place else ""
    logged = place or file
    return Fault(_printable(where + words), logged if FILE.fullmatch(logged) else None, line, kind)


def _place(error: Exception, file: str) -> tuple[str, int | None]:
    """Find the innermost line of a template that an error came from.

    Our own macros only print what they are called with: the fault is where that is.
    """
    place, line = file, None
    for frame, number in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        name = Path(path).name
        if FILE.fullmatch(name) and path not in OUR_MACROS:
            place, line = name, number
    return place, line


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:FAULT_CHARACTERS]
