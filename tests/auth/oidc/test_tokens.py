"""ID tokens that nobody should fall for, and those that are unusual and sound."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from joserfc import jwe, jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from reach.auth.oidc.model import NotProven, ProviderUnavailable
from reach.auth.oidc.tokens import Keys, check

RSA, OTHER = (RSAKey.generate_key(2048, auto_kid=True) for _ in range(2))
EC = ECKey.generate_key("P-256", auto_kid=True)
ED = OKPKey.generate_key("Ed25519", auto_kid=True)
NOW = time.time()
CLAIMS: dict[str, Any] = {
    "iss": "https://login.example.org",
    "aud": "reach",
    "sub": "ada-4711",
    "exp": int(NOW) + 300,
    "iat": int(NOW),
    "nonce": "n",
}


def publishing(*keys: Any, clock: Any = time.time) -> tuple[Keys, list[float]]:
    """Make what verifies by these keys, and a list of the times when they were asked for."""
    asked: list[float] = []

    async def fetch() -> Any:
        asked.append(clock())
        published = KeySet(list(keys)).as_dict(private=False)
        # What a provider may have beside them: keys of tomorrow, keys for another use, and junk.
        more = [
            {"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"},
            {"kty": "EC", "crv": "P-1000", "x": "x", "y": "y"},
            {**OTHER.as_dict(private=False), "use": "enc"},
            {"kty": "RSA"},
            "junk",
        ]
        return {"keys": [*more, *published["keys"]]}

    return Keys(fetch, clock), asked


def signed(key: Any, algorithm: str, claims: Any = CLAIMS, **header: Any) -> str:
    """Write a token."""
    head = {"alg": algorithm, "kid": key.kid, **header}
    return jwt.encode(
        {k: v for k, v in head.items() if v is not None}, dict(claims), key, [algorithm]
    )


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # and providers still have it
@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (RSA, "PS512"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")],
)
async def test_what_the_provider_signed_is_believed(key: Any, algorithm: str) -> None:
    """By each kind of key, among others that are not understood."""
    keys, _ = publishing(RSA, EC, ED)
    assert await keys.verified(signed(key, algorithm)) == CLAIMS


async def test_of_one_key_the_token_need_not_say_which() -> None:
    """As some small providers do."""
    keys, _ = publishing(RSA)
    assert await keys.verified(signed(RSA, "RS256", kid=None)) == CLAIMS


@pytest.mark.parametrize("said", [None, "same", "another"])
async def test_keys_are_told_apart_by_their_type_too(said: str | None) -> None:
    """Two types may share an id (RFC 7517 §4.5), and a key need not have one."""

    def published(key: Any) -> Any:
        found = key.as_dict(private=False) | {"kid": "same"}
        return found if said == "same" else {k: v for k, v in found.items() if k != "kid"}

    async def fetch() -> Any:
        return {"keys": [published(key) for key in (EC, OTHER, ED, RSA)]}

    keys = Keys(fetch, time.time)
    for key, algorithm in ((RSA, "RS256"), (EC, "ES256"), (ED, "Ed25519")):
        assert await keys.verified(signed(key, algorithm, kid=said)) == CLAIMS
    with pytest.raises(NotProven):
        await keys.verified(signed(RSAKey.generate_key(2048), "RS256", kid=said))


@pytest.mark.parametrize(
    "beside",
    [
        ECKey.generate_key("P-384").as_dict(private=False),
        RSA.as_dict(private=False) | {"alg": "RS512"},
        RSA.as_dict(private=False) | {"alg": "RSA-OAEP"},
        RSA.as_dict(private=False) | {"key_ops": ["encrypt"]},
    ],
    ids=["curve", "algorithm", "encryption", "operation"],
)
async def test_a_key_that_does_not_fit_hides_none_that_does(beside: dict[str, Any]) -> None:
    """Of another curve, or said to be for something else, and first on the list."""

    async def fetch() -> Any:
        listed = [beside, *(key.as_dict(private=False) for key in (RSA, EC))]
        return {"keys": [{**key, "kid": "same"} for key in listed]}

    keys = Keys(fetch, time.time)
    for key, algorithm in ((RSA, "RS256"), (EC, "ES256")):
        assert await keys.verified(signed(key, algorithm, kid="same")) == CLAIMS


def unsigned() -> str:
    """Write a token that nobody signed, and that says so."""
    parts = ({"alg": "none", "kid": RSA.kid}, CLAIMS)
    written = (urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join((*written, ""))


def shared() -> str:
    """Sign with the public key, which everybody has, as if it were a shared secret."""
    parts = ({"alg": "HS256", "kid": RSA.kid}, CLAIMS)
    text = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    mac = hmac.digest(RSA.as_pem(private=False), text, "sha256")
    return f"{text.decode()}.{urlsafe_b64encode(mac).decode().rstrip('=')}"


def encrypted() -> str:
    """Write a token that is encrypted: who has our public key could be anybody."""
    header = {"alg": "RSA-OAEP", "enc": "A256GCM", "kid": RSA.kid}
    return jwt.encode(header, CLAIMS, RSA, registry=jwe.JWERegistry())


@pytest.mark.parametrize(
    "token",
    [
        unsigned(),
        encrypted(),
        signed(OTHER, "RS256"),
        signed(OTHER, "RS256", kid=RSA.kid),
        signed(RSA, "RS256")[:-4] + "AAAA",
        shared(),
        signed(EC, "ES256", kid=RSA.kid),
        "",
        "a.b",
        "a.b.c.d.e",
        "é.é.é",
        "." * 5000,
    ],
    ids=range(12),
)
async def test_what_the_provider_did_not_sign_is_not(token: str) -> None:
    """No token without a signature, by another's key, by another kind of signature, or damaged."""
    keys, _ = publishing(RSA, EC)
    with pytest.raises(NotProven):
        await keys.verified(token)


HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "crit", "b64", "typ", "jwk", "x5c", "jku"]),
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.text(max_size=4))
    | st.sampled_from(["RS256", "none", "HS256", RSA.kid]),
)  # fmt: skip


@given(header=HEADERS, payload=st.binary(max_size=20), signature=st.binary(max_size=20))
@how(max_examples=80, deadline=None, database=None, derandomize=True)
async def test_no_token_makes_a_fault_of_ours(
    header: dict[str, Any], payload: bytes, signature: bytes
) -> None:
    """Whatever its header says, it proves nothing."""
    parts = (json.dumps(header).encode(), payload, signature)
    token = ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    keys, _ = publishing(RSA, EC)
    with pytest.raises(NotProven):
        await keys.verified(token)


async def test_made_up_tokens_do_not_have_the_provider_flooded() -> None:
    """Its keys are asked for again once in half a minute, and once an hour in any case."""
    now = NOW
    keys, asked = publishing(RSA, clock=lambda: now)
    await keys.verified(signed(RSA, "RS256"))
    for _ in range(20):
        with pytest.raises(NotProven):
            await keys.verified(signed(OTHER, "RS256"))
    assert len(asked) == 1
    now += 31
    with pytest.raises(NotProven):
        await keys.verified(signed(OTHER, "RS256"))
    assert len(asked) == 2
    now += 3601
    await keys.verified(signed(RSA, "RS256"))
    assert len(asked) == 3


async def test_a_provider_without_a_key_to_verify_with_cannot_be_used() -> None:
    """Nor one whose list is none."""
    for document in ({}, {"keys": None}, {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}):

        async def fetch(document: Any = document) -> Any:
            return document

        with pytest.raises(ProviderUnavailable, match="there is none"):
            await Keys(fetch, time.time).verified("a.b.c")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["reach"]},
        {"aud": ["reach", "other"], "azp": "reach"},
        {"azp": "reach"},
        {"exp": NOW - 59},
        {"iat": NOW + 59},
        {"nbf": NOW + 59},
    ],
)
def test_claims_that_are_sound(changes: dict[str, Any]) -> None:
    """Clocks may differ by a minute; of several clients one was asked by us."""
    check({**CLAIMS, **changes}, issuer=CLAIMS["iss"], client_id="reach", nonce="n", now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://login.example.org/"},
        {"iss": None},
        {"iss": ["https://login.example.org"]},
        {"aud": "other"},
        {"aud": None},
        {"aud": []},
        {"aud": ["other"]},
        {"aud": ["reach", "other"]},
        {"aud": {"reach": 1}},
        {"azp": "other"},
        {"aud": ["reach", "other"], "azp": "other"},
        {"exp": NOW - 61},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"iat": NOW + 61},
        {"iat": None},
        {"nbf": NOW + 61},
        {"nonce": "m"},
        {"nonce": None},
        {"nonce": ["n"]},
        {"sub": None},
        {"sub": ""},
        {"sub": 4711},
        {"sub": "x" * 256},
        {"sub": "a\nb"},
    ],
)
def test_claims_that_are_not(changes: dict[str, Any]) -> None:
    """Of another issuer, client, time or sign-in, or about nobody who could be named."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    with pytest.raises(NotProven):
        check(claims, issuer=CLAIMS["iss"], client_id="reach", nonce="n", now=NOW)
