"""The settings that count, with nothing secret in them."""

from collections.abc import Callable

from pydantic import SecretStr

from reach.server_urls import MASK
from reach.settings import Settings
from reach.variables import PREFIX

#: What counts where the setting itself is empty, or shows too much.
EFFECTIVE: dict[str, Callable[[Settings], str]] = {
    "database_url": lambda settings: str(settings.database),
    "redis_url": lambda settings: str(settings.redis or ""),
    "smtp_url": lambda settings: str(settings.smtp or ""),
    "public_url": lambda settings: settings.origin,
}


def configuration(settings: Settings) -> list[str]:
    """Each variable with its value, secrets masked; ``*`` marks those that are set."""
    lines = []
    for name in sorted(type(settings).model_fields):
        mark = "*" if name in settings.model_fields_set else " "
        lines.append(f"{mark} {PREFIX}{name.upper()}={shown(settings, name)}")
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
