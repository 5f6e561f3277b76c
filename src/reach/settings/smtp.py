"""What the ``REACH_SMTP_*`` settings say together: which servers, who logs in, which headers."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reach.network.hosts import is_loopback
from reach.settings.urls import SMTP_SCHEMES, Login, SmtpUrl, parse_mailbox, parse_web_address

if TYPE_CHECKING:
    from reach.settings.fields import Fields

MOST_SERVERS = 10
#: Where one URL ends and the next begins: a password may hold a comma.
BETWEEN = re.compile(
    rf"[\s,]+(?=(?:{'|'.join(map(re.escape, SMTP_SCHEMES))})://|\s*$)", re.IGNORECASE
)
HEADER = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,75}):[ \t]*([!-~](?:[ -~]{0,898}[!-~])?)", re.ASCII)
#: What Reach writes itself, what servers on the way write, and what would name other recipients.
RESERVED = re.compile(
    r"(message-id|date|from|to|cc|bcc|reply-to|sender|subject|content-.*|auto-submitted"
    r"|mime-version|dkim-signature|domainkey-signature|list-unsubscribe(-post)?|x-reach-.*"
    r"|return-path|received(-spf)?|resent-.*|arc-.*|authentication-results|delivered-to"
    r"|in-reply-to|references|disposition-notification-to|return-receipt-to|errors-to)",
    re.IGNORECASE,
)
HEADERS = "must be headers with ; between, like X-PM-Message-Stream: outbound; X-Other: value"
LOGIN = (
    "needs both a user and a password, or neither: they may be in REACH_SMTP_USER and "
    "REACH_SMTP_PASSWORD. A user alone logs in by a token: REACH_SMTP_OAUTH_TOKEN_URL"
)


def parse_smtp_urls(text: str) -> tuple[SmtpUrl, ...]:
    """Read several servers, in order of preference. Raises ValueError, which repeats none."""
    parts = [part for part in BETWEEN.split(text.strip()) if part]
    if len(parts) > MOST_SERVERS:
        raise ValueError(f"may name {MOST_SERVERS} servers at most")
    found = tuple(map(SmtpUrl.parse, parts))
    if len({(one.host, one.port, one.username) for one in found}) < len(found):
        raise ValueError("names one server twice")
    return found


def parse_headers(text: str) -> list[tuple[str, str]]:
    """Read ``Name: value; Name: value``. Raises ValueError."""
    found: dict[str, tuple[str, str]] = {}
    for part in filter(None, (one.strip() for one in re.split(r"[;\r\n]", text))):
        header = HEADER.fullmatch(part)
        if header is None:
            raise ValueError(HEADERS)
        name, value = header.groups()
        if RESERVED.fullmatch(name):
            raise ValueError(f"must not name {name}, which is not yours to write")
        if name.lower() in found:
            raise ValueError(f"names {name} twice")
        found[name.lower()] = name, value
    return [*found.values()]


def parse_address(text: str) -> str:
    """Read one address without a name. Raises ValueError."""
    if parse_mailbox(text).addr_spec != text:
        raise ValueError("must be an address without a name, like bounces@example.org")
    return text


def parse_token_url(text: str) -> str:
    """Read where tokens are had. Raises ValueError: unencrypted is for this machine alone."""
    parts = urlsplit(parse_web_address(text))
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("must begin with https://, but for a server on this machine")
    return text


def completed(fields: "Fields", servers: Sequence[SmtpUrl]) -> tuple[SmtpUrl, ...]:
    """Say of each server what stands beside its URL: whether a token logs in, its name."""
    has_tokens = bool(fields.smtp_oauth_token_url)
    return tuple(
        replace(
            one,
            uses_token=has_tokens and one.username is not None and one.password is None,
            verify_name=one.verify_name or fields.smtp_verify_name or None,
        )
        for one in servers
    )


def faults(fields: "Fields", servers: Sequence[SmtpUrl], own: Login) -> list[str]:
    """Say what is missing, or contradicts the rest: a line for each. ``own`` is beside the URL."""
    return [
        *_faults_of_list(fields, own),
        *_faults_of_logins(fields, servers),
        *_faults_of_tokens(fields, servers),
        *_faults_of_certificates(fields, servers),
    ]


def _faults_of_list(fields: "Fields", own: Login) -> Iterator[str]:
    if not fields.smtp_urls.get_secret_value():
        return
    if fields.smtp_url.get_secret_value():
        yield "REACH_SMTP_URL and REACH_SMTP_URLS are both set: keep one"
    if own:
        yield (
            "REACH_SMTP_USER and REACH_SMTP_PASSWORD are for REACH_SMTP_URL: each server of "
            "REACH_SMTP_URLS says in its own URL who logs in"
        )


def _faults_of_logins(fields: "Fields", servers: Sequence[SmtpUrl]) -> Iterator[str]:
    is_list = bool(fields.smtp_urls.get_secret_value())
    for number, one in enumerate(servers, 1):
        if (one.username is None) != (one.password is None) and not one.uses_token:
            yield (
                f"REACH_SMTP_URLS: server {number} needs both a user and a password, or neither"
                if is_list
                else f"REACH_SMTP_URL: {LOGIN}"
            )


def _faults_of_tokens(fields: "Fields", servers: Sequence[SmtpUrl]) -> Iterator[str]:
    names = ("client_id", "client_secret", "refresh_token", "scope")
    secrets = {"client_secret", "refresh_token"}
    given = [
        name
        for name in names
        if (value := getattr(fields, f"smtp_oauth_{name}"))
        and (name not in secrets or value.get_secret_value())
    ]
    if not fields.smtp_oauth_token_url:
        for name in given:
            yield (
                f"REACH_SMTP_OAUTH_TOKEN_URL must be set beside REACH_SMTP_OAUTH_{name.upper()}: "
                "where tokens are had, such as https://oauth2.googleapis.com/token"
            )
        return
    if "client_id" not in given:
        yield "REACH_SMTP_OAUTH_CLIENT_ID must be set beside REACH_SMTP_OAUTH_TOKEN_URL"
    if not secrets & {*given}:
        yield (
            "REACH_SMTP_OAUTH_TOKEN_URL needs REACH_SMTP_OAUTH_CLIENT_SECRET (client credentials), "
            "or REACH_SMTP_OAUTH_REFRESH_TOKEN, or both"
        )
    if not any(one.uses_token for one in servers):
        yield (
            "REACH_SMTP_OAUTH_TOKEN_URL has no server to log in at: that is one whose URL has a "
            "user and no password, like smtp+starttls://reach%40example.org@smtp.example.org"
        )


def _faults_of_certificates(fields: "Fields", servers: Sequence[SmtpUrl]) -> Iterator[str]:
    if fields.smtp_key_file and not fields.smtp_cert_file:
        yield "REACH_SMTP_CERT_FILE must be set beside REACH_SMTP_KEY_FILE"
    has_tls = any(one.security != "plain" for one in servers)
    given = {
        "CERT_FILE": fields.smtp_cert_file,
        "VERIFY_NAME": fields.smtp_verify_name,
    }
    for name, value in given.items():
        if value and not has_tls:
            yield f"REACH_SMTP_{name} needs a server with smtp+starttls:// or smtps://"
    if fields.smtp_verify_name and len(servers) > 1:
        yield (
            "REACH_SMTP_VERIFY_NAME is for one server: of several, each says it behind its host, "
            "like smtps://192.0.2.1?name=mail.example.org"
        )
