"""What the ``REACH_BOUNCES_*`` settings say: who reports, and what proves it."""

import binascii
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass

#: Between secrets, keys and topics: while one takes the place of another, both are accepted.
BETWEEN = re.compile(r"[\s,]+")
#: What somebody makes up must not be guessed.
LEAST_CHARACTERS = 24
#: Before a secret of Standard Webhooks, in base64; and how many bytes of one are enough.
PREFIX, LEAST_BYTES = "whsec_", 16
#: A topic of Amazon SNS: its partition, its region, the account, its name.
TOPIC = re.compile(
    r"arn:(?P<partition>aws|aws-cn|aws-us-gov):sns:(?P<region>[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}):"
    r"[0-9]{12}:[A-Za-z0-9_-]{1,256}"
)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of Amazon SNS, and the host that speaks for it: the only one that is believed."""

    arn: str
    host: str


def split(text: str) -> list[str]:
    """Take apart what stands between commas or blanks."""
    return [part for part in BETWEEN.split(text) if part]


def parse_topics(text: str) -> Sequence[Topic]:
    """Read topics of Amazon SNS, by their ARNs. Raises ValueError."""
    return [_topic(part) for part in split(text)]


def _topic(text: str) -> Topic:
    found = TOPIC.fullmatch(text)
    if found is None:
        raise ValueError(
            "must be ARNs of topics, like arn:aws:sns:eu-central-1:123456789012:reach-bounces"
        )
    suffix = "com.cn" if found["partition"] == "aws-cn" else "com"
    return Topic(text, f"sns.{found['region']}.amazonaws.{suffix}")


def parse_made_up(text: str) -> Sequence[str]:
    """Read secrets that somebody made up. Raises ValueError, which repeats none of them."""
    found = split(text)
    if any(len(part) < LEAST_CHARACTERS for part in found):
        raise ValueError(
            f"must have at least {LEAST_CHARACTERS} characters: `openssl rand -hex 24` makes one"
        )
    return found


def parse_webhook_secrets(text: str) -> Sequence[str]:
    """Read secrets of Standard Webhooks. Raises ValueError, which repeats none of them."""
    found = split(text)
    for part in found:
        try:
            secret = b64decode(part.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) < LEAST_BYTES:
            raise ValueError(
                f"must be {PREFIX} and base64 of at least {LEAST_BYTES} bytes: "
                f'`echo "{PREFIX}$(openssl rand -base64 24)"` makes one'
            )
    return found
