"""Signatures: what Reach hands out and later knows as its own.

Each purpose has keys of its own, derived from ``REACH_SECRET_KEY``: what is signed for one is
nothing to another. The first secret signs, all are accepted, so that secrets can be replaced.
"""

import base64
import hashlib
import hmac

from reach.settings import BadSettings, Settings


class Signer:
    """Signs texts for one purpose, and tells whether a signature is ours."""

    def __init__(self, settings: Settings, purpose: str) -> None:
        """Derive the purpose's keys. Raises BadSettings if there is no secret to derive from."""
        self.keys = tuple(_derive(secret, purpose) for secret in settings.secret_keys)
        if not self.keys:
            raise BadSettings("REACH_SECRET_KEY must be set")

    def sign(self, text: str) -> str:
        """Give the signature of ``text``: 43 characters that fit into an address or a form."""
        return _signature(self.keys[0], text)

    def sign_by_each(self, text: str) -> tuple[str, ...]:
        """Give the signatures of ``text`` by every key, to look for what an older one signed."""
        return tuple(_signature(key, text) for key in self.keys)

    def is_ours(self, text: str, signature: str) -> bool:
        """Whether ``signature`` is that of ``text``, by any key; takes the same time for all."""
        given = signature.encode("utf-8", "surrogatepass")
        found = False
        for key in self.keys:
            found |= hmac.compare_digest(_signature(key, text).encode(), given)
        return found


def _derive(secret: str, purpose: str) -> bytes:
    return hmac.digest(secret.encode(), f"reach/{purpose}".encode(), hashlib.sha256)


def _signature(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
