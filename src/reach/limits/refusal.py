"""What is full, for how long, and how an answer says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from reach.settings.types import Policy, Window


class RedisUnavailable(Exception):
    """Redis did not answer, or not in time, or refused."""


@dataclass(frozen=True, slots=True)
class Full:
    """A window without room, and for how long at least."""

    window: Window
    seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """A policy does not let somebody do it again yet."""

    policy: Policy
    full: Sequence[Full]

    @property
    def violated(self) -> list[str]:
        """The names of the windows that are full."""
        return [full.window.name for full in self.full]

    @property
    def headers(self) -> dict[str, str]:
        """``Retry-After`` (RFC 9110 §10.2.3) and draft-ietf-httpapi-ratelimit-headers-10's.

        Seconds are rounded up, and of several full windows the last to have room counts, so
        that a retry at that time can succeed.
        """
        policy = (f'"{w.name}";q={w.quota};w={w.seconds}' for w in self.policy.windows)
        limit = (f'"{full.window.name}";r=0;t={_whole(full.seconds)}' for full in self.full)
        return {
            "Retry-After": str(max(_whole(full.seconds) for full in self.full)),
            "RateLimit-Policy": ", ".join(policy),
            "RateLimit": ", ".join(limit),
        }


def _whole(seconds: float) -> int:
    return max(1, ceil(seconds))
