"""`Client` and `AsyncClient`: the same operations, for threads and for asyncio."""

import os
from types import TracebackType
from typing import Self

import httpx

from reach_client.calls import Call, Group, Way, given, one, operation
from reach_client.keys import Audit, Keys
from reach_client.me import Me
from reach_client.messages import Messages
from reach_client.model import Accepted, Challenge, Stats
from reach_client.people import People
from reach_client.retrying import USUALLY, Retries
from reach_client.secret import Secret
from reach_client.sending import AsyncSender, Sender, Server
from reach_client.suppressions import Suppressions
from reach_client.webhooks import Webhooks

#: Longer than Reach lets a repeated request wait for the first one (5 s).
TIMEOUT_SECONDS = 20.0
#: What `from_environment` reads.
URL, KEY = "REACH_API_URL", "REACH_API_KEY"


class Operations(Group[Way]):
    """Everything that Reach's API can do."""

    @property
    def people(self) -> People[Way]:
        """What operators do with people's records."""
        return People(self.sender)

    @property
    def messages(self) -> Messages[Way]:
        """What operators do with messages."""
        return Messages(self.sender)

    @property
    def suppressions(self) -> Suppressions[Way]:
        """Addresses that nothing is sent to."""
        return Suppressions(self.sender)

    @property
    def keys(self) -> Keys[Way]:
        """The operators' keys."""
        return Keys(self.sender)

    @property
    def audit(self) -> Audit[Way]:
        """What operators did."""
        return Audit(self.sender)

    @property
    def webhooks(self) -> Webhooks[Way]:
        """Other systems that are told what happens."""
        return Webhooks(self.sender)

    def me(self, token: str) -> Me[Way]:
        """What a person does with their own record.

        The token is what follows ``token=`` in a link that was sent by email. The operator's key is
        not sent along.
        """
        return Me(self.sender, Secret(token))

    @operation("POST", "/v1/signups", by="none")
    def sign_up(
        self,
        email: str,
        name: str,
        *,
        description: str | None = None,
        language: str | None = None,
        started: str | None = None,
        altcha: str | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Accepted]:
        """Sign somebody up, as anyone may. The answer does not tell whether they are known.

        ``altcha`` is a solved `challenge`, where the server asks for one; ``started`` the time at
        which a form was shown, as its page has it. Raises Invalid; QuotaExceeded.
        """
        json = given(email=email, name=name) | _form(
            description=description, language=language, started=started, altcha=altcha
        )
        return Call(one(Accepted), json=json, idempotency_key=idempotency_key)

    @operation("POST", "/v1/links", by="none")
    def request_link(
        self,
        email: str,
        *,
        started: str | None = None,
        altcha: str | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Accepted]:
        """Have a link to their own record sent to somebody, if they are signed up.

        Raises Invalid; QuotaExceeded.
        """
        json = given(email=email) | _form(started=started, altcha=altcha)
        return Call(one(Accepted), json=json, idempotency_key=idempotency_key)

    @operation("GET", "/v1/challenge", by="none")
    def challenge(self) -> Call[Challenge]:
        """Get a proof of work to do. Raises NotFound if the server asks for none."""
        return Call(one(Challenge))

    @operation("GET", "/v1/stats")
    def stats(self) -> Call[Stats]:
        """Count people and messages; at most 5 s old."""
        return Call(one(Stats))


class Client(Operations[Sender]):
    """Reach's API, for programs that wait. Threads may share one; ``with`` closes it."""

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries = USUALLY,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Name the server, and an operator's key for what needs one.

        ``timeout`` is how many seconds one try may hear nothing. ``transport`` is for a proxy,
        certificates of your own and the like: ``httpx.HTTPTransport(verify=…)``.

        Raises ValueError for an address or a key that cannot be one.
        """
        server = _server(base_url, key, retries)
        super().__init__(Sender(server, timeout=timeout, transport=transport))

    @classmethod
    def from_environment(cls) -> Self:
        """Read ``REACH_API_URL`` and ``REACH_API_KEY``. Raises KeyError without the first."""
        return cls(os.environ[URL], os.environ.get(KEY))

    def close(self) -> None:
        """Close the connections."""
        self.sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(Operations[AsyncSender]):
    """Reach's API, for asyncio: every operation is awaited; ``async with`` closes it."""

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries = USUALLY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Name the server, and an operator's key for what needs one; see `Client`."""
        server = _server(base_url, key, retries)
        super().__init__(AsyncSender(server, timeout=timeout, transport=transport))

    @classmethod
    def from_environment(cls) -> Self:
        """Read ``REACH_API_URL`` and ``REACH_API_KEY``. Raises KeyError without the first."""
        return cls(os.environ[URL], os.environ.get(KEY))

    async def close(self) -> None:
        """Close the connections."""
        await self.sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()


def _server(base_url: str, key: str | None, retries: Retries) -> Server:
    """Read where the server is. What was given is not quoted: a password may be in it."""
    try:
        url = httpx.URL(base_url.rstrip("/"))
    except httpx.InvalidURL:
        raise ValueError("base_url is no address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("base_url is http:// or https://, and a host")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("base_url has no user, query or fragment; the key is an argument")
    return Server(url, None if key is None else Secret(key), retries)


def _form(**fields: str | None) -> dict[str, str]:
    """What a form carries besides: what is not there is left out."""
    return {name: value for name, value in fields.items() if value is not None}
