"""An email is in the language of the person that it goes to."""

from dataclasses import replace
from gettext import GNUTranslations
from pathlib import Path
from typing import Any

import pytest

from reach.languages.catalogues import Catalogues
from reach.mail.compose import Composer
from reach.mail.linking import lasts
from reach.messages.model import Message
from tests.support.clock import eventually
from tests.support.messages import a_composer, a_message, contents, parse, usual_settings
from tests.support.people import add, operator
from tests.support.processes.reach import ADA, Reach, running_worker
from tests.support.servers.mail import MailServer

#: Of a language of nobody's, so that no catalogue of ours has a say.
CATALOGUE = r"""
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"

msgid "Welcome to %(brand_name)s, %(name)s"
msgstr "Saluton, %(name)s, ĉe %(brand_name)s"

msgid "Welcome, %(name)s"
msgstr "Bonvenon, %(name)s"

msgid "Confirm my address"
msgstr "Jes, <tio> estas mi"

msgid "%(num)s day"
msgid_plural "%(num)s days"
msgstr[0] "%(num)s tago"
msgstr[1] "%(num)s tagoj"

msgid "Note"
msgstr "Noto"
"""


@pytest.fixture
def composer(tmp_path: Path) -> Composer:
    """Give a composer for English and Esperanto, with a folder of templates."""
    (tmp_path / "eo" / "LC_MESSAGES").mkdir(parents=True)
    (tmp_path / "eo" / "LC_MESSAGES" / "reach.po").write_text(CATALOGUE, encoding="utf-8")
    return a_composer(languages="en, eo", catalogues_dir=tmp_path, templates_dir=tmp_path)


def speaking(language: str | None, template: str = "welcome", data: Any = None) -> Message:
    """Make a message to somebody of this language."""
    return replace(a_message(template, data), language=language)


@pytest.mark.parametrize(
    ("language", "code"),
    [("eo", "eo"), ("EO-xx", "eo"), ("en", "en"), (None, "en"), ("nl", "en"), ("<b>", "en")],
)
def test_an_email_is_in_the_persons_language(
    composer: Composer, language: str | None, code: str
) -> None:
    """Of a language that is not known, or not there, it is in the first one; it says which."""
    mail = composer.compose(speaking(language, data={"name": "<Zoë>"}))
    read = parse(mail)
    text, html = contents(mail)
    assert read["Content-Language"] == code
    assert f'<html lang="{code}" dir="ltr"' in html
    if code == "eo":
        assert read["Subject"] == "Saluton, <Zoë>, ĉe Reach"
        assert text.startswith("Bonvenon, <Zoë>\n")
        assert "7 tagoj" in text
        assert "Bonvenon, <bdi>&lt;Zoë&gt;</bdi>" in html
    else:
        assert read["Subject"] == "Welcome to Reach, <Zoë>"
        assert "7 days" in text


def test_one_message_in_one_language_is_always_the_same(composer: Composer) -> None:
    """Byte by byte, whatever was composed before; in another language it is another."""
    first = composer.compose(speaking("eo"))
    assert composer.compose(speaking("en")) != first
    assert composer.compose(speaking("eo")) == first


def test_fields_have_their_names_in_the_language(composer: Composer) -> None:
    """One that Reach does not know is named as it is."""
    message = speaking("eo", "changed", {"fields": ["description", "<shoe>"]})
    text, html = contents(composer.compose(message))
    assert "\n- Noto\n- <shoe>\n" in text
    assert "<li>Noto</li>\n<li>&lt;shoe&gt;</li>" in html


@pytest.mark.parametrize("kind", ["subject", "txt", "html"])
def test_a_file_of_the_language_comes_first(composer: Composer, tmp_path: Path, kind: str) -> None:
    """File by file; it is noticed when it comes, changes and goes."""

    def found(language: str) -> str:
        mail = composer.compose(speaking(language))
        text, html = contents(mail)
        return {"subject": str(parse(mail)["Subject"]), "txt": text, "html": html}[kind].strip()

    built_in = {language: found(language) for language in ("en", "eo")}
    (tmp_path / f"welcome.eo.{kind}").write_text("Ĉiuj, {{ name }}", encoding="utf-8")
    assert (found("en"), found("eo")) == (built_in["en"], "Ĉiuj, Ada")
    (tmp_path / f"welcome.{kind}").write_text("All, {{ name }}")
    assert (found("en"), found("eo")) == ("All, Ada", "Ĉiuj, Ada")
    (tmp_path / f"welcome.eo.{kind}").unlink()
    assert (found("en"), found("eo")) == ("All, Ada", "All, Ada")
    (tmp_path / f"welcome.{kind}").unlink()
    assert {language: found(language) for language in ("en", "eo")} == built_in


def test_a_layout_of_the_language_is_around_every_email(composer: Composer, tmp_path: Path) -> None:
    """What is extended or imported is found in the same way."""
    (tmp_path / "layout.eo.html").write_text("eo: {% block heading %}{% endblock %}")
    assert contents(composer.compose(speaking("eo")))[1] == "eo: Bonvenon, <bdi>Ada</bdi>\n"
    assert "eo: " not in contents(composer.compose(speaking("en")))[1]


def test_ones_own_templates_can_be_translated(composer: Composer, tmp_path: Path) -> None:
    """By the same catalogue, or by files."""
    for kind in ("subject", "txt", "html"):
        (tmp_path / f"own.{kind}").write_text('{{ _("Note") }} {{ language }}')
    text, html = contents(composer.compose(speaking("eo", "own", {})))
    assert (text, html) == ("Noto eo\n", "Noto eo\n")


def test_data_of_a_message_stand_for_nothing_of_ours(composer: Composer) -> None:
    """Who sends a message of theirs cannot change what is the same in all."""
    names = [
        *("brand", "brand_name", "language", "direction", "link_lasts", "public_url"),
        *("translations", "gettext", "ngettext", "pgettext", "_", "link", "recipient"),
    ]
    plain = composer.compose(speaking("eo", "changed", {"fields": ["name"]}))
    data = {"fields": ["name"], **dict.fromkeys(names, "evil")}
    assert composer.compose(speaking("eo", "changed", data)) == plain


@pytest.mark.parametrize("language", ["de", "fr", "es"])
def test_a_number_has_its_own_word(language: str) -> None:
    """How long links work is said with the number's form, from the catalogue."""
    said = Catalogues(usual_settings()).of(language)
    assert isinstance(said, GNUTranslations)
    assert lasts(2 * 86_400, said).startswith("2 ")


@pytest.mark.parametrize(("languages", "header"), [("en, de", "de"), ("fr, en", "fr")])
async def test_from_the_form_to_the_inbox(
    reach: Reach, mail_server: MailServer, languages: str, header: str
) -> None:
    """A worker of another process knows the language by the person; the default, else."""
    await reach.http.post("/v1/signups", json=ADA, headers={"Accept-Language": "de"})
    async with running_worker(reach.settings.model_copy(update={"languages": languages})):
        await eventually(lambda: len(mail_server.recipients) == 1)
        http = await operator(reach)
        assert (await add(http, email="grace@example.com")).status_code == 201
        await eventually(lambda: len(mail_server.recipients) == 2)
    said = [mail.headers["Content-Language"] for mail in mail_server.messages]
    assert said == [header, languages.partition(",")[0]]
