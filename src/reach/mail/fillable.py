"""Templates that only print values: rendered once, with marks in their place, and filled in then.

What Jinja makes of such a template is the same text around every message's values. It takes most of
the time that an email does, so it is done once, and again when a file has changed. A template that
decides, repeats or changes anything is rendered by Jinja each time.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, nodes
from markupsafe import escape

#: A link's scope is written in the template, so what varies is what ``link("manage")`` gives.
LINK = "link"


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


def make_fillable(environment: Environment, file: str) -> Fillable | None:
    """Render a file with marks; None if it cannot be rendered."""
    try:
        names, scopes, checks = _printed(environment, file)
        if names is None:
            return Fillable((), (), (), str, checks)
        values, links = dict(enumerate(names)), dict(enumerate(scopes, len(names)))
        key = secrets.token_hex(8)
        marks = {name: f"\ue000{key}.{n}\ue001" for n, name in values.items()}
        urls = {scope: f"\ue000{key}.{n}\ue001" for n, scope in links.items()}
        text = environment.get_template(file).render({**marks, LINK: urls.__getitem__})
    except Exception:  # noqa: BLE001 - rendering it for a message says what is wrong
        return None
    pieces = re.split(rf"\ue000{key}\.([0-9]+)\ue001", text)
    marked = [(place, int(pieces[place])) for place in range(1, len(pieces), 2)]
    for place, _ in marked:
        pieces[place] = ""
    return Fillable(
        pieces,
        [(place, values[n]) for place, n in marked if n in values],
        [(place, links[n]) for place, n in marked if n in links],
        escape if environment.autoescape else environment.finalize or str,
        checks,
    )


def _printed(
    environment: Environment, file: str
) -> tuple[Sequence[str] | None, Sequence[str], Sequence[Callable[[], bool]]]:
    """Name the values and the links' scopes that a file and those it extends print.

    And what tells whether a file has changed. No names, if they do more than print.
    """
    names, scopes, checks = dict[str, None](), dict[str, None](), list[Callable[[], bool]]()
    waiting, seen = [file], set[str]()
    while waiting:
        assert environment.loader is not None
        name = waiting.pop()
        if name in seen:  # it extends itself, for Jinja to refuse
            return None, (), checks
        seen.add(name)
        source, _, is_current = environment.loader.get_source(environment, name)
        if is_current is not None:
            checks.append(is_current)
        if not _only_prints(environment.parse(source), names, scopes, waiting):
            return None, (), checks
    return list(names), list(scopes), checks


def _only_prints(
    tree: nodes.Template, names: dict[str, None], scopes: dict[str, None], waiting: list[str]
) -> bool:
    """Add what a file prints, and which one it extends; False if it does more."""
    called = set[int]()
    for node in tree.find_all(nodes.Node):
        match node:
            case nodes.Output() | nodes.TemplateData() | nodes.Block() | nodes.Const():
                pass
            case nodes.Extends(template=nodes.Const(value=str(parent))):
                waiting.append(parent)
            case nodes.Call(
                node=nodes.Name(name="link") as callee,
                args=[nodes.Const(value=str(scope))],
                kwargs=[],
                dyn_args=None,
                dyn_kwargs=None,
            ):
                called.add(id(callee))
                scopes[scope] = None
            case nodes.Name(name=str(name)) if name != LINK:
                names[name] = None
            case nodes.Name() if id(node) in called:
                pass
            case _:
                return False
    return True
