"""The provider where operators sign in: the code flow of OpenID Connect Core 1.0, with PKCE.

A sign-in is bound to the browser that began it by a signed cookie, which holds the ``state`` alone.
The nonce and PKCE's verifier are made of it, with a key of ours: there is nothing to store, and the
verifier is nowhere but in our own question to the provider (RFC 7636, RFC 9700 §2.1).
"""

import asyncio
import hmac
import secrets
import ssl
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

import anyio.to_thread
import itsdangerous

from reach.auth.oidc.grants import Claims, Grants
from reach.auth.oidc.metadata import DISCOVERY, PATH, Metadata
from reach.auth.oidc.model import (
    Begun,
    Declined,
    Identity,
    NotBegunHere,
    NotGranted,
    NotProven,
    ProviderUnavailable,
)
from reach.auth.signing import Signer
from reach.settings import BadSettings, Settings
from reach.settings.oidc import parse_scopes

if TYPE_CHECKING:
    from reach.auth.oidc.fetching import Fetcher
    from reach.auth.oidc.tokens import Keys

CALLBACK = "/console/oidc/callback"
#: How long somebody may take to sign in at the provider.
SIGN_IN_SECONDS = 600
#: How long what the provider says of itself is believed.
KEPT_SECONDS = 3600
#: After a failure it is not asked again for so long.
FAILED_SECONDS = 5
STATE_BYTES = 24
#: Longer is no code that a provider would send by way of an address.
CODE_CHARACTERS = 4096
#: What is not on every machine: see ``Provider.of``.
LIBRARIES = ("httpx2", "joserfc")
EXTRA = (
    "REACH_OIDC_ISSUER is set, and what asks the provider is not installed. Install the extra: "
    "pip install 'reach[oidc]', or, where `make run` installed Reach, .venv/bin/python -m pip "
    "install --require-hashes --requirement requirements/oidc.txt"
)
#: What OAuth 2.0 and OpenID Connect call a refusal; of another word the log tells nothing.
ERRORS = frozenset(
    (
        *("access_denied", "invalid_request", "invalid_scope", "server_error", "invalid_client"),
        *("temporarily_unavailable", "unauthorized_client", "unsupported_response_type"),
        *("login_required", "consent_required", "interaction_required", "invalid_grant"),
        *("account_selection_required", "unsupported_grant_type"),
    )
)


@dataclass(frozen=True, slots=True)
class _Tools:
    """What asks the provider, and what verifies its tokens."""

    fetcher: "Fetcher"
    keys: "Keys"
    check: Callable[..., None]


