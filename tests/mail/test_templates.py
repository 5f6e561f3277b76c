"""Templates: the built-in ones, those of an operator's folder, and what goes wrong with them."""

import os
import re
import socket
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from reach.mail.compose import CannotCompose, Composer
from reach.mail.files import BUILT_IN
from reach.mail.templates import inlined
from reach.settings import BadSettings
from reach.settings.types import OWED
from tests.support.messages import ORIGIN, a_composer, a_message, a_welcome, contents, parse
from tests.support.root import ROOT

BUILT_IN_NAMES = {"welcome", "already-signed-up", "changed", "manage-link", "notice"}
BUILT_IN_NAMES |= {"confirm-address", "address-change", "address-changed", "webhook-disabled"}
PAGE = ROOT / "docs" / "guides" / "email-templates.md"
DATA: dict[str, Any] = {"name": "Ada", "fields": ["name"], "description": "A secret of Ada's"}
DATA |= {"webhook": "shop", "id": "7", "reason": "gone"}
DATA |= {"count": 1, "total": 3, "person": None, "change": 3, "new_address": "ada@example.org"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an operator's folder, empty."""
    return tmp_path


@pytest.fixture
def composer(folder: Path) -> Composer:
    """Give a composer that looks there first."""
    return a_composer(templates_dir=folder)


def text_of(composer: Composer, name: str = "Ada") -> str:
    """Compose someone's welcome and give its text."""
    return contents(composer.compose(a_welcome(name)))[0]


def test_all_of_ours_are_owed() -> None:
    """No setting can let people unsubscribe from one of them."""
    assert {*OWED} == BUILT_IN_NAMES == {one.stem for one in BUILT_IN.glob("*.subject")}


@pytest.mark.parametrize("template", sorted(BUILT_IN_NAMES))
def test_a_built_in_mail_says_why_it_came_and_nothing_it_should_not(template: str) -> None:
    """Both parts name the brand and the place; nothing remote is loaded; no description."""
    mail = a_composer(brand_name="Acme").compose(a_message(template, DATA))
    for part in contents(mail):
        assert "Acme" in part
        assert "You got this email because" in part
        assert ORIGIN in part
        assert "secret" not in part
        assert not re.search(r"(?i)<img|<script|<link|src=|url\(|@import", part)
    assert "Acme" in str(parse(mail)["Subject"]) or template != "welcome"


@pytest.mark.parametrize("template", sorted(BUILT_IN_NAMES))
def test_a_built_in_html_part_can_be_read_by_anyone(template: str) -> None:
    """It names its language and encoding, follows dark mode, has a title and one heading."""
    html = contents(a_composer().compose(a_message(template, DATA)))[1]
    assert html.startswith('<!DOCTYPE html><html lang="en" dir="ltr" ')
    assert '<meta charset="utf-8">' in html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert re.search(r"<title>[^<]+</title>", html)
    assert html.count("<h1") == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (["name"], "in your data at Reach:\n\n- Name\n\n"),
        (["name", "description"], "in your data at Reach:\n\n- Name\n- Note\n\n"),
    ],
)
def test_a_changed_mail_says_what_changed(fields: list[str], words: str) -> None:
    """It names the fields, and not what they hold."""
    assert words in contents(a_composer().compose(a_message("changed", {"fields": fields})))[0]


def test_a_name_is_only_ever_text() -> None:
    """It is escaped in HTML, and nothing in it is run or interpreted anywhere."""
    name = "<script>alert('1')</script> & {{ 7 * 7 }} {% raw %}"
    mail = a_composer().compose(a_welcome(name))
    text, html = contents(mail)
    assert parse(mail)["Subject"] == f"Welcome to Reach, {name}"
    assert f"Welcome, {name}\n" in text
    assert "<script" not in html
    assert f"<bdi>{name}</bdi>" in unescape(html)


def test_a_file_of_the_folder_takes_the_place_of_one_file(folder: Path, composer: Composer) -> None:
    """Overriding the HTML keeps the built-in text and subject."""
    (folder / "welcome.html").write_text("<p>Own {{ name }}</p>", encoding="utf-8")
    built_in, own = a_composer().compose(a_welcome("<Zoë>")), composer.compose(a_welcome("<Zoë>"))
    assert contents(own) == [contents(built_in)[0], "<p>Own &lt;Zoë&gt;</p>\n"]
    assert parse(own)["Subject"] == parse(built_in)["Subject"]


