"""The secrets that events are signed with: made here, shown once, stored sealed.

A receiver's copy must stay good when ``REACH_SECRET_KEY`` is replaced, so no secret is derived from
it. It seals them: who reads the database alone can sign nothing. All keys open what they sealed,
and what an older one sealed a worker seals again with the first (see ``endpoints.seal_again``).
See docs/decisions/0077-webhooks.md.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from standardwebhooks import Webhook as Signature

from reach.auth.signing import Signer
from reach.settings import Settings

#: What Standard Webhooks asks for: 24 to 64 bytes, in base64 behind a prefix.
SECRET_BYTES = 24
PREFIX = "whsec_"
NONCE_BYTES, MAC_BYTES = 16, 32


class Unsealable(Exception):
    """No key of this process has sealed this: ``REACH_SECRET_KEY`` has lost the one that did."""


class Seals:
    """Seals secrets and opens them, each for one webhook. Make it once, at the start.

    The secret is added to what HMAC-SHA256 makes of random bytes that are used once, and all of it
    is authenticated. That is a one-time pad from a pseudorandom function, of which one block is
    enough here.
    """

    def __init__(self, settings: Settings) -> None:
        """Derive the keys. Raises BadSettings if there is no secret to derive from."""
        pads, macs = Signer(settings, "webhook-pad").keys, Signer(settings, "webhook-seal").keys
        self._keys = list(zip(pads, macs, strict=True))

    def seal(self, webhook_id: UUID, secret: str) -> str:
        """Seal a secret with the first key."""
        pad_key, mac_key = self._keys[0]
        nonce = secrets.token_bytes(NONCE_BYTES)
        hidden = _pad(pad_key, nonce, base64.b64decode(secret.removeprefix(PREFIX)))
        mac = _mac(mac_key, webhook_id, nonce + hidden)
        return base64.b64encode(nonce + hidden + mac).decode()

    def open(self, webhook_id: UUID, sealed: str) -> str:
        """Open what was sealed for this webhook. Raises Unsealable."""
        return self._opened(webhook_id, sealed)[1]

    def is_old(self, webhook_id: UUID, sealed: str) -> bool:
        """Whether another key than the first has sealed it. Raises Unsealable."""
        return self._opened(webhook_id, sealed)[0] > 0

    def _opened(self, webhook_id: UUID, sealed: str) -> tuple[int, str]:
        try:
            whole = base64.b64decode(sealed, validate=True)
        except (binascii.Error, ValueError):
            raise Unsealable from None
        nonce, hidden, mac = whole[:NONCE_BYTES], whole[NONCE_BYTES:-MAC_BYTES], whole[-MAC_BYTES:]
        for number, (pad_key, mac_key) in enumerate(self._keys):
            if hmac.compare_digest(_mac(mac_key, webhook_id, nonce + hidden), mac):
                return number, _written(_pad(pad_key, nonce, hidden))
        raise Unsealable


def generate() -> str:
    """Make the secret of a webhook: 192 bits, as receivers' libraries take it."""
    return _written(secrets.token_bytes(SECRET_BYTES))


def headers(event_id: UUID, at: datetime, body: str, signing: Sequence[str]) -> dict[str, str]:
    """Write the headers of Standard Webhooks, with a signature by each secret."""
    name = str(event_id)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Signature(one).sign(name, at, body) for one in signing),
    }


def _written(secret: bytes) -> str:
    return PREFIX + base64.b64encode(secret).decode()


def _pad(key: bytes, nonce: bytes, text: bytes) -> bytes:
    pad = hmac.digest(key, nonce, "sha256")[: len(text)]
    return bytes(one ^ other for one, other in zip(text, pad, strict=True))


def _mac(key: bytes, webhook_id: UUID, sealed: bytes) -> bytes:
    return hmac.digest(key, webhook_id.bytes + sealed, "sha256")
