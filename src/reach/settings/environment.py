"""The settings, read from flags and the environment."""

import os
from collections.abc import Mapping

from pydantic import ValidationError

from reach.settings.model import Settings
from reach.settings.types import PREFIX, SECRETS, BadSettings


def load(flags: Mapping[str, object] | None = None) -> Settings:
    """Read the settings; ``flags`` (those that are not None) beat the environment.

    Raises BadSettings with a line for each variable that is wrong; no value is repeated.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        lines = []
        for fault in error.errors(include_input=False, include_url=False, include_context=False):
            where = f"{PREFIX}{str(fault['loc'][0]).upper()}: " if fault["loc"] else ""
            lines.append(where + fault["msg"].removeprefix("Value error, "))
        raise BadSettings("\n".join(lines)) from None


#: What clients/python reads, on a machine that may have both.
OF_THE_CLIENT = ("REACH_API_KEY", "REACH_API_URL")


def unknown_variables() -> list[str]:
    """``REACH_*`` variables that no setting reads: a misspelling, most likely."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {*(f"{PREFIX}{name.upper()}_FILE" for name in SECRETS), *OF_THE_CLIENT}
    return sorted(v for v in os.environ if v.startswith(PREFIX) and v not in known)