def test_one_file_changes_how_all_mails_look(folder: Path, composer: Composer) -> None:
    """The built-in HTML parts share a layout, which can be overridden too."""
    (folder / "layout.html").write_text("<h1>Acme</h1>{% block body %}{% endblock %}")
    html = contents(composer.compose(a_message()))[1]
    assert html.startswith("<h1>Acme</h1>")
    assert "Thank you for signing up" in html


def test_a_folder_can_bring_templates_of_its_own(folder: Path, composer: Composer) -> None:
    """They can be composed as soon as all three files are there, with their own data."""
    (folder / "party.txt").write_text(
        "{{ place }}, {{ recipient }}, {{ brand_name }}, {{ public_url }}"
    )
    (folder / "party.html").write_text("<b>{{ place }}</b>")
    (folder / "Party Two.txt").write_text("not a template's name")
    assert composer.templates == BUILT_IN_NAMES
    with pytest.raises(CannotCompose, match=r"no template file party\.subject"):
        composer.compose(a_message("party", {"place": "<Rome>"}))
    (folder / "party.subject").write_text("\n  A  party\n in {{ place }}\n\n")
    assert composer.templates == BUILT_IN_NAMES | {"party"}
    mail = composer.compose(
        a_message("party", {"place": "<Rome>", "recipient": "x", "brand_name": "x"})
    )
    assert contents(mail) == [
        f"<Rome>, ada@example.com, Reach, {ORIGIN}\n",
        "<b>&lt;Rome&gt;</b>\n",
    ]
    assert parse(mail)["Subject"] == "A party in <Rome>"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{% if %}", "welcome.txt, line 2: Expected an expression, got 'end of statement block'"),
        ("{{ nmae }}", "welcome.txt, line 2: 'nmae' is undefined"),
        ("{{ ''.__class__.__mro__ }}", "welcome.txt, line 2: access to attribute '__class__'"),
        ("{{ name.__init__.__globals__ }}", "welcome.txt, line 2: access to attribute '__init__'"),
        ("{{ fields.append(1) }}", "welcome.txt, line 2: .* unsafe|welcome.txt, line 2: access"),
        ("{{ name | int + fields }}", "welcome.txt, line 2: TypeError"),
        ("{{ link }}", r"welcome.txt, line 2: say which link: link\(\"manage\"\)"),
        (
            "{{ link('x') }}",
            "welcome.txt, line 2: there is no such link; there are: confirm, manage",
        ),
        ("{{ link(fields) }}", "welcome.txt, line 2: "),
        ("{{ link._links }}", "welcome.txt, line 2: access to attribute '_links'"),
        ("{% include 'missing.txt' %}", "there is no template file missing.txt"),
        ("{% include '../welcome.txt' %}", r"there is no template file \.\./welcome\.txt"),
        ("{% include 'welcome.txt' %}", "RecursionError"),
        ("{{ range(99999999) | list }}", "welcome.txt, line 2: OverflowError"),
        ("{{ [1, 2, 3] | random }}", "welcome.txt, line 2: No filter named 'random'"),
        ("{{ lipsum() }}", "welcome.txt, line 2: 'lipsum' is undefined"),
    ],
)
def test_a_broken_template_fails_alone_and_can_be_mended(
    folder: Path, composer: Composer, source: str, complaint: str
) -> None:
    """It says what is wrong in which line; other templates work; mending it is enough."""
    message = a_message(data={"name": "Ada", "fields": ["name"]})
    file = folder / "welcome.txt"
    file.write_text(f"Hello\n{source}\n")
    with pytest.raises(CannotCompose, match=complaint) as caught:
        composer.compose(message)
    assert "Ada" not in str(caught.value)
    assert composer.compose(a_message("changed", {"fields": ["name"]})).content
    file.write_text("Mended, {{ name }}")
    assert contents(composer.compose(message))[0] == "Mended, Ada\n"


