"""Standard Webhooks (standardwebhooks.com): how Resend signs, and programs of one's own."""

from collections.abc import Sequence

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from reach.reports.providers.model import NotVerified, Received

#: The library looks for these.
FIELDS = ("id", "timestamp", "signature")
#: An id or a signature of more characters is none of theirs: several keys sign, while they change.
MOST_CHARACTERS = 2000


class Signatures:
    """Verifies what one of several secrets signed, by the headers ``<prefix>-id`` and so on.

    A signature is good for five minutes; what is sent again is signed again.
    """

    def __init__(self, secrets: Sequence[str], prefixes: Sequence[str] = ("webhook",)) -> None:
        self._webhooks = [Webhook(secret) for secret in secrets]
        self._prefixes = prefixes

    def verify(self, received: Received) -> None:
        """Raise NotVerified unless one of the secrets signed it, not long ago."""
        for prefix in self._prefixes:
            given = {f"webhook-{one}": received.headers.get(f"{prefix}-{one}") for one in FIELDS}
            headers = {name: value for name, value in given.items() if value}
            is_short = sum(map(len, headers.values())) <= MOST_CHARACTERS
            if len(headers) == len(FIELDS) and is_short:
                if any(_is_signed(one, received.body, headers) for one in self._webhooks):
                    return
                raise NotVerified("The signature is not that of the secret, or is too old.")
        raise NotVerified("There is no signature.")


def _is_signed(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # not UTF-8, or no base64
        return False
    return True
