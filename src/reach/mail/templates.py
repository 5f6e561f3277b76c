"""Templates: what they make of a message's data, in each language."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from css_inline import CSSInliner
from jinja2 import Environment, StrictUndefined, meta, pass_context
from jinja2.exceptions import TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reach.languages.dates import long_date
from reach.languages.templates import install, translated
from reach.mail.faults import BrokenTemplate, Fault, fault_of
from reach.mail.files import FILE, KINDS, Files
from reach.mail.fillable import TRANSLATING, Fillable, make_fillable
from reach.mail.headers import LINE_CHARACTERS, BadHeader, refuse_forbidden
from reach.mail.linking import CannotLink
from reach.texts import N_

#: They would make two compositions of one message differ.
UNREPEATABLE_FILTERS, UNREPEATABLE_GLOBALS = ("random",), ("lipsum",)
#: What people call the fields of their record.
FIELD_NAMES = {"name": N_("Name"), "description": N_("Note"), "language": N_("Language")}
#: Where a line's end is another thing than a blank.
BLANKS_COUNT = ("<pre", "<textarea", "white-space")
#: What is left in ``<style>`` is what no element can hold: ``@media``, ``:hover``.
_INLINER = CSSInliner(
    keep_style_tags=True,
    remove_inlined_selectors=True,
    keep_link_tags=True,
    load_remote_stylesheets=False,
)


class Rendered(NamedTuple):
    """What a template made of a message; ``subject`` is one line."""

    subject: str
    text: str
    html: str


class Templates:
    """The built-in templates, and those of a folder, which take their place file by file.

    In one language. ``constants`` are what every message's template may use, by name: data of a
    message that have one of these names are not looked at.
    """

    def __init__(self, folder: Path | None, language: str, constants: Mapping[str, Any]) -> None:
        """Take the operator's folder, if there is one."""
        self.language = language
        self._loader = Files(folder, language)
        self._constants = constants
        self._reserved = {*constants, *TRANSLATING}
        # One environment each, so that what an HTML template includes is escaped too.
        self._environments = {kind: _environment(self._loader, kind, constants) for kind in KINDS}
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
        found, variables = [], self._without_reserved(variables)
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
        variables = self._without_reserved(variables)
        subject = self._render(name, "subject", variables)
        text, html = self._render(name, "txt", variables), self._render(name, "html", variables)
        # Only blanks of the template's own: what it was given may hold no line break.
        return Rendered(re.sub(r"[ \t\r\n]+", " ", subject).strip(" "), text, html)

    def environment_of(self, file: str) -> Environment:
        """Give what renders a file: HTML is escaped, and a subject holds no line break."""
        return self._environments[file.rpartition(".")[2]]

    def _without_reserved(self, variables: Mapping[str, object]) -> Mapping[str, object]:
        return {name: variables[name] for name in variables if name not in self._reserved}

    def _render(self, name: str, kind: str, variables: Mapping[str, object]) -> str:
        file = f"{name}.{kind}"
        environment = self.environment_of(file)
        form = self._forms.get(file)
        finish = inlined if kind == "html" else str
        if form is None or not form.is_current():
            form = make_fillable(environment, file, self._constants, finish)
            if form is not None:
                self._forms[file] = form
        try:
            if form is not None:
                with suppress(BadHeader, CannotLink):  # raised again below, with the line
                    if (filled := form.fill(variables)) is not None:
                        return filled
            return finish(environment.get_template(file).render(variables))
        except Exception as error:
            raise BrokenTemplate(fault_of(error, file)) from error


def inlined(html: str) -> str:
    """Move the styles of an email into its elements, if it has any: some programs know no others.

    An email without ``<style>`` stays as it is. Elements that have their styles are long: lines are
    broken at blanks, so that they can be sent as they are.
    """
    written = html.lower()
    if "<style" not in written:
        return html
    html = _INLINER.inline(html)
    if any(element in written for element in BLANKS_COUNT):
        return html
    return "\n".join(map(_folded, html.split("\n")))


def _folded(line: str) -> str:
    if len(line) <= LINE_CHARACTERS:
        return line
    return fill(line, LINE_CHARACTERS, break_long_words=False, break_on_hyphens=False)


def _environment(loader: Files, kind: str, constants: Mapping[str, Any]) -> Environment:
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
    install(environment)
    # Not only variables of each rendering: what is imported sees globals alone.
    environment.globals.update(constants)
    environment.filters["field_name"] = field_name
    environment.filters["long_date"] = lambda moment: long_date(moment, constants["language"])
    return environment


@pass_context
def field_name(context: Context, field: str) -> str:
    """Name a field of somebody's record in their words; what is none stays as it is."""
    return translated(context, FIELD_NAMES.get(field, field))
