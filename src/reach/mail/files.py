"""Template files: where they are found."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from jinja2 import BaseLoader, Environment
from jinja2.exceptions import TemplateNotFound

from reach.messages.model import TEMPLATE_NAME
from reach.settings.types import LANGUAGE

BUILT_IN = Path(__file__).parent / "templates"
#: A template is three files: NAME.subject, NAME.txt and NAME.html.
KINDS = ("subject", "txt", "html")
#: In the folder of an operator also NAME.de.html: a language's own. There is no slash, and no dot
#: but these: a file's name leads nowhere else.
FILE = re.compile(
    rf"(?P<name>{TEMPLATE_NAME.pattern})(?:\.(?P<language>{LANGUAGE.pattern}))?"
    rf"\.(?P<kind>{'|'.join(KINDS)})"
)


class Files(BaseLoader):
    """Finds each template file in the operator's folder, else among the built-in ones.

    A file of the language comes before one for all: ``welcome.de.html`` before ``welcome.html``.

    It notices every change in that folder. Jinja's own loaders would not notice a file that
    is added there later, nor one that is written twice within the clock's grain.
    """

    def __init__(self, folder: Path | None, language: str) -> None:
        """Take the operator's folder, if there is one."""
        self._folder = folder
        self._language = language

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool] | None]:
        """Read a file: its text, its path, and whether it is still the one to read."""
        places = list(self._places(template))
        stamps = [_stamp(place) for place in places]
        path = Path(next((p for p, stamp in zip(places, stamps, strict=True) if stamp), ""))
        if not path.name:
            raise TemplateNotFound(template)
        own = places[:-1]
        up_to_date = (lambda: [_stamp(place) for place in own] == stamps[:-1]) if own else None
        return path.read_text(encoding="utf-8"), str(path), up_to_date

    def list_templates(self) -> list[str]:
        """Name all files that ``get_source`` would read."""
        folders = filter(None, (self._folder, BUILT_IN))
        matches = (FILE.fullmatch(path.name) for folder in folders for path in folder.iterdir())
        return sorted(
            {
                f"{found['name']}.{found['kind']}"
                for found in matches
                if found and found["language"] in (None, self._language)
            }
        )

    def _places(self, template: str) -> Iterator[str]:
        """Say where a file may be, the first that is there counts; the last is the built-in one."""
        found = FILE.fullmatch(template)
        if not found:
            return
        if self._folder:
            if not found["language"]:
                own = f"{found['name']}.{self._language}.{found['kind']}"
                yield str(self._folder / own)
            yield str(self._folder / template)
        yield str(BUILT_IN / template)


def _stamp(path: str) -> tuple[int, int, int] | None:
    """What tells one state of a file from another; None if it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path would take as long again
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
