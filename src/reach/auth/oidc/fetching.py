"""Asks the provider over HTTP: within limits of time and size, and at no other place than named."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from reach.auth.oidc.model import ProviderUnavailable

#: For one question, all in all: somebody waits for the page.
MOST_SECONDS = 10
#: Microsoft's list of keys has some 30 KB.
MOST_BYTES = 512 * 1024
OK = 200
#: Compressed, a short answer could be a long one.
ACCEPTS = {"Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider answered: an object of JSON, empty if it is none."""

    status: int
    document: Mapping[str, Any]


class Fetcher:
    """Fetches JSON.

    No redirect is followed: whatever says where it leads might not be the provider. A proxy of the
    environment (``HTTPS_PROXY``) is used, as by every other client.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        """Take whose certificates are believed."""
        self._tls = tls

    async def document(self, what: str, url: str, headers: Mapping[str, str] = ACCEPTS) -> Any:
        """Get ``what`` there is at ``url``. Raises ProviderUnavailable."""
        answer = await self.ask(what, "GET", url, headers)
        if answer.status != OK:
            raise ProviderUnavailable(f"{what}: the answer is HTTP {answer.status}")
        if not answer.document:
            raise ProviderUnavailable(f"{what}: the answer is no object of JSON")
        return answer.document

    async def ask(
        self,
        what: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request, and read its answer whole. Raises ProviderUnavailable.

        ``what`` is what the log calls it. No exception's own words are told: they may hold an
        address with a code in it.
        """
        try:
            async with asyncio.timeout(MOST_SECONDS):
                client = httpx2.AsyncClient(verify=self._tls, timeout=MOST_SECONDS)
                async with (
                    client,
                    client.stream(method, url, headers={**ACCEPTS, **headers}, data=form) as got,
                ):
                    content = bytearray()
                    async for part in got.aiter_raw():
                        content += part
                        if len(content) > MOST_BYTES:
                            raise ProviderUnavailable(f"{what}: the answer is too long")
        except TimeoutError:
            words = f"{what}: no answer within {MOST_SECONDS} seconds"
            raise ProviderUnavailable(words) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise ProviderUnavailable(f"{what}: {reason_of(error)}") from None
        return Answer(got.status_code, _object(bytes(content)))


def reason_of(error: Exception) -> str:
    """Say why a request failed: by what the system says of it, if there is anything."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({below.verify_message})"
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return type(error).__name__


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
