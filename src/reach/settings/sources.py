"""The variables that settings are read from, and the files that they may name."""

import os
from pathlib import Path
from typing import Any

from pydantic_settings import PydanticBaseSettingsSource

PREFIX = "REACH_"
#: Whose user and password have variables of their own, such as ``REACH_SMTP_PASSWORD``.
SERVERS = ("database", "smtp", "redis")
SECRETS = (
    *(f"{server}_{part}" for server in SERVERS for part in ("url", "user", "password")),
    "database_direct_url",
    "secret_key",
    "dkim_private_key",
)


class BadSettings(Exception):
    """The configuration cannot be used; ``args[0]`` names each variable and its remedy."""


class SecretFiles(PydanticBaseSettingsSource):
    """``REACH_X_FILE``: the value of a secret X is the file's text, less its last line end."""

    def get_field_value(self, field: object, field_name: str) -> tuple[Any, str, bool]:
        """Read one field's file. Raises BadSettings if it cannot be read or X is set too."""
        variable = f"{PREFIX}{field_name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if field_name not in SECRETS or not path:
            return None, field_name, False
        if os.environ.get(variable):
            raise BadSettings(f"{variable} and {variable}_FILE are both set: keep one")
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise BadSettings(f"{variable}_FILE cannot be read: {error}") from None

    def __call__(self) -> dict[str, Any]:
        """All fields that have a file."""
        found = {name: self.get_field_value(None, name)[0] for name in SECRETS}
        return {name: value for name, value in found.items() if value is not None}
