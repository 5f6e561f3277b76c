"""What `reach check` prints: the settings that count, and what each check found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import SecretStr

from reach.settings import Settings
from reach.settings.types import PREFIX
from reach.settings.urls import MASK

#: How a line is meant; a terminal shows it as a colour.
Tone = Literal["plain", "good", "bad", "warning"]

WELL, FAILED, MISCONFIGURED = 0, 1, 2

#: What counts where the setting itself is empty, or shows too much.
COMPUTED: dict[str, Callable[[Settings], str]] = {
    "database_url": lambda settings: str(settings.database),
    "database_direct_url": lambda settings: (
        str(settings.direct_database) if settings.database_direct_url.get_secret_value() else ""
    ),
    "redis_url": lambda settings: str(settings.redis or ""),
    "smtp_url": lambda settings: (
        str(settings.smtp or "") if settings.smtp_url.get_secret_value() else ""
    ),
    "smtp_urls": lambda settings: (
        ", ".join(map(str, settings.smtp_servers)) if settings.smtp_urls.get_secret_value() else ""
    ),
    "public_url": lambda settings: settings.origin,
}


class Line(NamedTuple):
    """A line to print, and how it is meant."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``remedy`` is empty if all is well; ``advice`` is for who cares.

    ``is_misconfigured``: no waiting helps, a setting leads nowhere. ``is_well`` is false, with no
    remedy, where it is not known: another finding, or the advice, says why.
    """

    subject: str
    words: str
    remedy: str = ""
    advice: str = ""
    is_misconfigured: bool = False
    is_well: bool = True

    @property
    def exit_code(self) -> int:
        """How `reach check` ends if this is the worst that it finds."""
        if not self.remedy:
            return WELL
        return MISCONFIGURED if self.is_misconfigured else FAILED

    def lines(self) -> list[Line]:
        """Say it as it is printed, the lines below the first one set in."""
        is_good = self.is_well and not self.advice
        tone: Tone = "bad" if self.remedy else "good" if is_good else "warning"
        mark = "!!" if self.remedy else "ok" if self.is_well else "??"
        return [
            Line(_printable(f"{mark} {self.subject}: {self.words}"), tone),
            *(Line(_printable(f"   {line}"), "bad") for line in self.remedy.splitlines()),
            *(Line(_printable(f"   {line}"), "warning") for line in self.advice.splitlines()),
        ]


def _printable(text: str) -> str:
    """Leave out what a terminal would obey: servers and DNS say what they like."""
    return "".join(character if character.isprintable() else "?" for character in text)


def configuration(settings: Settings, *, shows_all: bool = False) -> list[Line]:
    """Each variable that differs from its default, secrets masked; ``*`` marks those that are set.

    ``shows_all``: the others too.
    """
    fields = type(settings).model_fields
    differ = {name for name, field in fields.items() if getattr(settings, name) != field.default}
    if shows_all:
        head = "All settings; * marks those that are set:"
    elif differ:
        head = "Settings that differ from their defaults (--all shows the others, too):"
    else:
        head = "All settings are as by default (--all shows them)."
    lines = [Line(head)]
    for name in sorted(fields if shows_all else differ):
        mark = "*" if name in settings.model_fields_set else " "
        lines.append(Line(f"{mark} {PREFIX}{name.upper()}={_shown(settings, name)}"))
    return lines


def _shown(settings: Settings, name: str) -> str:
    """Show what is used for a setting, its secrets masked; of a URL, its credentials alone."""
    if name in COMPUTED:
        return COMPUTED[name](settings)
    value = getattr(settings, name)
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    return "" if value is None else str(value)
