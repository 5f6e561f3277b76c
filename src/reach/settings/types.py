"""The kinds of values that settings may have, and the sources that they are read from."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import PydanticBaseSettingsSource

from reach.network.hosts import LAST_PORT, Domains
from reach.settings.bounces import parse_made_up, parse_topics, parse_webhook_secrets
from reach.settings.brand import parse_color
from reach.settings.database_url import DatabaseUrl
from reach.settings.inbound import Bind, ImapUrl
from reach.settings.oidc import parse_grants, parse_issuer, parse_scopes
from reach.settings.rates import DomainRates
from reach.settings.smtp import parse_address, parse_headers, parse_smtp_urls, parse_token_url
from reach.settings.urls import (
    RedisUrl,
    SmtpUrl,
    parse_mailbox,
    parse_networks,
    parse_origin,
    parse_public_url,
    parse_return_path,
    parse_web_address,
)
from reach.settings.webhooks import Allowed

PREFIX = "REACH_"
#: Whose user and password have variables of their own, such as ``REACH_SMTP_PASSWORD``.
SERVERS = ("database", "smtp", "redis", "bounce_mailbox")
SECRETS = (
    *(f"{server}_{part}" for server in SERVERS for part in ("url", "user", "password")),
    "smtp_urls",
    "smtp_oauth_client_secret",
    "smtp_oauth_refresh_token",
    "database_direct_url",
    "secret_key",
    "dkim_private_key",
    "oidc_client_secret",
    "bounces_postmark_secret",
    "bounces_mailgun_key",
    "bounces_resend_secret",
    "bounces_generic_secret",
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


OFF = "off"
MOST_WINDOWS = 5
LONGEST_SECONDS = 366 * 24 * 3600
MOST_QUOTA = 10_000_000
#: What windows are counted in, in seconds.
UNITS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 24 * 3600,
    "month": 30 * 24 * 3600,
    "year": 360 * 24 * 3600,
}
#: ``10/minute``, ``10 per 2 hours``. The library ``limits`` reads the same, and takes as long to
#: import as all the settings.
WINDOW = re.compile(r"\s*([0-9]+)\s*(?:/|[Pp][Ee][Rr])\s*([1-9][0-9]*)?\s*([A-Za-z]+)\s*")


@dataclass(frozen=True, slots=True)
class Window:
    """At most ``quota`` in any ``seconds``; ``name`` is what the answer's headers call it."""

    name: str
    quota: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Read ``10/minute`` or ``10 per 2 hours``. Raises ValueError."""
        found = WINDOW.fullmatch(text)
        quota, times, unit = found.groups() if found else ("", "", "")
        unit = unit.lower()
        unit = unit if unit in UNITS else unit.removesuffix("s")
        if unit not in UNITS:
            raise ValueError("must be like 10/minute")
        count = int(times or 1)
        name = unit if count == 1 else f"{count}-{unit}s"
        return cls(name, int(quota), count * UNITS[unit])


@dataclass(frozen=True, slots=True)
class Policy:
    """Several windows, none of which may be exceeded; the shortest first. None at all: off."""

    name: str
    windows: tuple[Window, ...]

    @classmethod
    def parse(cls, name: str, text: str) -> "Policy":
        """Read ``10/minute;100/hour``, or ``off``. Raises ValueError."""
        if text.strip().lower() == OFF:
            return cls(name, ())
        try:
            found = [Window.parse(part) for part in re.split("[,;|]", text)]
        except ValueError:
            raise ValueError('must be like 10/minute;100/hour, or "off"') from None
        windows = tuple(sorted(found, key=lambda window: (window.seconds, window.quota)))
        if len({window.seconds for window in windows}) < len(windows):
            raise ValueError("names one window twice")
        if len(windows) > MOST_WINDOWS:
            raise ValueError(f"has more than {MOST_WINDOWS} windows")
        if any(not 1 <= w.quota <= MOST_QUOTA or not w.seconds for w in windows):
            raise ValueError(f'may allow 1 to {MOST_QUOTA} in a window ("off" lifts it)')
        if windows[-1].seconds > LONGEST_SECONDS:
            raise ValueError("has a window of more than a year")
        return cls(name, windows)

    @property
    def is_off(self) -> bool:
        """Whether anything goes."""
        return not self.windows


Seconds = Annotated[float, Field(gt=0, le=10**9, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
DOMAIN_CHARACTERS = 253
#: Names as DNS has them for mail: letters, digits and hyphens, with dots between.
DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.(?!$)|$))+", re.IGNORECASE)
#: An address with a port, or in brackets: ``9.9.9.9:53``, ``[2620:fe::fe]:53``, ``[2620:fe::fe]``.
NAME_SERVER = re.compile(
    r"\[(?P<six>[^\]]+)\](?::(?P<port6>\d{1,5}))?|(?P<four>[\d.]+):(?P<port4>\d{1,5})"
)
DNS_PORT = 53
#: Who hears of sign-ups; each gets an email of their own.
MOST_ADDRESSES = 10


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


def parse_addresses(text: str) -> list[str]:
    """Read several addresses, each once. Raises ValueError."""
    parts = list(dict.fromkeys(parts_of(text)))
    if any(parse_mailbox(part).addr_spec != part for part in parts):
        raise ValueError("must be addresses without names, like maker@example.org")
    if len(parts) > MOST_ADDRESSES:
        raise ValueError(f"may name {MOST_ADDRESSES} addresses at most")
    return parts


def parse_domain(text: str) -> str:
    """Read the name of a domain, in lower case. Raises ValueError."""
    if len(text) > DOMAIN_CHARACTERS or not DOMAIN.fullmatch(text):
        raise ValueError("must be letters, digits and hyphens with dots between, like example.org")
    return text.lower()


def parse_name_servers(text: str) -> list[tuple[str, int]]:
    """Read several servers: their addresses and ports. Raises ValueError."""
    return [_name_server(part) for part in parts_of(text)]


def _name_server(text: str) -> tuple[str, int]:
    found = NAME_SERVER.fullmatch(text)
    address = (found["six"] or found["four"]) if found else text
    port = int((found["port6"] or found["port4"] or DNS_PORT) if found else DNS_PORT)
    try:
        ip_address(address)
    except ValueError:
        port = 0
    if not 0 < port <= LAST_PORT:
        raise ValueError("must be addresses, like 9.9.9.9, [2620:fe::fe]:53")
    return address, port


def parse_postgres(text: str) -> DatabaseUrl:
    """Read the URL of a Postgres. Raises ValueError."""
    if text.startswith("sqlite:"):
        raise ValueError("must start with postgresql://: a SQLite file has no pooler")
    return DatabaseUrl.parse(text)


#: A language as BCP 47 writes it: ``de``, ``pt-BR``.
LANGUAGE, LANGUAGE_CHARACTERS = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,2}"), 21


def parse_languages(text: str) -> list[str]:
    """Read the codes of several languages. Raises ValueError."""
    codes = parts_of(text)
    if not codes or not all(map(LANGUAGE.fullmatch, codes)):
        raise ValueError("must be codes of languages, like en, de, pt-BR")
    if len({code.lower() for code in codes}) < len(codes):
        raise ValueError("names one language twice")
    return codes


def parse_web_addresses(text: str) -> list[str]:
    """Read the whole addresses of several pages. Raises ValueError."""
    return [parse_web_address(part) for part in parts_of(text)]


#: A template's name, and those of the emails that somebody asked for, or that tell them what became
#: of their record: Reach's own, every one of them.
TEMPLATE, TEMPLATE_CHARACTERS = re.compile(r"[a-z][a-z0-9-]*"), 63
OWED = (
    *("welcome", "already-signed-up", "changed", "manage-link", "notice"),
    *("confirm-address", "address-change", "address-changed", "webhook-disabled"),
)


def parse_stoppable(text: str) -> list[str]:
    """Read the names of templates that people may unsubscribe from. Raises ValueError."""
    names = list(dict.fromkeys(parts_of(text)))
    if any(len(name) > TEMPLATE_CHARACTERS or not TEMPLATE.fullmatch(name) for name in names):
        raise ValueError("must be names of templates, like news, offers")
    if owed := [name for name in names if name in OWED]:
        raise ValueError(
            f"must not name {', '.join(owed)}: people asked for these emails, or are owed them, "
            "and cannot unsubscribe from them. Name templates of your own"
        )
    return names


def without_slash(url: str) -> str:
    """Leave the slash at an address's end out."""
    return url.rstrip("/")


