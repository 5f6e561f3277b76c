"""The addresses that reports are sent to: the return path, and that of feedback loops."""

from collections.abc import Iterator
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import getaddresses

from reach.settings import Settings

#: Where mail servers write down whom a mail in a mailbox was sent to, the surest first.
SENT_TO = ("Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To", "To")
#: Between an address and the token of one message.
DELIMITER = "+"
#: As much of a mail's beginning as its headers may be.
HEAD_BYTES = 64 * 1024


class Addresses:
    """Says which addresses are ours. In them, upper and lower case are the same.

    Whether a token is one that we signed is not looked at: a mail with a forged one is taken, and
    dropped. To refuse it would tell its sender, or have a mail server between us send a bounce to
    somebody who sent nothing.
    """

    def __init__(self, settings: Settings) -> None:
        """Take those of the settings."""
        known = (settings.return_path, settings.complaints_address)
        self._known = [tuple(one.lower().rsplit("@", 1)) for one in known if one]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._known)

    def has(self, address: str) -> bool:
        """Whether an address is one of ours, with a token or without."""
        local, _, domain = address.lower().rpartition("@")
        return any(
            domain == ours and (local == name or local.startswith(name + DELIMITER))
            for name, ours in self._known
        )

    def found_in(self, mail: bytes) -> str | None:
        """Find in a mail's headers which of ours it was sent to; one with a token comes first."""
        found = [address for address in _sent_to(mail) if self.has(address)]
        return next((one for one in found if DELIMITER in one), found[0] if found else None)


def _sent_to(mail: bytes) -> Iterator[str]:
    headers = BytesHeaderParser(policy=compat32).parsebytes(mail[:HEAD_BYTES])
    for name in SENT_TO:
        for _, address in getaddresses(map(str, headers.get_all(name, []))):
            yield address
