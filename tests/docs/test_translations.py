"""The catalogues have every text that pages and emails show, translated and compiled."""

import re
from pathlib import Path

import pytest
from jinja2 import TemplateSyntaxError

from docs.translations import LOCALES, compiled, extract, languages, read, untranslated, updated

#: What must be in a translation as it is in the source: values, markup.
KEPT = re.compile(r"%\(\w+\)[sd]|</?[a-z][^>]*>")


def each(texts: object) -> list[str]:
    """List a text, or the forms of one with a number in it."""
    return list(texts) if isinstance(texts, (list, tuple)) else [str(texts)]


def kept_in(text: str) -> list[str]:
    """List the values and the markup of a text."""
    return sorted(KEPT.findall(text))


@pytest.mark.parametrize("language", languages())
def test_every_text_is_translated(language: str) -> None:
    """None is empty, or a guess; the values and the markup in each are those of the source."""
    catalog = read(language)
    assert len(catalog) > 100
    assert list(untranslated(catalog)) == []
    for message in catalog:
        if not message.id:
            continue
        one, many = each(message.id)[0], each(message.id)[-1]
        for text in each(message.string):
            assert kept_in(text) in (kept_in(one), kept_in(many)), text


@pytest.mark.parametrize("language", languages())
def test_catalogues_are_those_of_the_source(language: str) -> None:
    """`make translations` would change nothing."""
    folder = LOCALES / language / "LC_MESSAGES"
    assert updated(language, extract()) == (folder / "reach.po").read_bytes()
    assert compiled(read(language)) == (folder / "reach.mo").read_bytes()


def test_a_template_that_cannot_be_parsed_stops_it(tmp_path: Path) -> None:
    """By Babel's default all of its texts would be missing, with no word."""
    pages = tmp_path / "pages" / "templates"
    pages.mkdir(parents=True)
    (pages / "page.html").write_text("{{ _('Here') }} {% nonsense %}")
    with pytest.raises(TemplateSyntaxError, match="nonsense"):
        extract(tmp_path)
    (pages / "page.html").write_text("{{ _('Here') }}")
    assert "Here" in extract(tmp_path)
