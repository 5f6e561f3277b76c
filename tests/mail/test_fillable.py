"""What is filled in is what Jinja would have rendered."""

import re
from collections.abc import Mapping
from gettext import NullTranslations
from html import unescape
from pathlib import Path
from typing import Any

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reach.mail.faults import BrokenTemplate
from reach.mail.files import BUILT_IN
from reach.mail.fillable import make_fillable
from reach.mail.templates import Templates, inlined
from reach.settings.brand import Brand

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
    "manage-link.txt": True,
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
    "a constant that decides": "{% if brand.home_url %}{{ name }}{% else %}{{ link }}{% endif %}",
    "a constant that is changed": "{{ brand_name | upper }}{{ name }}",
    "a translated text": "{% trans %}100 % of <b>{{ name }}</b>{% endtrans %}{{ _('<i>') }}",
    "a translated link": "{% trans url=link('manage') %}<a href='{{ url }}'>{% endtrans %}",
    "a translated number": "{% trans n=3 %}one{% pluralize %}{{ n }} {{ name }}{% endtrans %}",
    "a number that varies": "{% trans n=name|length %}one{% pluralize %}many{% endtrans %}",
    "an imported macro": "{% from 'parts.html' import button %}{{ button(name, link('manage')) }}",
    "a macro that decides": "{% macro m(brand) %}{% if brand == 'Ada' %}!{% endif %}{% endmacro %}"
    "{{ m(name) }}",
    "a name that hides a constant": "{% set brand = name %}{% if brand == 'Ada' %}!{% endif %}",
    "a macro's text that is changed": "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(name) | upper }}",
    "a class that has styles": "<style>.Ada { color: red }</style><p class='{{ name }}'>x</p>",
    "a style that varies": "<style>p { color: {{ name }} }</style><p>x</p>",
    "a language that has styles": "<style>[lang='']{color:red}</style><p lang='{{ name }}'>x</p>",
}


BRAND = Brand("Bränd & <Co>", "#1f7a4d", postal_address="1 <Road>", home_url="https://example.org/")
CONSTANTS: dict[str, Any] = {
    "brand": BRAND,
    "brand_name": BRAND.name,
    "public_url": "https://example.org/?a=1&b='2'",
    "link_lasts": "30 days",
    "language": "en",
    "direction": "ltr",
    "translations": NullTranslations(),
}


def in_english(folder: Path | None = None) -> Templates:
    """Give the templates in English."""
    return Templates(folder, "en", CONSTANTS)


def variables(name: object = "Ada") -> dict[str, Any]:
    """Give what a message's template may use."""
    return {
        "name": name,
        "recipient": "ada@example.com",
        "fields": ["name"],
        "confirmed": False,
        "count": 1,
        "total": 3,
        "person": None,
        "new_address": "ada@example.org",
        "webhook": name,
        "reason": "failing",
        "id": "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1",
        "link": lambda scope: f"https://example.org/{scope}?token=<&>",
    }


def by_jinja(folders: list[Path], file: str, values: Mapping[str, Any]) -> str:
    """Render a file by Jinja alone, with its own way to translate; and inline its styles."""
    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=file.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_null_translations(newstyle=True)  # type: ignore[attr-defined]
    environment.globals.update(CONSTANTS)
    environment.filters["field_name"] = {"name": "Name", "description": "Note"}.get
    rendered = environment.get_template(file).render(values)
    return inlined(rendered) if file.endswith(".html") else rendered


def reads(html: str) -> str:
    """Say what HTML says, however its characters are written and wherever its lines end."""
    return " ".join(unescape(html).split())


@pytest.mark.parametrize("name", NAMES)
def test_the_built_in_ones_are_the_same(name: str) -> None:
    """For each template, filled in twice: what was made of one message is not the next one's."""
    templates = in_english()
    for values in (variables("somebody else"), variables(name)):
        for template in sorted(templates.names):
            rendered = templates.render(template, values)
            assert rendered.text == by_jinja([BUILT_IN], f"{template}.txt", values)
            html = by_jinja([BUILT_IN], f"{template}.html", values)
            assert reads(rendered.html) == reads(html)
            subject = by_jinja([BUILT_IN], f"{template}.subject", values)
            assert rendered.subject == re.sub(r"[ \t\r\n]+", " ", subject).strip(" ")


@pytest.mark.parametrize("source", OTHERS.values(), ids=OTHERS)
def test_an_operators_are_the_same(tmp_path: Path, source: str) -> None:
    """Whatever they do with a value."""
    for kind in ("txt", "html"):
        (tmp_path / f"own.{kind}").write_text(source, newline="")
    (tmp_path / "own.subject").write_text("own")
    templates = in_english(tmp_path)
    for name in NAMES:
        rendered = templates.render("own", variables(name))
        assert rendered.text == by_jinja([tmp_path, BUILT_IN], "own.txt", variables(name))
        html = by_jinja([tmp_path, BUILT_IN], "own.html", variables(name))
        if "<style" in html:
            assert reads(rendered.html) == reads(html)
        else:
            assert rendered.html == html


@pytest.mark.parametrize("value", [None, 5, True, ["a"], {"a": "<b>"}])
def test_a_value_that_is_no_text_is_printed_as_jinja_does(value: object) -> None:
    """An operator's own message may hold any JSON."""
    rendered = in_english().render("welcome", variables(value))
    html = by_jinja([BUILT_IN], "welcome.html", variables(value))
    assert reads(rendered.html) == reads(html)


@pytest.mark.parametrize(("file", "only_prints"), PRINTED.items())
def test_what_only_prints_is_rendered_once(file: str, only_prints: bool) -> None:
    """Else each message would cost what Jinja does."""
    finish = inlined if file.endswith(".html") else str
    made = make_fillable(in_english().environment_of(file), file, CONSTANTS, finish)
    assert made is not None
    assert bool(made.pieces) is only_prints


def test_a_layout_that_changes_is_noticed(tmp_path: Path) -> None:
    """Not only the file itself: what it extends is text around the values too."""
    (tmp_path / "layout.html").write_text("one {% block body %}{% endblock %}")
    templates = in_english(tmp_path)
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
    templates = in_english()
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
    environment = in_english(tmp_path).environment_of("welcome.txt")
    form = make_fillable(environment, "welcome.txt", CONSTANTS)
    assert form is not None
    assert form.pieces == ()


def test_a_subject_that_breaks_its_line_is_told_with_its_file(tmp_path: Path) -> None:
    """As before it was rendered once: of a template, not of the program."""
    (tmp_path / "welcome.subject").write_text("{{ '\\n' }}")
    found = in_english(tmp_path).faults_of("welcome", {"name": "Ada", "link": str})
    assert "welcome.subject" in [fault.file for fault in found]
