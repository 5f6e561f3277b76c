"""What routes use: made once, in ``app.py``, and reached from a request."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import Request

from reach.auth.keys import KeyUses
from reach.auth.links import Links
from reach.db.database import Database
from reach.idempotency.keys import IdempotencyKeys
from reach.idempotency.stored import IdempotencyKey, StoredResponse
from reach.limits.limiter import Limiter
from reach.problems import Problem
from reach.settings import Settings

#: As long as a slow telephone takes for a body of 64 KiB, and not as long as a caller likes.
BODY_SECONDS = 30.0


class Submit(Protocol):
    """Do what a public form asks for: sign up, say. When it returns, that is on disk."""

    async def __call__(self, form: Any, key: IdempotencyKey | None = None) -> StoredResponse:
        """Raise Unprocessable: KeyReused if ``key`` is another request's; SendAgain."""


class SpamProtection(Protocol):
    """What a public form needs so that it can be told from spam; ``people`` has the rules."""

    needs_proof: bool

    def stamp(self, now: float, *, is_again: bool = False) -> str:
        """Sign the time at which a form is shown."""

    def challenge(self, now: float) -> dict[str, Any]:
        """Make a proof of work to do. Raises NotFound if none is asked for."""


@dataclass(frozen=True, slots=True)
class Services:
    """The collaborators of every route of one process.

    ``templates`` names those that can be composed now. ``refusals`` are whole answers to requests
    that get to no route. ``mailbox`` is the development mailbox, which only its own pages know.
    """

    settings: Settings
    database: Database
    limiter: Limiter
    key_uses: KeyUses
    links: Links
    idempotency: IdempotencyKeys
    spam_protection: SpamProtection
    sign_up: Submit
    request_link: Submit
    templates: Callable[[], Collection[str]]
    refusals: Mapping[type[Problem], bytes]
    mailbox: object | None = None
    body_seconds: float = BODY_SECONDS


def services_of(request: Request) -> Services:
    """Give what the application of a request was made with."""
    services: Services = request.scope["app"].state.services
    return services