def test_every_change_in_the_folder_is_noticed(folder: Path, composer: Composer) -> None:
    """A file that is added, changed, replaced or removed; within the clock's grain, too."""
    built_in = text_of(composer)
    file = folder / "welcome.txt"
    file.write_text("one")
    assert text_of(composer) == "one\n"
    before = file.stat()
    file.write_text("three")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert text_of(composer) == "three\n"
    new = folder / "new"
    new.write_text("seven")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(file)
    assert text_of(composer) == "seven\n"
    file.unlink()
    assert text_of(composer) == built_in


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_fails_its_own_mails(
    folder: Path, composer: Composer, content: bytes | None
) -> None:
    """It is not UTF-8, or it is a folder: that is said, and the built-in file does not jump in."""
    if content is None:
        (folder / "welcome.txt").mkdir()
    else:
        (folder / "welcome.txt").write_bytes(content)
    with pytest.raises(CannotCompose, match=r"UnicodeDecodeError|IsADirectoryError"):
        composer.compose(a_message())
    assert composer.compose(a_message("changed", {"fields": ["name"]})).content


@pytest.mark.parametrize(
    "template",
    [
        "nope",
        "layout",
        "",
        "Welcome",
        "../welcome",
        "/welcome",
        "a/b",
        "a.b",
        "welcome\n",
        "\x00",
        "é",
        "a" * 64,
    ],
)
def test_a_template_that_is_not_there_cannot_be_composed(composer: Composer, template: str) -> None:
    """Nor does any name lead out of the folder."""
    with pytest.raises(CannotCompose, match="there is no template file") as caught:
        composer.compose(a_message(template))
    assert str(caught.value).isprintable()


def test_what_html_includes_is_escaped_too(folder: Path, composer: Composer) -> None:
    """Whatever the included file is called."""
    (folder / "welcome.html").write_text("{% include 'footer.txt' %}")
    (folder / "footer.txt").write_text("{{ name }}")
    assert contents(composer.compose(a_welcome("<b>")))[1] == "&lt;b&gt;\n"


def test_a_folder_that_is_not_there_is_refused_at_start(tmp_path: Path) -> None:
    """A misspelt folder would otherwise go unnoticed, and the built-in texts go out."""
    with pytest.raises(BadSettings, match="REACH_TEMPLATES_DIR"):
        a_composer(templates_dir=tmp_path / "missing")


def test_the_page_about_templates_names_them_all() -> None:
    """Every built-in file and every variable is in the documentation."""
    page = PAGE.read_text(encoding="utf-8")
    variables = {"brand_name", "public_url", "recipient", "name", "fields"}
    variables |= {"confirmed", "link_lasts", 'link("confirm")', 'link("manage")'}
    assert {word for word in variables if f"`{word}`" not in page} == set()
    assert {path.name for path in BUILT_IN.iterdir() if f"`{path.name}`" not in page} == set()


def test_styles_elsewhere_are_not_fetched() -> None:
    """A template may name them: an email is made without asking anybody."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.css"
        html = f'<style>p{{color:red}}</style><link rel="stylesheet" href="{url}"><p>x</p>'
        assert url in inlined(html)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_lines_stay_where_they_count() -> None:
    """What is in `<pre>` is shown as it is written."""
    text = "<pre>" + "word " * 30 + "</pre>"
    assert text in inlined(f"<style>p{{color:red}}</style>{text}")


def test_who_writes_is_at_the_end_of_every_email() -> None:
    """Postal address, web site and privacy page, in both parts."""
    said = {
        "postal_address": "12 Orchard Road",
        "home_url": "https://www.example.org/",
        "privacy_url": "https://tea.example.org/privacy",
    }
    for part in contents(a_composer(**said).compose(a_message())):
        assert all(words in part for words in said.values())


def test_a_button_of_ones_own_is_in_every_email(tmp_path: Path) -> None:
    """To replace ``parts.html`` is to write these three macros, and no sentence of ours."""
    own = ['button(url, words) %}<b class="own">{{ words }}</b>']
    own += [f"{name}(words) %}}{{{{ words }}}}" for name in ("bdi", "linked")]
    text = "".join(f"{{% macro {one}{{% endmacro %}}" for one in own)
    (tmp_path / "parts.html").write_text(text)
    composer = a_composer(templates_dir=tmp_path)
    for name in ("welcome", "already-signed-up", "manage-link", "address-change"):
        data = {"name": "Ada", "new_address": "new@example.com"}
        _, html = contents(composer.compose(a_message(name, data)))
        assert 'class="own"' in html, name


def test_an_english_html_part_is_sent_as_it_is_written() -> None:
    """Its lines are short enough to need no encoding."""
    _, html = parse(a_composer().compose(a_message())).iter_parts()
    assert html["Content-Transfer-Encoding"] == "7bit"
