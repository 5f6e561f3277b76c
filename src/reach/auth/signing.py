"""Signatures: what Reach hands out and later knows as its own.

Each purpose (the salt of itsdangerous) has keys of its own, derived from ``REACH_SECRET_KEY``: what
is signed for one purpose is worth nothing for another. The first secret signs and all of them are
accepted, so that a secret can be replaced. See docs/decisions/0047-signatures.md.
"""

import hmac
from hashlib import sha256

import itsdangerous
from itsdangerous.encoding import base64_decode, base64_encode

from reach.settings import BadSettings, Settings

#: Of a signature at least so many bytes are worth something: 128 bits.
LEAST_MAC_BYTES = 16


class Signer:
    """Signs texts for one purpose, and knows what it signed. Make it once, at the start."""

    def __init__(self, settings: Settings, purpose: str) -> None:
        """Derive the purpose's keys. Raises BadSettings if there is no secret to derive from."""
        if not settings.secret_keys:
            raise BadSettings("REACH_SECRET_KEY must be set")
        self._signer = _OneSpelling(
            reversed(settings.secret_keys),  # itsdangerous signs with the last one
            salt=f"reach/{purpose}",
            key_derivation="hmac",
            digest_method=sha256,
            algorithm=_Begun(),
        )
        self._signer.derive_keys()

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The derived keys, for a library that signs by itself; the first is for signing."""
        return tuple(reversed(self._signer.secret_keys))

    def signature(self, text: str) -> str:
        """Give the signature of a text: 43 characters that fit into an address or a form."""
        return self._signer.get_signature(_raw(text)).decode()

    def signatures(self, text: str) -> tuple[str, ...]:
        """Give the signatures of a text by every key, to look for what an older one signed."""
        return self._signer.get_signatures(_raw(text))

    def is_signature(self, text: str, signature: str) -> bool:
        """Whether this is the text's signature, by any of the keys."""
        return self._signer.verify_signature(_raw(text), _raw(signature))

    def mac(self, data: bytes, size: int) -> bytes:
        """Give the first ``size`` bytes of the signature of some bytes: at least 16."""
        return self._signer.algorithm.get_signature(self.keys[0], data)[:size]

    def is_mac(self, data: bytes, mac: bytes) -> bool:
        """Whether these are the first bytes of the signature, by any of the keys."""
        sign, size = self._signer.algorithm.get_signature, max(len(mac), LEAST_MAC_BYTES)
        return any(hmac.compare_digest(sign(key, data)[:size], mac) for key in self.keys)

    def sign(self, text: str) -> str:
        """Write a signature behind a text, after a dot."""
        return f"{text}.{self.signature(text)}"

    def unsign(self, signed: str) -> str:
        """Give the text that ``sign`` signed. Raises itsdangerous.BadSignature."""
        return self._signer.unsign(_raw(signed)).decode("utf-8", "surrogatepass")


class _Begun(itsdangerous.HMACAlgorithm):
    """HMAC-SHA256 that goes on from what each key makes of its first block.

    Not ``hmac.digest``: that lets go of the interpreter's lock, even for a few bytes, and a busy
    thread gets it back only after a while.
    """

    def __init__(self) -> None:
        super().__init__(sha256)
        self._begun: dict[bytes, hmac.HMAC] = {}

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        """Sign a value; keys are few, and derived before."""
        if key not in self._begun:
            self._begun[key] = hmac.new(key, digestmod=sha256)
        signature = self._begun[key].copy()
        signature.update(value)
        return signature.digest()


class _OneSpelling(itsdangerous.Signer):
    """Accepts a signature as it was written, and in no other spelling.

    base64 has spare bits in its last character, and its readers pass over what they do not know:
    itsdangerous accepts all of that, on purpose (pallets/itsdangerous#368).
    """

    def derive_keys(self) -> None:
        """Derive the keys now; otherwise that is done again for every signature."""
        self.secret_keys = [self.derive_key(secret) for secret in self.secret_keys]
        self.key_derivation = "none"

    def get_signatures(self, value: bytes) -> tuple[str, ...]:
        """Sign by every key, with the newest first."""
        made = (self.algorithm.get_signature(key, value) for key in reversed(self.secret_keys))
        return tuple(base64_encode(one).decode() for one in made)

    def verify_signature(self, value: str | bytes, sig: str | bytes) -> bool:
        """Verify the signature, and how it is spelled."""
        is_ours = super().verify_signature(value, sig)
        return is_ours and base64_encode(base64_decode(sig)) == sig


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
