"""The settings that count, with nothing secret in them."""

from collections.abc import Callable

from pydantic import SecretStr

from reach.checks.finding import Line
from reach.settings import Settings
from reach.settings.server_urls import MASK
from reach.settings.sources import PREFIX

#: What counts where the setting itself is empty, or shows too much.
EFFECTIVE: dict[str, Callable[[Settings], str]] = {
    "database_url": lambda settings: str(settings.database),
    "database_direct_url": lambda settings: (
        str(settings.direct_database) if settings.database_direct_url.get_secret_value() else ""
    ),
    "redis_url": lambda settings: str(settings.redis or ""),
    "smtp_url": lambda settings: str(settings.smtp or ""),
    "public_url": lambda settings: settings.origin,
}


def configuration(settings: Settings, *, shows_all: bool = False) -> list[Line]:
    """Each variable that differs from its default, secrets masked; ``*`` marks those that are set.

    ``shows_all``: the others too.
    """
    fields = type(settings).model_fields
    differ = {name for name, field in fields.items() if getattr(settings, name) != field.default}
    names = sorted(fields if shows_all else differ)
    if shows_all:
        head = "All settings; * marks those that are set:"
    elif differ:
        head = "Settings that differ from their defaults (--all shows the others, too):"
    else:
        head = "All settings are as by default (--all shows them)."
    lines = [Line(head)]
    for name in names:
        mark = "*" if name in settings.model_fields_set else " "
        lines.append(Line(f"{mark} {PREFIX}{name.upper()}={shown(settings, name)}"))
    return lines


def shown(settings: Settings, name: str) -> str:
    """What is used for a setting, what is secret in it masked; of a URL, its credentials alone."""
    if name in EFFECTIVE:
        return EFFECTIVE[name](settings)
    value = getattr(settings, name)
    if not isinstance(value, SecretStr):
        return "" if value is None else str(value)
    if not value.get_secret_value():
        return ""
    return MASK