class Provider:
    """An OpenID Connect provider, as ``REACH_OIDC_*`` describe it."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Take the settings, of which ``oidc_issuer`` is set. Raises BadSettings.

        Nothing is asked yet: a provider that is down keeps nothing from starting.
        """
        if not all(map(_is_installed, LIBRARIES)):
            raise BadSettings(EXTRA)
        self.name = settings.oidc_name
        self.issuer = settings.oidc_issuer
        self._grants = Grants.of(settings)
        self._client_id = settings.oidc_client_id
        self._secret = settings.oidc_client_secret.get_secret_value()
        self._scope = " ".join(parse_scopes(settings.oidc_scopes))
        self._callback = f"{settings.origin}{CALLBACK}"
        self._ca_file = settings.oidc_ca_file
        if self._ca_file is not None:
            _trusting(self._ca_file)
        self._signer = Signer(settings, "oidc")
        #: At the end of each session's token that began here, by settings as they are now.
        self.mark = f".{self._signer.signature(_who_may_what(settings))}"
        self._clock = clock
        self._made: _Tools | None = None
        self._found: tuple[float, Metadata] | None = None
        self._failed: tuple[float, ProviderUnavailable] | None = None
        self._lock = asyncio.Lock()

    @classmethod
    def of(cls, settings: Settings) -> "Provider | None":
        """Make the provider that the settings name; None if there is none. Raises BadSettings."""
        return cls(settings) if settings.oidc_issuer else None

    def has_granted(self, token: str) -> bool:
        """Whether a session, by its token, began when who may do what was as it is now.

        So who is taken off the list is out once the API has started again.
        """
        return token.endswith(self.mark)

    async def begin(self) -> Begun:
        """Begin a sign-in. Raises ProviderUnavailable."""
        metadata = await self._metadata()
        state = secrets.token_urlsafe(STATE_BYTES)
        digest = sha256(self._verifier(state).encode()).digest()
        question = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._callback,
            "scope": self._scope,
            "state": state,
            "nonce": self._nonce(state),
            "code_challenge": urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        where = metadata.authorization_endpoint
        url = f"{where}{'&' if '?' in where else '?'}{urlencode(question)}"
        return Begun(url, self._signer.sign(f"{state}.{int(self._clock())}"))

    async def finish(self, kept: str, answer: Mapping[str, str]) -> Identity:
        """Find out who comes back, by what the browser kept and the ``answer`` in the address.

        Raises SignInFailed, of every kind.
        """
        state = self._state(kept)
        given = answer.get("state", "").encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(given, state.encode()):
            raise NotBegunHere("the answer is to another sign-in (state)")
        metadata = await self._metadata()
        self._check_issuer(answer, metadata)
        if "error" in answer:
            raise Declined(_known(answer["error"]))
        tokens = await self._tokens(metadata, answer.get("code", ""), state)
        claims = await self._claims(tokens, state)
        if not self._grants.can_tell(claims):
            claims = await self._userinfo(metadata, tokens, claims)
        if not (scopes := self._grants.granted(claims)):
            raise NotGranted("no value of the claim grants anything")
        return Identity(claims["sub"], scopes)

    async def probe(self) -> int:
        """Ask the provider for what a sign-in needs; returns how many keys it has.

        Raises ProviderUnavailable.
        """
        await self._metadata()
        return await (await self._tools()).keys.load()

    def _state(self, kept: str) -> str:
        """Read the cookie. Raises NotBegunHere."""
        try:
            state, _, began = self._signer.unsign(kept).rpartition(".")
        except itsdangerous.BadSignature:
            raise NotBegunHere("the browser keeps no sign-in of ours") from None
        age = self._clock() - int(began)
        if not -SIGN_IN_SECONDS <= age <= SIGN_IN_SECONDS:
            raise NotBegunHere("the sign-in began too long ago")
        return state

    def _nonce(self, state: str) -> str:
        return self._signer.signature(f"nonce {state}")

    def _verifier(self, state: str) -> str:
        return self._signer.signature(f"verifier {state}")

    def _check_issuer(self, answer: Mapping[str, str], metadata: Metadata) -> None:
        """Raise NotProven if the answer comes from another provider than was asked (RFC 9207)."""
        says = answer.get("iss")
        if says is None and metadata.says_issuer:
            raise NotProven("the answer does not say whose it is (iss), and the provider's do")
        if says is not None and says != self.issuer:
            raise NotProven("the answer is another provider's (iss)")

    async def _tokens(self, metadata: Metadata, code: str, state: str) -> Mapping[str, Any]:
        """Have the code's tokens. Raises NotProven, ProviderUnavailable."""
        if not 0 < len(code) <= CODE_CHARACTERS:
            raise NotProven("the answer has no code")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "code_verifier": self._verifier(state),
        }
        headers = {}
        if metadata.authentication == "client_secret_basic":
            headers = {"Authorization": _basic(self._client_id, self._secret)}
        else:
            form["client_id"] = self._client_id
        if metadata.authentication == "client_secret_post":
            form["client_secret"] = self._secret
        fetcher = (await self._tools()).fetcher
        answer = await fetcher.ask("tokens", "POST", metadata.token_endpoint, headers, form)
        if isinstance(answer.document.get("id_token"), str):
            return answer.document
        error = _known(answer.document.get("error"))
        if error == "invalid_grant":
            raise NotProven("the provider does not know the code, or not any more (invalid_grant)")
        raise ProviderUnavailable(f"tokens: the answer is HTTP {answer.status} ({error})")

    async def _claims(self, tokens: Mapping[str, Any], state: str) -> Claims:
        """Verify the ID token. Raises NotProven, ProviderUnavailable."""
        tools = await self._tools()
        claims = await tools.keys.verified(tokens["id_token"])
        tools.check(
            claims,
            issuer=self.issuer,
            client_id=self._client_id,
            nonce=self._nonce(state),
            now=self._clock(),
        )
        return claims

    async def _userinfo(
        self, metadata: Metadata, tokens: Mapping[str, Any], claims: Claims
    ) -> Claims:
        """Ask for what the ID token does not say: that of the same subject, or NotProven."""
        token = tokens.get("access_token")
        if not metadata.userinfo_endpoint or not isinstance(token, str):
            return claims
        headers = {"Authorization": f"Bearer {token}"}
        fetcher = (await self._tools()).fetcher
        found = await fetcher.document("userinfo", metadata.userinfo_endpoint, headers)
        if found.get("sub") != claims["sub"]:
            raise NotProven("userinfo is somebody else's (sub)")
        found_claims: Claims = found
        return found_claims

    async def _metadata(self) -> Metadata:
        """Give what the provider says of itself. Raises ProviderUnavailable.

        Those who wait while it hangs share one failure: else each would wait for it again.
        """
        async with self._lock:
            if self._found is not None and self._is_younger(self._found[0], KEPT_SECONDS):
                return self._found[1]
            if self._failed is not None and self._is_younger(self._failed[0], FAILED_SECONDS):
                raise ProviderUnavailable(self._failed[1].reason)
            try:
                metadata = await self._discovered()
            except ProviderUnavailable as failed:
                self._failed = self._clock(), failed
                raise
            self._found = self._clock(), metadata
            return metadata

    async def _discovered(self) -> Metadata:
        fetcher = (await self._tools()).fetcher
        url = f"{self.issuer.removesuffix('/')}{PATH}"
        document = await fetcher.document(DISCOVERY, url)
        return Metadata.read(document, self.issuer, has_secret=bool(self._secret))

    def _is_younger(self, moment: float, seconds: float) -> bool:
        return 0 <= self._clock() - moment < seconds

    async def _keys(self) -> Any:
        metadata = await self._metadata()
        return await (await self._tools()).fetcher.document("keys", metadata.jwks_uri)

    async def _tools(self) -> _Tools:
        """Make the tools, once somebody signs in: their libraries are large, and slow to load."""
        if self._made is None:
            self._made = await anyio.to_thread.run_sync(self._make)
        return self._made

    def _make(self) -> _Tools:
        from reach.auth.oidc import fetching, tokens

        keys = tokens.Keys(self._keys, self._clock)
        return _Tools(fetching.Fetcher(_trusting(self._ca_file)), keys, tokens.check)


def _who_may_what(settings: Settings) -> str:
    """Write down what a sign-in's scopes come from: the provider, what it calls us, the list."""
    secret = settings.oidc_client_secret.get_secret_value()
    issuer, client = settings.oidc_issuer, settings.oidc_client_id
    return repr(("grants", issuer, client, secret, settings.oidc_claim, settings.oidc_grants))


def _is_installed(name: str) -> bool:
    """Whether a library can be imported; to do so would take memory that is not needed yet."""
    try:
        return find_spec(name) is not None
    except ValueError:  # one that was hidden: sys.modules has None for it
        return False


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Load the certificate authorities. Raises BadSettings if the file cannot be used."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise BadSettings("REACH_OIDC_CA_FILE holds no certificates as PEM") from None
    except OSError as error:
        raise BadSettings(f"REACH_OIDC_CA_FILE cannot be read: {error.strerror}") from None


def _basic(client_id: str, secret: str) -> str:
    """Write the client's credentials: encoded as a form first (RFC 6749 §2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def _known(error: object) -> str:
    return error if isinstance(error, str) and error in ERRORS else "an error of its own"
