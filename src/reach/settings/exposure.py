"""What is fine on a laptop, and dangerous in the open."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reach.settings.model import Settings


def dangers(settings: "Settings", *, has_mailbox: bool) -> Iterator[str]:
    """Say what must not be in the open."""
    if not settings.has_long_secret_keys:
        yield (
            "REACH_SECRET_KEY must be set, with 32 characters or more: try `openssl rand -hex 32`"
        )
    if not settings.smtp_servers and has_mailbox:
        yield "REACH_SMTP_URL must be set: the embedded mailbox is only for loopback"
    plain = (one for one in settings.smtp_servers if one.security == "plain" and not one.is_local)
    if any(one.username for one in plain):
        name = "URLS" if settings.smtp_urls.get_secret_value() else "URL"
        yield (
            f"REACH_SMTP_{name} would send its password unencrypted: "
            "use smtp+starttls:// or smtps://"
        )
