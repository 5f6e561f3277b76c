"""Mailgun: webhooks with an HMAC of a time and a token, in their own body.

It says nothing of the rest of the body: so a token is good for one body alone, whatever process of
ours it comes to. Mailgun repeats what was not answered by 200 for eight hours, and does not say
that a repetition has a new token (documentation.mailgun.com: "Securing webhooks", "Webhook
retries").
"""

import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from reach.auth.signing import Signer
from reach.db.database import Database
from reach.idempotency.stored import IdempotencyKey, KeyReused, StoredResponse, respond_once
from reach.reports.model import Category, Kind, Report, Verdict
from reach.reports.providers.model import (
    AHEAD_SECONDS,
    Malformed,
    NotVerified,
    Provider,
    Received,
    clues,
    inner,
    mapping,
    text,
    verdict,
)
from reach.settings import Settings
from reach.settings.bounces import split
from reach.web.body import parse_json

#: As long as Mailgun tries again, and an hour more.
LATE_SECONDS = 9 * 3600
TOKEN_CHARACTERS, DIGITS = 128, 12
NO_SIGNATURE = "The signature is not that of the webhook's signing key."

#: What the ``reason`` of a failure means, where no mail server's reply says it better:
#: documentation.mailgun.com, "Event structure", "Tracking failures".
REASONS: Mapping[str, Category] = {
    "bounce": "permanent",  # a mail server refused the recipient
    "suppress-bounce": "permanent",  # on Mailgun's list: it bounced before
    "suppress-unsubscribe": "permanent",  # on Mailgun's list: unsubscribed there
    "old": "transient",  # no server took it in time
    "delayed-bounce": "transient",
    "greylisted": "transient",
    "espblock": "sender",  # the recipient's provider blocks us
    "blacklisted": "sender",
    "generic": "undetermined",
}
#: On Mailgun's list since the recipient complained: so they did, of an earlier email.
COMPLAINED_BEFORE = "suppress-complaint"
#: Reasons that are Mailgun's own, to which no mail server said anything.
OF_MAILGUN = ("suppress-bounce", "suppress-unsubscribe", COMPLAINED_BEFORE)


class Mailgun(Provider):
    """Reads Mailgun's webhooks; ``keys`` are the signing keys that are accepted."""

    name = "mailgun"

    def __init__(
        self, settings: Settings, database: Database, clock: Callable[[], float] = time.time
    ) -> None:
        keys = split(settings.bounces_mailgun_key.get_secret_value())
        self._keys = [key.encode() for key in keys]
        self._signer = Signer(settings, "mailgun")
        self._database, self._clock = database, clock

    async def reports(self, received: Received) -> Sequence[Report]:
        """Read what came: an event a request."""
        body = parse_json(received.body)
        body = body if isinstance(body, dict) else {}
        token = self._verify(inner(body, "signature"))
        event = mapping(body.get("event-data"), "event-data")
        await self._claim(token, event)
        found = _verdict(event)
        if found is None:
            return []
        headers = {name.lower(): one for name, one in _headers(event).items()}
        named = clues(
            [headers.get("x-reach-message"), headers.get("message-id")],
            return_path=inner(event, "envelope").get("sender"),
        )
        return [Report(self.name, named, (found,))]

    def _verify(self, signature: Mapping[str, Any]) -> str:
        """Give the token, once it is known to be signed, and not long ago. Raises NotVerified."""
        when, token, given = (signature.get(n) for n in ("timestamp", "token", "signature"))
        stamp = str(when) if isinstance(when, int) else text(when)
        is_stamp = stamp.isascii() and stamp.isdigit() and len(stamp) <= DIGITS
        if not (is_stamp and isinstance(token, str) and isinstance(given, str)):
            raise NotVerified(NO_SIGNATURE)
        if not 0 < len(token) <= TOKEN_CHARACTERS or not (token + given).isascii():
            raise NotVerified(NO_SIGNATURE)
        signed = f"{stamp}{token}".encode()
        made = [hmac.new(key, signed, sha256).hexdigest() for key in self._keys]
        if not any([hmac.compare_digest(one, given) for one in made]):  # noqa: C419 - all of them
            raise NotVerified(NO_SIGNATURE)
        if not -AHEAD_SECONDS <= self._clock() - int(stamp) <= LATE_SECONDS:
            raise NotVerified("The signature is too old, or of a time to come.")
        return token

    async def _claim(self, token: str, event: Mapping[str, Any]) -> None:
        """Bind a token to its event, for a day. Raises NotVerified if it came with another one.

        A repetition of the same is let through: the first may not have been stored.
        """
        written = json.dumps(event, sort_keys=True)
        route = f"/v1/bounces/{self.name}"
        names = tuple((self.name, route, one) for one in self._signer.signatures(token))
        key = IdempotencyKey(names, self._signer.signatures(written))
        try:
            await self._database.write(respond_once, key, lambda _: StoredResponse(200))
        except KeyReused:
            raise NotVerified("The token was used before, for something else.") from None


def _headers(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return inner(inner(event, "message"), "headers")


def _verdict(event: Mapping[str, Any]) -> Verdict | None:
    recipient, status = event.get("recipient"), inner(event, "delivery-status")
    said = status.get("message") or status.get("description")
    code, enhanced_code = status.get("code"), status.get("enhanced-code")
    match event.get("event"):
        case "delivered":
            return verdict("delivered", recipient, said, code=code, status=enhanced_code)
        case "complained":
            return verdict("complained", recipient)
        case "rejected":  # by Mailgun, before any delivery
            reason = inner(event, "reject").get("reason")
            return verdict("bounced", recipient, reason, otherwise="sender", is_certain=True)
        case "failed":
            return _failed(event, said, code, enhanced_code)
        case None:
            raise Malformed("There should be a text: event.")
        case _:  # accepted, opened, clicked, unsubscribed, stored
            return None


def _failed(event: Mapping[str, Any], said: Any, code: Any, enhanced_code: Any) -> Verdict:
    reason, recipient = text(event.get("reason")), event.get("recipient")
    if reason == COMPLAINED_BEFORE:
        return verdict("complained", recipient, said)
    category = REASONS.get(reason, "undetermined")
    if reason in OF_MAILGUN:
        return verdict("bounced", recipient, said, otherwise=category, is_certain=True)
    is_over = event.get("severity") == "permanent"
    if category == "permanent" and (
        not is_over or inner(event, "delivery-status").get("bounce-type") == "soft"
    ):
        category = "transient"
    kind: Kind = "bounced" if is_over else "delayed"
    return verdict(kind, recipient, said, code=code, status=enhanced_code, otherwise=category)
