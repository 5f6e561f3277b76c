"""The kinds of values that settings may have."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr

from reach.limits.policy import Policy
from reach.urls import DatabaseUrl, RedisUrl, SmtpUrl, parse_mailbox, parse_networks, parse_origin

Seconds = Annotated[float, Field(gt=0, le=10**9, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]


def reads(parse: Callable[[str], object]) -> AfterValidator:
    """Make the check that a text, unless it is empty, is one that ``parse`` can read."""

    def check(value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text:
            parse(text)
        return value

    return AfterValidator(check)


def parts_of(text: str) -> list[str]:
    """Take apart what stands between commas or blanks."""
    return [part for part in re.split(r"[\s,]+", text) if part]


def parse_origins(text: str) -> list[str]:
    """Read several web sites. Raises ValueError."""
    return [parse_origin(part) for part in parts_of(text)]


def parse_policy(text: str) -> Policy:
    """Read what a ``REACH_LIMIT_*`` may be. Raises ValueError."""
    return Policy.parse("", text)


def without_slash(url: str) -> str:
    """Leave the slash at an address's end out."""
    return url.rstrip("/")


Mailbox = Annotated[str, reads(parse_mailbox)]
Limit = Annotated[str, reads(parse_policy)]
DatabasePlace = Annotated[SecretStr, reads(DatabaseUrl.parse)]
SmtpPlace = Annotated[SecretStr, reads(SmtpUrl.parse)]
RedisPlace = Annotated[SecretStr, reads(RedisUrl.parse)]
Networks = Annotated[str, reads(parse_networks)]
Origin = Annotated[str, reads(parse_origin), AfterValidator(without_slash)]
Origins = Annotated[str, reads(parse_origins)]
