"""Tokens that log in at the mail server instead of a password (OAuth 2.0, RFC 6749).

By a refresh token (§6), for a mailbox whose owner has agreed, as with Google; or by client
credentials (§4.4), for an application that has a permission of its own, as with Microsoft. It is an
extra, off until ``REACH_SMTP_OAUTH_TOKEN_URL`` says where tokens are had.
"""

import re
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import anyio

from reach.auth.oidc.model import ProviderUnavailable
from reach.settings import BadSettings, Settings

#: A token is not used in the last minute of its time.
LEAST_SECONDS = 60.0
#: How long a token is good for whose server does not say (RFC 6749 §5.1 only recommends it).
USUAL_SECONDS = 300.0
MOST_SECONDS = 24 * 3600.0
OK = 200
#: The codes of errors that there are (RFC 6749 §5.2), and others of that form: no free text.
ERROR = re.compile(r"[a-z_]{1,40}")
#: What a token may be written in (RFC 6750 §2.1).
TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16000}")
EXTRA = (
    "REACH_SMTP_OAUTH_TOKEN_URL is set, and what asks for tokens is not installed. Install the "
    "extra: pip install 'reach[oauth]', or, where `make run` installed Reach, .venv/bin/python -m "
    "pip install --require-hashes --requirement requirements/oidc.txt"
)


class NoToken(Exception):
    """There is no token to log in by; ``args[0]`` says why, fit to be stored."""


class Tokens:
    """The token of this process: asked for once, for all that wait, and kept until it ends."""

    def __init__(self, settings: Settings) -> None:
        """Ask nobody yet. Raises BadSettings if the extra is not installed."""
        try:
            from reach.auth.oidc.fetching import Fetcher
        except ImportError:
            raise BadSettings(EXTRA) from None
        self._fetcher = Fetcher(ssl.create_default_context())
        self._url = settings.smtp_oauth_token_url
        self._refresh_token = settings.smtp_oauth_refresh_token.get_secret_value()
        self._form = {
            "client_id": settings.smtp_oauth_client_id,
            "client_secret": settings.smtp_oauth_client_secret.get_secret_value(),
            "scope": settings.smtp_oauth_scope,
        }
        self._token = ""
        self._good_until = 0.0
        self._line = anyio.Lock()

    async def token(self, *, refused: str | None = None) -> str:
        """Give a token that is good for a minute at least, and is not ``refused``. Raises NoToken.

        Who was refused one that another has replaced meanwhile gets that other one.
        """
        if not self._is_good(refused):
            async with self._line:
                if not self._is_good(refused):
                    await self._ask()
        return self._token

    def spelled(self, user: str) -> tuple[str, ...]:
        """Spell the token as a server could repeat it: in clear, and as it went on the wire."""
        if not self._token:
            return ()
        whole = f"user={user}\1auth=Bearer {self._token}\1\1".encode()
        return self._token, b64encode(whole).decode().rstrip("=")

    def _is_good(self, refused: str | None) -> bool:
        return bool(self._token) and self._token != refused and time.monotonic() < self._good_until

    async def _ask(self) -> None:
        """Ask for a token. Raises NoToken, with no word that the endpoint chose freely."""
        kind = "refresh_token" if self._refresh_token else "client_credentials"
        form = {"grant_type": kind, "refresh_token": self._refresh_token, **self._form}
        asked_at = time.monotonic()
        try:
            answer = await self._fetcher.ask(
                "the token endpoint", "POST", self._url, {}, {k: v for k, v in form.items() if v}
            )
        except ProviderUnavailable as error:
            raise NoToken(f"no token: {error}") from None
        self._take(answer.status, answer.document, asked_at)

    def _take(self, status: int, document: Mapping[str, Any], asked_at: float) -> None:
        token, error = document.get("access_token"), document.get("error")
        if status != OK or not isinstance(token, str) or not TOKEN.fullmatch(token):
            why = error if isinstance(error, str) and ERROR.fullmatch(error) else "no token in it"
            raise NoToken(f"no token: the token endpoint answers HTTP {status}, {why}")
        lasts = document.get("expires_in")
        seconds = USUAL_SECONDS
        if isinstance(lasts, int | float | str) and re.fullmatch(r"[0-9]{1,9}", str(lasts)):
            seconds = min(float(lasts), MOST_SECONDS)
        self._token = token
        # One that lasts no minute is used all the same: for half its time.
        self._good_until = asked_at + max(seconds - LEAST_SECONDS, seconds / 2)
        # Some hand out another refresh token with each token. It is kept as long as the process.
        refresh = document.get("refresh_token")
        if self._refresh_token and isinstance(refresh, str) and TOKEN.fullmatch(refresh):
            self._refresh_token = refresh


def tokens_of(settings: Settings) -> Tokens | None:
    """Make what asks for tokens; None if no password is to be replaced. Raises BadSettings."""
    return Tokens(settings) if settings.smtp_oauth_token_url else None
