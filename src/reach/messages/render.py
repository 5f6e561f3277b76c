"""Templates: where they are found, and what they make of a message's data."""

import os
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import BaseLoader, Environment, StrictUndefined, Template
from jinja2.exceptions import (
    SecurityError,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reach.messages.headers import BadHeader, refuse_forbidden
from reach.messages.linking import CannotLink

BUILT_IN = Path(__file__).parent / "templates"
#: A template is three files: NAME.subject, NAME.txt and NAME.html.
KINDS = ("subject", "txt", "html")
NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
#: No slash and no dot but one: a file's name leads nowhere else.
FILE = re.compile(rf"{NAME.pattern}\.(?:{'|'.join(KINDS)})")
#: They would make two compositions of one message differ.
UNREPEATABLE_FILTERS, UNREPEATABLE_GLOBALS = ("random",), ("lipsum",)
FAULT_CHARACTERS = 300


class Rendered(NamedTuple):
    """What a template made of a message; ``subject`` is one line."""

    subject: str
    text: str
    html: str


class Files(BaseLoader):
    """Finds each template file in the operator's folder, else among the built-in ones.

    It notices every change in that folder. Jinja's own loaders would not notice a file that
    is added there later, nor one that is written twice within the clock's grain.
    """

    def __init__(self, folder: Path | None) -> None:
        """Take the operator's folder, if there is one."""
        self._folder = folder

    def get_source(
        self,
        environment: Environment,  # noqa: ARG002 - Jinja passes it
        template: str,
    ) -> tuple[str, str, Callable[[], bool] | None]:
        """Read a file: its text, its path, and whether it is still the one to read."""
        if not FILE.fullmatch(template):
            raise TemplateNotFound(template)
        built_in = BUILT_IN / template
        own = str(self._folder / template if self._folder else built_in)
        stamp = _stamp(own)
        path = Path(own) if stamp else built_in
        if not path.exists():
            raise TemplateNotFound(template)
        up_to_date = (lambda: _stamp(own) == stamp) if self._folder else None
        return path.read_text(encoding="utf-8"), str(path), up_to_date

    def list_templates(self) -> list[str]:
        """All files that ``get_source`` would read."""
        folders = filter(None, (self._folder, BUILT_IN))
        found = {path.name for folder in folders for path in folder.iterdir()}
        return sorted(filter(FILE.fullmatch, found))


class Templates:
    """The built-in templates, and those of a folder, which take their place file by file."""

    def __init__(self, folder: Path | None) -> None:
        """Take the operator's folder, if there is one."""
        self._loader = Files(folder)
        # One environment each, so that what an HTML template includes is escaped too.
        self._environments = {kind: _environment(self._loader, kind) for kind in KINDS}

    @property
    def names(self) -> frozenset[str]:
        """The templates of which all three files are there, now."""
        files = set(self._loader.list_templates())
        return frozenset(
            name
            for name in {file.partition(".")[0] for file in files}
            if all(f"{name}.{kind}" in files for kind in KINDS)
        )

    def faults(self) -> list[str]:
        """Compile every file: what is wrong, and in which line of which file."""
        found = []
        for file in self._loader.list_templates():
            try:
                self._environments[file.rpartition(".")[2]].get_template(file)
            except (TemplateError, OSError, UnicodeDecodeError) as error:
                where = "" if isinstance(error, TemplateSyntaxError) else f"{file}: "
                found.append(where + explain(error))
        return found

    def render(self, name: str, variables: Mapping[str, object]) -> Rendered:
        """Render the three files of ``name``. Raises whatever is wrong with them: see explain."""
        subject, text, html = (self._file(name, kind).render(variables) for kind in KINDS)
        # Only blanks of the template's own: what it was given may hold no line break.
        return Rendered(re.sub(r"[ \t\r\n]+", " ", subject).strip(" "), text, html)

    def _file(self, name: str, kind: str) -> Template:
        return self._environments[kind].get_template(f"{name}.{kind}")


def explain(error: Exception) -> str:
    """Say what is wrong and in which line of which file, fit to be stored and shown.

    The message of any other kind of exception is left out: it may quote what it was given.
    """
    if isinstance(error, TemplateNotFound):
        return _printable(f"there is no template file {error.name}")
    if isinstance(error, TemplateSyntaxError):
        file = Path(error.filename or "template").name
        return _printable(f"{file}, line {error.lineno}: {error.message}")
    kind = type(error).__name__
    if isinstance(error, (UndefinedError, SecurityError, BadHeader, CannotLink)):
        kind = str(error)
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename).name
        if FILE.fullmatch(file):
            place = f"{file}, line {line}: "
    return _printable(place + kind)


def _environment(loader: Files, kind: str) -> Environment:
    environment = ImmutableSandboxedEnvironment(
        loader=loader,
        autoescape=kind == "html",
        undefined=StrictUndefined,
        finalize=_one_line if kind == "subject" else None,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in UNREPEATABLE_FILTERS:
        del environment.filters[name]
    for name in UNREPEATABLE_GLOBALS:
        del environment.globals[name]
    return environment


def _one_line(value: object) -> str:
    """Pass what a subject's expression gives. Raises BadHeader."""
    return refuse_forbidden(str(value))


def _stamp(path: str) -> tuple[int, int, int] | None:
    """What tells one state of a file from another; None if it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path would take as long again
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:FAULT_CHARACTERS]
