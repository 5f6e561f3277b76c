"""Templates that only print values: rendered once, with marks in their place, and filled in then.

What Jinja makes of such a template is the same text around every message's values. It takes most of
the time that an email does, so it is done once, and again when a file has changed; and so is what
comes after it, such as moving styles into elements. A template that decides, repeats or changes
anything by a message's values is rendered by Jinja each time.

What it does with constants, which are the same for every message (the brand, the language), is its
own affair: that comes out the same each time.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, nodes
from markupsafe import escape

from reach.mail.headers import LINE_CHARACTERS

#: A link's scope is written in the template, so what varies is what ``link("manage")`` gives.
LINK = "link"
#: What translates a text, and prints values into it.
TRANSLATING = frozenset({"gettext", "_", "pgettext", "ngettext"})
#: Where a value may stand in HTML that is changed after it was rendered. Elsewhere, as in a class,
#: it could have a say in what is made of it.
TAG, STYLE = re.compile("<[^>]*>"), re.compile("(?is)<style.*?</style>")
HREF = re.compile(r"""(?i)\shref=("[^"]*"|'[^']*')""")


@dataclass(frozen=True, slots=True)
class Fillable:
    """A template's text, and where in it which value is printed.

    Without ``pieces`` it is one that does more.
    """

    #: With nothing in it where a value goes.
    pieces: Sequence[str]
    values: Sequence[tuple[int, str]]
    #: By their scopes.
    links: Sequence[tuple[int, str]]
    #: What printing does to a value: HTML is escaped, say.
    printed: Callable[[str], str]
    #: Whether the files that it was made of are those to use; they are few.
    checks: Sequence[Callable[[], bool]]

    def is_current(self) -> bool:
        """Whether no file has changed since."""
        return all(check() for check in self.checks)

    def fill(self, variables: Mapping[str, Any]) -> str | None:
        """Print the values into the text; None if one is missing, or is no text.

        Raises what printing does, and what ``link`` does.
        """
        pieces, printed = list(self.pieces), self.printed
        if not pieces:
            return None
        for place, name in self.values:
            value = variables.get(name)
            if type(value) is not str:
                return None
            pieces[place] = printed(value)
        for place, scope in self.links:
            pieces[place] = printed(variables[LINK](scope))
        return "".join(pieces)


def make_fillable(
    environment: Environment,
    file: str,
    constants: Mapping[str, object],
    finish: Callable[[str], str] = str,
) -> Fillable | None:
    """Render a file with marks, and finish it; None if it cannot be rendered."""
    try:
        found = _Printing(environment, constants)
        if not found.only_prints(file):
            return Fillable((), (), (), str, found.checks)
        values = dict(enumerate(found.names))
        links = dict(enumerate(found.scopes, len(values)))
        key = secrets.token_hex(8)
        marks = {name: f"\ue000{key}.{n}.\ue001" for n, name in values.items()}
        # As long as what they stand for: where lines are broken, they have one of their own.
        filler = "." * LINE_CHARACTERS
        urls = {scope: f"\ue000{key}.{n}{filler}\ue001" for n, scope in links.items()}
        given = {**marks, **constants, LINK: urls.__getitem__}
        rendered = environment.get_template(file).render(given)
        text = finish(rendered)
        if text != rendered and (_has_a_say(rendered, key) or _has_a_say(text, key)):
            return Fillable((), (), (), str, found.checks)
    except Exception:  # noqa: BLE001 - rendering it for a message says what is wrong
        return None
    pieces = re.split(rf"\ue000{key}\.([0-9]+)\.+\ue001", text)
    marked = [(place, int(pieces[place])) for place in range(1, len(pieces), 2)]
    for place, _ in marked:
        pieces[place] = ""
    return Fillable(
        pieces,
        [(place, values[n]) for place, n in marked if n in values],
        [(place, links[n]) for place, n in marked if n in links],
        escape if environment.autoescape else environment.finalize or str,
        found.checks,
    )


