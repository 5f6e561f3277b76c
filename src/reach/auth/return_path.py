"""Return paths: where each message's own bounce comes back to (VERP), signed.

``bounces+<token>@mail.example.org``: the token is the message's id and the beginning of its
signature, so nobody can report a bounce of a message whose return path they have not seen. It is
written in base32, lower case, because some mail servers change the case of a local part; a local
part may have 64 characters (RFC 5321 §4.5.3.1.1), and the signature takes what is left.
"""

import hmac
from base64 import b32decode, b32encode
from binascii import Error
from functools import partial
from hashlib import sha256
from uuid import UUID

from reach.auth.signing import Signer
from reach.settings import Settings
from reach.settings.urls import parse_mailbox

#: 96 bits: they can only be tried by sending an email for each.
MAC_BYTES = 12
ID_BYTES = 16
CHARACTERS = -(-(ID_BYTES + MAC_BYTES) * 8 // 5)
PADDING = "=" * (-CHARACTERS % 8)
#: What stands between the mailbox and the token, as Postfix's ``recipient_delimiter`` has it.
DELIMITER = "+"
#: The header that names a message for those who lose its return path.
HEADER = "X-Reach-Message"


class Forged(ValueError):
    """This has the look of a token of ours, and no signature of ours."""


class ReturnPaths:
    """Makes the return paths of messages, and reads those that something came back to."""

    def __init__(self, settings: Settings) -> None:
        """Derive the keys. Raises BadSettings without a secret."""
        keys = Signer(settings, "return-path").keys
        self._begun = [partial(_mac, hmac.new(key, digestmod=sha256)) for key in keys]
        address = settings.return_path and parse_mailbox(settings.return_path)
        self._mailbox = (address.username, address.domain) if address else None

    @property
    def address(self) -> str | None:
        """Where reports come in that have no token; None: nowhere."""
        return None if self._mailbox is None else "@".join(self._mailbox)

    def token(self, message_id: UUID) -> str:
        """Make a message's token: 45 characters, always the same."""
        raw = message_id.bytes
        return b32encode(raw + self._begun[0](raw)).decode().rstrip("=").lower()

    def of(self, message_id: UUID) -> str | None:
        """Make a message's return path; None if there is no mailbox for it."""
        if self._mailbox is None:
            return None
        local, domain = self._mailbox
        return f"{local}{DELIMITER}{self.token(message_id)}@{domain}"

    def read(self, token: str) -> UUID:
        """Read a token. Raises Forged."""
        try:
            raw = b32decode(token.strip().upper() + PADDING)
        except (Error, ValueError):
            raise Forged from None
        id_, given = raw[:ID_BYTES], raw[ID_BYTES:]
        if len(given) != MAC_BYTES or not any(
            hmac.compare_digest(mac(id_), given) for mac in self._begun
        ):
            raise Forged
        return UUID(bytes=id_)

    def read_address(self, address: str) -> UUID | None:
        """Read the message of a return path; None if it is without a token. Raises Forged.

        The mailbox may be spelled in any case. Raises LookupError if it is no return path of ours.
        """
        local, _, domain = address.strip().strip("<>").rpartition("@")
        mailbox, _, token = local.partition(DELIMITER)
        if self._mailbox is None:
            raise LookupError
        ours, where = self._mailbox
        if (mailbox.lower(), domain.lower()) != (ours.lower(), where.lower()):
            raise LookupError
        return self.read(token) if token else None


def _mac(begun: hmac.HMAC, data: bytes) -> bytes:
    """Go on from what a key makes of its first block: see ``auth.signing``."""
    mac = begun.copy()
    mac.update(data)
    return mac.digest()[:MAC_BYTES]