Addresses = Annotated[str, reads(parse_addresses)]
Mailbox = Annotated[str, reads(parse_mailbox)]
ReturnPath = Annotated[str, reads(parse_return_path)]
Limit = Annotated[str, reads(parse_policy)]
DatabasePlace = Annotated[SecretStr, reads(DatabaseUrl.parse)]
PostgresPlace = Annotated[SecretStr, reads(parse_postgres)]
SmtpPlace = Annotated[SecretStr, reads(SmtpUrl.parse)]
SmtpPlaces = Annotated[SecretStr, reads(parse_smtp_urls)]
Address = Annotated[str, reads(parse_address)]
Headers = Annotated[str, reads(parse_headers)]
TokenUrl = Annotated[str, reads(parse_token_url)]
Rates = Annotated[str, reads(DomainRates.parse)]
RedisPlace = Annotated[SecretStr, reads(RedisUrl.parse)]
ImapPlace = Annotated[SecretStr, reads(ImapUrl.parse)]
BindPlace = Annotated[str, reads(Bind.parse)]
Networks = Annotated[str, reads(parse_networks)]
PublicUrl = Annotated[str, reads(parse_public_url), AfterValidator(without_slash)]
Origins = Annotated[str, reads(parse_origins)]
Domain = Annotated[str, reads(parse_domain), AfterValidator(str.lower)]
DomainNames = Annotated[str, reads(Domains.parse)]
Color = Annotated[str, reads(parse_color), AfterValidator(str.lower)]
LanguageCodes = Annotated[str, reads(parse_languages)]
WebAddress = Annotated[str, reads(parse_web_address)]
WebAddresses = Annotated[str, reads(parse_web_addresses)]
Issuer = Annotated[str, reads(parse_issuer)]
OidcScopes = Annotated[str, reads(parse_scopes)]
Grants = Annotated[str, reads(parse_grants)]
WebhookAllow = Annotated[str, reads(Allowed.parse)]
TemplateNames = Annotated[str, reads(parse_stoppable)]
NameServers = Annotated[str, reads(parse_name_servers)]
Topics = Annotated[str, reads(parse_topics)]
MadeUpSecrets = Annotated[SecretStr, reads(parse_made_up)]
WebhookSecrets = Annotated[SecretStr, reads(parse_webhook_secrets)]
