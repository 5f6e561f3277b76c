"""The catalogues: which language is chosen, and whose words."""

from collections.abc import Callable
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from reach.languages.catalogues import Catalogues
from reach.languages.dates import long_date
from reach.settings import BadSettings, Settings

Make = Callable[..., Settings]

OWN = """
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"

msgid "Sign up"
msgstr "{words}"
"""


def write(folder: Path, language: str, text: str) -> Path:
    """Write a catalogue of the operator's."""
    file = folder / language / "LC_MESSAGES" / "reach.po"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("DE-ch", "de"),
        ("en;q=0.3, fr;q=0.9", "fr"),
        ("nl, es;q=0.1", "es"),
        ("nl, *;q=0.1", "en"),
        ("fr;q=0, de;q=0.1", "de"),
        ("fr;q=junk, de", "de"),
        ("nl", None),
        ("", None),
        (";;q=,,", None),
        ("x" * 499 + ",de", None),
    ],
)
def test_the_preferred_language_is_chosen(
    make_settings: Make, accepted: str, chosen: str | None
) -> None:
    """By weight, a region as its language; what cannot be read chooses none."""
    assert Catalogues(make_settings()).preferred(accepted) == chosen


def test_a_code_of_any_length_is_read_at_once(make_settings: Make) -> None:
    """It may stand in an address: no more is looked at than a code can have."""
    catalogues = Catalogues(make_settings())
    assert catalogues.known("-" * 30_000) is None
    assert catalogues.known("de" + "-x" * 15_000) == "de"
    assert catalogues.preferred("a," * 19 + "de") == "de"
    assert catalogues.preferred("a," * 20 + "de") is None


@pytest.mark.parametrize(
    ("source", "said", "fault"),
    [
        ("Sign up to %(brand_name)s", "Bei %(brand)s anmelden", "has a value that is not there"),
        ("Sign up to %(brand_name)s", "Bei %(brand_name)s, 100% gut", "has a single %"),
    ],
)
def test_a_translation_that_cannot_be_filled_in_is_refused(
    make_settings: Make, tmp_path: Path, source: str, said: str, fault: str
) -> None:
    """At the start: else each page with that text would be a 500."""
    text = OWN.format(words="x") + f'\nmsgid "{source}"\nmsgstr "{said}"\n'
    folder = write(tmp_path / "own", "de", text)
    with pytest.raises(BadSettings, match=fault):
        Catalogues(make_settings(catalogues_dir=folder))


def test_the_first_language_is_the_default(make_settings: Make) -> None:
    """For who prefers none of ours."""
    catalogues = Catalogues(make_settings(languages="fr, en"))
    assert (catalogues.default, catalogues.preferred("*")) == ("fr", "fr")
    assert catalogues.of(None).gettext("Sign up") == catalogues.of("fr").gettext("Sign up")
    assert catalogues.of("en").gettext("Sign up") == "Sign up"


def test_ones_own_catalogue_counts_before_ours(make_settings: Make, tmp_path: Path) -> None:
    """Text by text: what it lacks is as it was. It can be one of a language that we lack."""
    folder = write(tmp_path / "own", "de", OWN.format(words="Mitmachen"))
    write(folder, "pt_BR", OWN.format(words="Participar"))
    ours = Catalogues(make_settings())
    own = Catalogues(make_settings(catalogues_dir=folder, languages="en, de, pt-BR"))
    assert own.of("de").gettext("Sign up") == "Mitmachen" != ours.of("de").gettext("Sign up")
    assert own.of("de").gettext("Your name") == ours.of("de").gettext("Your name")
    assert own.of("pt-br").gettext("Sign up") == "Participar"
    assert own.of("pt-BR").gettext("Your name") == "Your name"


def test_what_people_edit_counts_before_what_it_became(make_settings: Make, tmp_path: Path) -> None:
    """Both files may lie there; without the one the other counts."""
    folder = write(tmp_path / "own", "de", OWN.format(words="Edited"))
    text = folder / "de" / "LC_MESSAGES" / "reach.po"
    catalogue = Catalog(locale="de")
    catalogue.add("Sign up", "Compiled")
    with text.with_suffix(".mo").open("wb") as stream:
        write_mo(stream, catalogue)
    settings = make_settings(catalogues_dir=folder)
    assert Catalogues(settings).of("de").gettext("Sign up") == "Edited"
    text.unlink()
    assert Catalogues(settings).of("de").gettext("Sign up") == "Compiled"


def test_a_language_without_a_catalogue_is_refused(make_settings: Make, tmp_path: Path) -> None:
    """At the start, by name: nobody is to find out by an English page."""
    with pytest.raises(BadSettings, match="REACH_LANGUAGES: there is no catalogue for nl"):
        Catalogues(make_settings(languages="en, nl"))
    with pytest.raises(BadSettings, match="REACH_CATALOGUES_DIR: there is no such folder"):
        Catalogues(make_settings(catalogues_dir=tmp_path / "nowhere"))


@pytest.mark.parametrize("language", ["crh", "lad", "en-XX", "abc-12345678"])
def test_a_language_that_babel_does_not_know_has_dates(language: str) -> None:
    """A maker can add any; each page with a date would be a 500."""
    assert long_date("2026-03-04T05:06:07+00:00", language) == "2026-03-04"
    known = {code: long_date("2026-03-04T05:06:07+00:00", code) for code in ("en", "de")}
    assert known == {"en": "4 March 2026", "de": "4. März 2026"}


PLURAL = 'msgid ""\nmsgstr ""\n"Plural-Forms: nplurals=2; plural={};\\n"'


@pytest.mark.parametrize(
    "text",
    [
        "msgid broken",
        "no catalogue",
        OWN.format(words="x").replace("utf-8", "utf-9"),
        PLURAL.format("EXPRESSION"),
        PLURAL.format("(n =! 1)"),
    ],
)
def test_a_catalogue_that_cannot_be_read_is_refused(
    make_settings: Make, tmp_path: Path, text: str
) -> None:
    """At the start, with the file's name."""
    folder = write(tmp_path / "own", "de", text)
    with pytest.raises(BadSettings, match=r"reach\.po cannot be read as a catalogue"):
        Catalogues(make_settings(catalogues_dir=folder))


@pytest.mark.parametrize("text", ["de;fr", "german", "en, EN", "e", "de-" + "x" * 9])
def test_codes_of_languages_are_checked(make_settings: Make, text: str) -> None:
    """What is none is said."""
    with pytest.raises(ValueError, match="languages"):
        make_settings(languages=text)
