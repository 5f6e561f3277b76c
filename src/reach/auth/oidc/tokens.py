"""ID tokens: signed by the provider, for us, now, in answer to this sign-in.

OpenID Connect Core 1.0, §3.1.3.7; what not to fall for is RFC 8725.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import (
    BadSignatureError,
    ClaimError,
    InvalidKeyIdError,
    JoseError,
    UnsupportedAlgorithmError,
)
from joserfc.jwk import JWKRegistry, Key

from reach.auth.oidc.model import NotProven, ProviderUnavailable

#: With a public key alone nobody can sign for one of these. ``none`` is signed by nobody, and HS256
#: by who knows the key, which for a public one is everybody.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
PUBLIC_KEY_TYPES = ("RSA", "EC", "OKP")
#: The type of key that an algorithm signs with, by how its name begins.
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
#: Clocks differ.
SKEW_SECONDS = 60
#: A key that the provider has withdrawn is known no longer than this.
KEPT_SECONDS = 3600
#: A token by a key that is not known has the keys asked for again, so often at most: who sends us
#: made-up tokens is not to have us flood the provider.
ASKED_SECONDS = 30
#: OpenID Connect Core §2 has 255 for the subject.
SUBJECT_CHARACTERS = 255
#: What joserfc raises for a token that is none; TypeError for a header of ``{"crit": null}``.
UNREADABLE = (JoseError, ValueError, TypeError)


class Keys:
    """The provider's public keys: kept for a while, and asked for again when it has new ones."""

    def __init__(self, fetch: Callable[[], Awaitable[Any]], clock: Callable[[], float]) -> None:
        """Take what fetches the list of them, and a clock, in seconds."""
        self._fetch, self._clock = fetch, clock
        self._known: Sequence[Key] = ()
        self._asked_at = 0.0
        self._lock = asyncio.Lock()

    async def verified(self, token: str) -> dict[str, Any]:
        """Give the claims of a token that the provider has signed.

        Raises NotProven; ProviderUnavailable.
        """
        try:
            return _claims(token, await self._newer_than(KEPT_SECONDS))
        except (InvalidKeyIdError, BadSignatureError):
            keys = await self._newer_than(ASKED_SECONDS)
        except UNREADABLE as error:
            raise NotProven(f"the ID token cannot be verified: {type(error).__name__}") from None
        try:
            return _claims(token, keys)
        except UNREADABLE as error:
            raise NotProven(f"the ID token is not signed so: {type(error).__name__}") from None

    async def load(self) -> int:
        """Have the keys; returns how many there are. Raises ProviderUnavailable."""
        return len(await self._newer_than(KEPT_SECONDS))

    async def _newer_than(self, seconds: float) -> Sequence[Key]:
        async with self._lock:
            age = self._clock() - self._asked_at
            if not self._known or not 0 <= age < seconds:
                self._known = _keys(await self._fetch())
                self._asked_at = self._clock()
            return self._known


def check(
    claims: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str, now: float
) -> None:
    """Raise NotProven unless these are said by the issuer, to us, now, and of this sign-in."""
    registry = jwt.JWTClaimsRegistry(
        now=int(now),
        leeway=SKEW_SECONDS,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True},
    )
    try:
        registry.validate(dict(claims))
    except ClaimError as error:
        words = f"the ID token's claims: {type(error).__name__} ({error.claim})"
        raise NotProven(words) from None
    if claims["nonce"] != nonce:
        raise NotProven("the ID token is not of this sign-in (nonce)")
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    party = claims.get("azp", client_id if len(audiences) == 1 else None)
    if party != client_id:
        raise NotProven("the ID token is for another client (azp)")
    if not 0 < len(claims["sub"]) <= SUBJECT_CHARACTERS or not claims["sub"].isprintable():
        raise NotProven("the ID token's subject is none that can be kept")


def _claims(token: str, keys: Sequence[Key]) -> dict[str, Any]:
    """Verify by each key that the token may be signed with; there is one, but for odd providers."""
    header = jws.extract_compact(token.encode()).headers()
    failure: JoseError | None = None
    for key in _fitting(keys, header.get("alg"), header.get("kid")):
        try:
            return jwt.decode(token, key, algorithms=ALGORITHMS).claims
        except JoseError as error:  # of another curve, say, or for another use
            failure = failure if isinstance(failure, BadSignatureError) else error
    raise failure or InvalidKeyIdError


def _fitting(keys: Sequence[Key], algorithm: object, key_id: object) -> Sequence[Key]:
    """Choose those of the algorithm's type, by their id if both say one.

    joserfc's own set takes the first of an id; of another type one may have the same (RFC 7517
    §4.5), and a key need not have any. Raises UnsupportedAlgorithmError.
    """
    if algorithm not in ALGORITHMS:
        raise UnsupportedAlgorithmError
    found = [key for key in keys if key.key_type == KEY_TYPES[str(algorithm)[:2]]]
    if key_id is not None:
        named = [key for key in found if key.kid == key_id]
        found = named or [key for key in found if key.kid is None]
    return found


def _keys(document: Mapping[str, Any]) -> Sequence[Key]:
    """Read the keys that signatures can be verified with. Raises ProviderUnavailable.

    What is not understood is passed over (RFC 7517 §5): providers publish new kinds beside the old.
    """
    listed = document.get("keys")
    found: list[Key] = []
    for one in listed if isinstance(listed, list) else []:
        if not isinstance(one, dict) or one.get("kty") not in PUBLIC_KEY_TYPES:
            continue
        if one.get("use", "sig") == "sig":
            found += _key(one)
    if not found:
        raise ProviderUnavailable("the provider's keys: there is none to verify signatures with")
    return found


def _key(one: dict[str, Any]) -> list[Key]:
    try:
        return [JWKRegistry.import_key(one)]
    except (JoseError, ValueError, TypeError, KeyError):  # a curve of tomorrow, say
        return []
