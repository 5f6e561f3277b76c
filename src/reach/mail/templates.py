"""Templates: where they are found, and what they make of a message's data."""

import os
import re
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from jinja2 import BaseLoader, Environment, StrictUndefined, meta
from jinja2.exceptions import (
    SecurityError,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reach.auth.links import SCOPES, Link, Links
from reach.mail.fillable import Fillable, make_fillable
from reach.mail.headers import BadHeader, refuse_forbidden
from reach.messages.model import TEMPLATE_NAME, Message

#: The longest first.
UNITS = (("days", 86_400), ("hours", 3600), ("minutes", 60))


class CannotLink(ValueError):
    """A template asks for a link that cannot be given; ``args[0]`` says why, fit to be stored."""


class MessageLinks:
    """What templates know as ``link``: ``link("manage")`` is an address.

    Asked again, it gives the same: text and HTML are one email, and a copy of it is the same.
    """

    __slots__ = ("_links", "_made_at", "_minted", "_person_id", "_version")

    def __init__(self, links: Links | None, message: Message) -> None:
        """Take what mints, if there is a key to sign with, and whose message it is."""
        self._links = links
        self._person_id = message.person_id
        self._version = message.links_version
        self._made_at = message.created_at.timestamp()
        self._minted: dict[str, str] = {}

    def __call__(self, scope: str) -> str:
        """Give the link with a scope. Raises CannotLink."""
        if (found := self._minted.get(scope)) is not None:
            return found
        if scope not in SCOPES:
            raise CannotLink(f"there is no such link; there are: {', '.join(SCOPES)}")
        if self._links is None:
            raise CannotLink("links need REACH_SECRET_KEY")
        if self._version is None:
            raise CannotLink("a message has links once it is leased")
        link = Link(self._person_id, scope, self._version)
        self._minted[scope] = made = self._links.url(link, self._made_at)
        return made

    def __str__(self) -> str:
        """Refuse to be printed: a template forgot to say which link. Raises CannotLink."""
        raise CannotLink('say which link: link("manage"), link("confirm")')


def lasts(seconds: float) -> str:
    """Say in words how long a link works: in whole units, and never more than it does."""
    for unit, length in UNITS:
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return "a minute"


BUILT_IN = Path(__file__).parent / "templates"
#: A template is three files: NAME.subject, NAME.txt and NAME.html.
KINDS = ("subject", "txt", "html")
#: No slash and no dot but one: a file's name leads nowhere else.
FILE = re.compile(rf"{TEMPLATE_NAME.pattern}\.(?:{'|'.join(KINDS)})")
#: They would make two compositions of one message differ.
UNREPEATABLE_FILTERS, UNREPEATABLE_GLOBALS = ("random",), ("lipsum",)
FAULT_CHARACTERS = 300


class Rendered(NamedTuple):
    """What a template made of a message; ``subject`` is one line."""

    subject: str
    text: str
    html: str


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
        environment: Environment,
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
        self._forms: dict[str, Fillable] = {}

    @property
    def names(self) -> frozenset[str]:
        """The templates of which all three files are there, now."""
        files = set(self._loader.list_templates())
        return frozenset(
            name
            for name in {file.partition(".")[0] for file in files}
            if all(f"{name}.{kind}" in files for kind in KINDS)
        )

    def faults(self) -> list[Fault]:
        """Compile every file: what is wrong, and in which line of which file."""
        found = []
        for file in self._loader.list_templates():
            try:
                self.environment_of(file).get_template(file)
            except (TemplateError, OSError, UnicodeDecodeError) as error:
                found.append(fault_of(error, file))
        return found

    def faults_of(self, name: str, variables: Mapping[str, object]) -> list[Fault]:
        """Render each file of ``name`` by itself: what is wrong with those that cannot be."""
        found = []
        for kind in KINDS:
            try:
                self._render(name, kind, variables)
            except BrokenTemplate as broken:
                found.append(broken.fault)
        return found

    def variables_of(self, name: str) -> frozenset[str]:
        """Name the variables that the files of ``name`` use, and what they include."""
        found: set[str] = set()
        waiting, seen = [f"{name}.{kind}" for kind in KINDS], set[str]()
        while waiting:
            file = waiting.pop()
            environment = self.environment_of(file)
            try:
                tree = environment.parse(self._loader.get_source(environment, file)[0])
            except (TemplateError, OSError, UnicodeDecodeError):
                continue  # rendering it says so
            found |= meta.find_undeclared_variables(tree) - set(environment.globals)
            seen.add(file)
            others = filter(None, meta.find_referenced_templates(tree))
            waiting += [other for other in others if FILE.fullmatch(other) and other not in seen]
        return frozenset(found)

    def render(self, name: str, variables: Mapping[str, object]) -> Rendered:
        """Render the three files of ``name``. Raises BrokenTemplate."""
        subject = self._render(name, "subject", variables)
        text, html = self._render(name, "txt", variables), self._render(name, "html", variables)
        # Only blanks of the template's own: what it was given may hold no line break.
        return Rendered(re.sub(r"[ \t\r\n]+", " ", subject).strip(" "), text, html)

    def environment_of(self, file: str) -> Environment:
        """Give what renders a file: HTML is escaped, and a subject holds no line break."""
        return self._environments[file.rpartition(".")[2]]

    def _render(self, name: str, kind: str, variables: Mapping[str, object]) -> str:
        file = f"{name}.{kind}"
        form = self._forms.get(file)
        if form is None or not form.is_current():
            form = make_fillable(self.environment_of(file), file)
            if form is not None:
                self._forms[file] = form
        try:
            if form is not None:
                with suppress(BadHeader, CannotLink):  # raised again below, with the line
                    if (filled := form.fill(variables)) is not None:
                        return filled
            return self.environment_of(file).get_template(file).render(variables)
        except Exception as error:
            raise BrokenTemplate(fault_of(error, file)) from error


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
    """Find the innermost line of a template that an error came from."""
    place, line = file, None
    for frame, number in traceback.walk_tb(error.__traceback__):
        name = Path(frame.f_code.co_filename).name
        if FILE.fullmatch(name):
            place, line = name, number
    return place, line


def _environment(loader: Files, kind: str) -> Environment:
    environment = ImmutableSandboxedEnvironment(
        loader=loader,
        autoescape=kind == "html",
        undefined=StrictUndefined,
        finalize=refuse_forbidden if kind == "subject" else None,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in UNREPEATABLE_FILTERS:
        del environment.filters[name]
    for name in UNREPEATABLE_GLOBALS:
        del environment.globals[name]
    return environment


def _stamp(path: str) -> tuple[int, int, int] | None:
    """What tells one state of a file from another; None if it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path would take as long again
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:FAULT_CHARACTERS]
