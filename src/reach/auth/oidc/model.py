"""What a sign-in begins with, what it comes to, and how it can fail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that has begun: where the browser goes, and what it keeps until it comes back."""

    url: str
    kept: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has signed in: the provider's lasting id of them, and what they may do."""

    subject: str
    scopes: frozenset[str]


class SignInFailed(Exception):
    """Nobody was signed in. ``args[0]`` says why, for the log: it tells nothing of anybody.

    SignInFailed
    ├── NotBegunHere          this browser has begun no such sign-in, or too long ago
    ├── Declined              the provider did not let them in, or they changed their mind
    ├── NotProven             what came back does not prove who it is
    ├── NotGranted            it is known who it is, and they may do nothing here
    └── ProviderUnavailable   the provider does not answer, or not as it must
    """

    def __init__(self, reason: str) -> None:
        """Take the reason: words of ours, or of the protocol."""
        super().__init__(reason)
        self.reason = reason


class NotBegunHere(SignInFailed):
    """This browser has begun no such sign-in, or did so too long ago."""


class Declined(SignInFailed):
    """The provider did not let them in, or they changed their mind there."""


class NotProven(SignInFailed):
    """What came back from the provider does not prove who it is."""


class NotGranted(SignInFailed):
    """It is known who it is, and ``REACH_OIDC_GRANTS`` lets them do nothing."""


class ProviderUnavailable(SignInFailed):
    """The provider does not answer, or not as OpenID Connect has it."""
