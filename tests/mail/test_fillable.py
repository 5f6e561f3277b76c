"""What is filled in is what Jinja would have rendered."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reach.mail.fillable import make_fillable
from reach.mail.templates import BUILT_IN, BrokenTemplate, Templates

NAMES = [
    "Ada Lovelace",
    "Zoë 李小龍 🎉",
    "<script>alert('1')</script> & \"x\"",
    "{{ 7 * 7 }}{% if %}{# #}",
    "\ue0000123456789abcdef.0\ue001",
    "  spaces  ",
    "",
    "\u202eevil\\1\\g<0>%s{}",
]
#: By what is in it: what only prints is filled in.
PRINTED = {
    "welcome.txt": True,
    "welcome.html": True,
    "manage-link.html": True,
    "already-signed-up.subject": True,
    "already-signed-up.txt": False,
    "changed.html": False,
}
OTHERS = {
    "two values": "{{ name }}{{ name }}{{ recipient }}",
    "a constant": "{{ 'a<b' }}{{ 5 }}{{ name }}",
    "a comment": "{# {{ missing }} #}{{ name }}\n",
    "raw": "{% raw %}{{ name }}{% endraw %}{{ name }}",
    "line ends": "\r\n{{ name }}\r\n\r{{ name }}\n\n",
    "a filter": "{{ name | upper }}",
    "a condition": "{% if name %}yes{% else %}no{% endif %}",
    "a variable": "{% set x = name %}{{ x }}",
    "an attribute": "{{ name.upper() }}{{ name[0:1] }}",
    "a sum": "{{ name ~ name }}",
    "an import": "{% include 'welcome.txt' %}",
    "a block": "{% block a %}{{ name }}{% endblock %}{{ self.a() }}",
    "no escaping": "{% autoescape false %}{{ name }}{% endautoescape %}",
    "a macro": "{% macro m(name) %}{{ name }}{% endmacro %}{{ m('x') }}",
    "a loop": "{% for name in ['x', name] %}{{ name }}{% endfor %}",
    "a scope that varies": "{{ link(name) }}",
    "more arguments": "{{ link('manage', *[]) }}",
}


def variables(name: object = "Ada") -> dict[str, Any]:
    """Give what a template may use."""
    return {
        "name": name,
        "recipient": "ada@example.com",
        "brand_name": "Bränd & <Co>",
        "public_url": "https://example.org/?a=1&b='2'",
        "link_lasts": "30 days",
        "fields": ["name"],
        "confirmed": False,
        "link": lambda scope: f"https://example.org/{scope}?token=<&>",
    }


def by_jinja(folders: list[Path], file: str, values: Mapping[str, Any]) -> str:
    """Render a file by Jinja alone."""
    return (
        ImmutableSandboxedEnvironment(
            loader=jinja2.FileSystemLoader(folders),
            autoescape=file.endswith(".html"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        .get_template(file)
        .render(values)
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_built_in_ones_are_the_same(name: str) -> None:
    """For each template, filled in twice: what was made of one message is not the next one's."""
    templates = Templates(None)
    for values in (variables("somebody else"), variables(name)):
        for template in sorted(templates.names):
            rendered = templates.render(template, values)
            assert rendered.text == by_jinja([BUILT_IN], f"{template}.txt", values)
            assert rendered.html == by_jinja([BUILT_IN], f"{template}.html", values)
            subject = by_jinja([BUILT_IN], f"{template}.subject", values)
            assert rendered.subject == re.sub(r"[ \t\r\n]+", " ", subject).strip(" ")


@pytest.mark.parametrize("source", OTHERS.values(), ids=OTHERS)
def test_an_operators_are_the_same(tmp_path: Path, source: str) -> None:
    """Whatever they do with a value."""
    for kind in ("txt", "html"):
        (tmp_path / f"own.{kind}").write_text(source, newline="")
    (tmp_path / "own.subject").write_text("own")
    templates = Templates(tmp_path)
    for name in NAMES:
        rendered = templates.render("own", variables(name))
        assert rendered.text == by_jinja([tmp_path, BUILT_IN], "own.txt", variables(name))
        assert rendered.html == by_jinja([tmp_path, BUILT_IN], "own.html", variables(name))


@pytest.mark.parametrize("value", [None, 5, True, ["a"], {"a": "<b>"}])
def test_a_value_that_is_no_text_is_printed_as_jinja_does(value: object) -> None:
    """An operator's own message may hold any JSON."""
    rendered = Templates(None).render("welcome", variables(value))
    assert rendered.html == by_jinja([BUILT_IN], "welcome.html", variables(value))


@pytest.mark.parametrize(("file", "only_prints"), PRINTED.items())
def test_what_only_prints_is_rendered_once(file: str, only_prints: bool) -> None:
    """Else each message would cost what Jinja does."""
    made = make_fillable(Templates(None).environment_of(file), file)
    assert made is not None
    assert bool(made.pieces) is only_prints


def test_a_layout_that_changes_is_noticed(tmp_path: Path) -> None:
    """Not only the file itself: what it extends is text around the values too."""
    (tmp_path / "layout.html").write_text("one {% block body %}{% endblock %}")
    templates = Templates(tmp_path)
    assert templates.render("welcome", variables()).html.startswith("one ")
    (tmp_path / "layout.html").write_text("another {% block body %}{% endblock %}")
    assert templates.render("welcome", variables()).html.startswith("another ")
    (tmp_path / "layout.html").write_text("{{ missing }}")
    with pytest.raises(BrokenTemplate):
        templates.render("welcome", variables())
    (tmp_path / "layout.html").unlink()
    assert templates.render("welcome", variables()).html.startswith("<!")


@pytest.mark.parametrize("file", ["welcome.subject", "welcome.txt", "welcome.html"])
def test_a_value_that_is_missing_is_told_with_its_line(file: str) -> None:
    """As if nothing had been filled in before."""
    templates = Templates(None)
    templates.render("welcome", variables())
    without = variables()
    del without["name"]
    faults = {fault.file: fault for fault in templates.faults_of("welcome", without)}
    assert "'name' is undefined" in faults[file].words
    assert faults[file].line is not None


@pytest.mark.parametrize(
    "files",
    [
        {"welcome.txt": "{% extends 'welcome.txt' %}"},
        {"welcome.txt": "{% extends 'a.txt' %}", "a.txt": "{% extends 'welcome.txt' %}"},
    ],
)
def test_one_that_extends_itself_is_for_jinja_to_refuse(
    tmp_path: Path, files: Mapping[str, str]
) -> None:
    """It is not followed for ever, and it is not filled in."""
    for name, source in files.items():
        (tmp_path / name).write_text(source)
    environment = Templates(tmp_path).environment_of("welcome.txt")
    form = make_fillable(environment, "welcome.txt")
    assert form is not None
    assert form.pieces == ()


def test_a_subject_that_breaks_its_line_is_told_with_its_file(tmp_path: Path) -> None:
    """As before it was rendered once: of a template, not of the program."""
    (tmp_path / "welcome.subject").write_text("{{ '\\n' }}")
    found = Templates(tmp_path).faults_of("welcome", {"name": "Ada", "link": str})
    assert "welcome.subject" in [fault.file for fault in found]
