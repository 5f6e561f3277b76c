"""Brings the catalogues up to date with the source: `make translations`.

Every text that a template or ``N_`` marks is looked for, added to each language's ``reach.po``
(with an empty translation, which a test finds), and compiled into its ``reach.mo``. A template that
cannot be read stops it: by Babel's default all of its texts would be missing, with no word.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

SOURCE = Path(__file__).parent.parent / "src" / "reach"
LOCALES = SOURCE / "languages" / "locales"
METHODS = [
    ("**.py", "python"),
    ("pages/templates/**.html", "jinja2"),
    ("mail/templates/**.html", "jinja2"),
    ("mail/templates/**.txt", "jinja2"),
    ("mail/templates/**.subject", "jinja2"),
]
#: ``silent`` is on by default: a template that cannot be parsed would be passed over.
AS_RENDERED = {
    "silent": "false",
    "trimmed": "true",
    "newstyle_gettext": "true",
    "trim_blocks": "true",
    "lstrip_blocks": "true",
}
KEYWORDS = {
    "N_": None,
    "_": None,
    "gettext": None,
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
}
#: What code asks for by name, and not by a text that could be found there.
BESIDES = (("name of this language in itself", "English"), ("direction of writing", "ltr"))


def languages() -> list[str]:
    """List the languages that Reach has catalogues of."""
    return sorted(folder.name for folder in LOCALES.iterdir() if folder.is_dir())


def extract(source: Path = SOURCE) -> Catalog:
    """Look for every text. Raises what a template that cannot be parsed raises."""
    catalog = Catalog(project="Reach", charset="utf-8")
    options = {pattern: AS_RENDERED for pattern, method in METHODS if method == "jinja2"}
    found = extract_from_dir(source, METHODS, options, KEYWORDS, ("Translators:",))
    for file, _, text, comments, context in found:
        catalog.add(text, None, [(file, 0)], auto_comments=comments, context=context)
    for context, text in BESIDES:
        catalog.add(text, context=context)
    return catalog


def read(language: str) -> Catalog:
    """Read a language's catalogue."""
    with (LOCALES / language / "LC_MESSAGES" / "reach.po").open("rb") as stream:
        return read_po(stream, locale=language, abort_invalid=True)


def compiled(catalog: Catalog) -> bytes:
    """Compile a catalogue; what is marked as fuzzy is left out."""
    stream = io.BytesIO()
    write_mo(stream, catalog)
    return stream.getvalue()


def updated(language: str, texts: Catalog) -> bytes:
    """Write a language's catalogue with all texts of the source, and none besides."""
    catalog = read(language)
    created = catalog.creation_date
    # A guess at a translation by the likeness of texts would be as good as none.
    catalog.update(texts, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.creation_date = created  # else every run would be a change
    stream = io.BytesIO()
    write_po(stream, catalog, width=100, sort_output=True, include_lineno=False)
    return stream.getvalue()


def untranslated(catalog: Catalog) -> Iterator[str]:
    """List the texts of a catalogue that have no translation, or one that is only a guess."""
    for message in catalog:
        said = message.string if isinstance(message.string, (list, tuple)) else [message.string]
        if message.id and (not all(said) or message.fuzzy):
            yield str(message.id)


def main() -> None:
    """Write the catalogues, and say what is to be translated."""
    texts = extract()
    for language in languages():
        folder = LOCALES / language / "LC_MESSAGES"
        (folder / "reach.po").write_bytes(updated(language, texts))
        catalog = read(language)
        (folder / "reach.mo").write_bytes(compiled(catalog))
        missing = list(untranslated(catalog))
        sys.stdout.write(f"{language}: {len(catalog)} texts, {len(missing)} untranslated\n")


if __name__ == "__main__":
    main()
