"""Catalogues: what pages and emails say in another language than English.

The texts in the source are English, and are the keys (``msgid``). A language is a file of gettext,
``<language>/LC_MESSAGES/reach.mo`` or ``.po``: ours in ``locales/``, or the operator's own, which
is asked first, text by text.
"""

import gettext
import re
import struct
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path

from reach.settings import BadSettings, Settings
from reach.shapes import weight_of

DOMAIN = "reach"
#: Where a value goes into a text.
VALUE = re.compile(r"%\(\w+\)[sd]")
BUILT_IN = Path(__file__).parent / "locales"
#: What the source is written in: it needs no catalogue.
SOURCE = "en"
#: How much of an ``Accept-Language`` is read: a browser's has a tenth of it.
MOST_CHARACTERS, MOST_RANGES = 500, 20
#: BCP 47 knows no longer one.
LONGEST_CODE = 35


class Catalogues:
    """The languages of pages and emails, the first of which is the default."""

    def __init__(self, settings: Settings) -> None:
        """Take the languages of the settings. Raises BadSettings for one without a catalogue."""
        self.languages = tuple(settings.language_codes)
        self._folder = settings.catalogues_dir
        if self._folder and not self._folder.is_dir():
            raise BadSettings("REACH_CATALOGUES_DIR: there is no such folder")
        for language in self.languages:
            if language != SOURCE and not any(self._files(language)):
                raise BadSettings(f"REACH_LANGUAGES: there is no catalogue for {language}")
        self._found: dict[str, gettext.NullTranslations] = {}
        self._codes = {language.lower(): language for language in self.languages}
        if self._folder:  # which may hold anything: better at the start than on a page
            for language in self.languages:
                self.of(language)

    @cached_property
    def default(self) -> str:
        """The language of those whose own is not known, or not there."""
        return self.languages[0]

    def of(self, language: str | None) -> gettext.NullTranslations:
        """Give what translates into a language; into the default if there is no such one."""
        code = self.known(language) or self.default
        found = self._found.get(code)
        if found is None:
            found = self._found[code] = self._read(code)
        return found

    def known(self, language: str | None) -> str | None:
        """Find a language by its code, in any case, or by that of a region of it: de-AT is de."""
        code = (language or "")[:LONGEST_CODE].lower().replace("_", "-")
        while code:
            if code in self._codes:
                return self._codes[code]
            code = code.rpartition("-")[0]
        return None

    def preferred(self, accept_language: str) -> str | None:
        """Choose the language that ``Accept-Language`` prefers; None if none of ours is in it."""
        for wanted in _by_preference(accept_language[:MOST_CHARACTERS]):
            if found := self.known(wanted):
                return found
            if wanted == "*":
                return self.default
        return None

    def _files(self, language: str) -> list[Path]:
        """List the files of a language, the operator's own first."""
        own = [_own_file(self._folder, language)] if self._folder else []
        return [*filter(None, own), *filter(Path.is_file, [_file(BUILT_IN, language, "mo")])]

    def _read(self, language: str) -> gettext.NullTranslations:
        found = gettext.NullTranslations()
        for file in reversed(self._files(language)):
            is_ours = file.is_relative_to(BUILT_IN)
            above = _read_built_in(file) if is_ours else _read_own(file)
            above.add_fallback(found)
            found = above
        return found


def _file(folder: Path, language: str, kind: str) -> Path:
    return folder / language.replace("-", "_") / "LC_MESSAGES" / f"{DOMAIN}.{kind}"


def _own_file(folder: Path, language: str) -> Path | None:
    """Find the operator's catalogue; what people edit (``.po``) counts before what it became."""
    files = (_file(folder, language, kind) for kind in ("po", "mo"))
    return next(filter(Path.is_file, files), None)


def _read_built_in(file: Path) -> gettext.NullTranslations:
    with file.open("rb") as stream:
        return gettext.GNUTranslations(stream)


def _read_own(file: Path) -> gettext.NullTranslations:
    """Read a catalogue of the operator's, and look at each text: a page may need it only later."""
    # Only who has a catalogue of their own needs these, and they take 8 MB.
    from babel.messages.mofile import read_mo, write_mo  # noqa: PLC0415
    from babel.messages.pofile import PoFileError, read_po  # noqa: PLC0415

    try:
        with file.open("rb") as stream:
            is_text = file.suffix == ".po"
            catalogue = read_po(stream, abort_invalid=True) if is_text else read_mo(stream)
        compiled = BytesIO()
        write_mo(compiled, catalogue)
        compiled.seek(0)
        found = gettext.GNUTranslations(compiled)
    except (OSError, ValueError, LookupError, struct.error, PoFileError) as error:
        raise BadSettings(f"{file} cannot be read as a catalogue: {error}") from None
    for message in catalogue:
        if message.id and (fault := _fault(message.id, message.string)):
            raise BadSettings(f"{file}: the translation of {_first(message.id)!r} {fault}")
    return found


def _first(texts: str | list[str] | tuple[str, ...]) -> str:
    return texts if isinstance(texts, str) else texts[0]


def _fault(source: str | list[str] | tuple[str, ...], said: object) -> str | None:
    """Say what is wrong with a translation: values that its source has not, or a percent sign."""
    sources = [source] if isinstance(source, str) else list(source)
    known = {name for text in sources for name in VALUE.findall(text)}
    for text in said if isinstance(said, (list, tuple)) else [said]:
        if unknown := set(VALUE.findall(str(text or ""))) - known:
            return f"has a value that is not there: {', '.join(sorted(unknown))}"
        if known and "%" in VALUE.sub("", str(text or "")).replace("%%", ""):
            return "has a single %: write %%"
    return None


@lru_cache(256)
def _by_preference(accept_language: str) -> tuple[str, ...]:
    """List the languages of an ``Accept-Language`` (RFC 9110 §12.5.4), the most wanted first."""
    weighed: list[tuple[float, int, str]] = []
    for part in accept_language.split(",", MOST_RANGES)[:MOST_RANGES]:
        code, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = weight_of(parameters)
        if code and weight > 0:
            weighed.append((-weight, len(weighed), code))
    return tuple(code for _, _, code in sorted(weighed))