def _has_a_say(html: str, key: str) -> bool:
    """Whether a mark stands where a value could change what becomes of the HTML around it."""
    places = [HREF.sub("", tag) for tag in TAG.findall(html)] + STYLE.findall(html)
    return any(key in place for place in places)


@dataclass
class _Printing:
    """What a file, and those that it extends and imports, print."""

    environment: Environment
    constants: Mapping[str, object]
    names: dict[str, None] = field(default_factory=dict)
    #: Of links.
    scopes: dict[str, None] = field(default_factory=dict)
    #: What tells whether a file has changed.
    checks: list[Callable[[], bool]] = field(default_factory=list)
    #: They are templates in the same words: what they are called with, they print.
    macros: set[str] = field(default_factory=set)
    waiting: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def only_prints(self, file: str) -> bool:
        """Read a file and all that it needs; False if they do more with what varies."""
        self.waiting.append(file)
        while self.waiting:
            assert self.environment.loader is not None
            name = self.waiting.pop()
            if name in self.seen:
                continue
            self.seen.add(name)
            source, _, is_current = self.environment.loader.get_source(self.environment, name)
            if is_current is not None:
                self.checks.append(is_current)
            if not self._are_plain(self.environment.parse(source).body):
                return False
        return True

    def _are_plain(self, body: Iterable[nodes.Node]) -> bool:
        """Whether statements do nothing with what varies, but print it."""
        return all(map(self._is_plain, body))

    def _is_plain(self, node: nodes.Node) -> bool:
        is_plain = False
        match node:
            case nodes.Output(nodes=printed):
                is_plain = all(map(self._is_printed, printed))
            case nodes.Extends(template=nodes.Const(value=str(parent))):
                self.waiting.append(parent)
                is_plain = parent not in self.seen  # it extends itself, for Jinja to refuse
            case nodes.FromImport(template=nodes.Const(value=str(other)), with_context=False):
                self.waiting.append(other)
                self.macros.update(name for name in node.names if isinstance(name, str))
                is_plain = all(isinstance(name, str) for name in node.names)
            case nodes.Macro(name=str(name), args=given, defaults=[]):
                self.macros.add(name)
                hides = any(argument.name in self.constants for argument in given)
                is_plain = not hides and self._are_plain(node.body)
            case nodes.Assign(target=nodes.Name(name=str(name))) if name not in self.constants:
                is_plain = self._is_printed(node.node)  # by its new name, if by any
            case nodes.Block():
                is_plain = self._are_plain(node.body)
            case nodes.If() if self._is_constant(node.test):
                is_plain = self._are_plain([*node.body, *node.elif_, *node.else_])
        return is_plain

    def _is_printed(self, node: nodes.Node) -> bool:
        """Whether an expression is the same for every message, or a value as it is.

        In a text that is translated and in a macro's call, values stand by their names.
        """
        match node:
            case _ if self._is_constant(node):
                return True
            case nodes.Name(name=str(name)) if name != LINK:
                self.names[name] = None
                return True
            case nodes.Call(node=nodes.Name(name=str(name)), dyn_args=None, dyn_kwargs=None):
                return self._is_printing_call(name, node)
            case _:
                return False

    def _is_printing_call(self, name: str, call: nodes.Call) -> bool:
        named = (keyword.value for keyword in call.kwargs)
        if name == LINK:
            match call:
                case nodes.Call(args=[nodes.Const(value=str(scope))], kwargs=[]):
                    self.scopes[scope] = None
                    return True
            return False
        if name in self.macros:
            return all(map(self._is_printed, (*call.args, *named)))
        if name in TRANSLATING:  # a number that it would decide by is no name of the text's
            return all(map(self._is_constant, call.args)) and all(map(self._is_printed, named))
        return False

    def _is_constant(self, node: nodes.Node) -> bool:
        """Whether nothing that an expression names varies from one message to the next."""
        names = [node] if isinstance(node, nodes.Name) else node.find_all(nodes.Name)
        known = {*self.constants, *TRANSLATING}
        return all(name.name in known for name in names)
