"""What is signed for one purpose, by a key that counts, is ours; nothing else is."""

import hashlib
import hmac
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from types import FrameType

import pytest
from itsdangerous import BadSignature
from itsdangerous import Signer as LibrarySigner

from reach.auth.signing import Signer
from reach.settings import BadSettings, Settings

OLD, NEW = "an-old-secret-of-32-characters-ab", "a-new-secret-of-32-characters-abc"


def signer(secret: str = OLD, purpose: str = "tests") -> Signer:
    """A signer by these secrets."""
    return Signer(Settings(secret_key=secret), purpose)  # type: ignore[arg-type]  # pydantic makes it secret


@pytest.mark.parametrize("text", ["", "a", "a.b", "käse", "\n", "\ud800"])
def test_what_was_signed_is_ours(text: str) -> None:
    """Any text; the signature is HMAC-SHA256 in base64, by a key that the purpose makes."""
    ours = signer()
    signature = ours.signature(text)
    key = hmac.digest(OLD.encode(), b"reach/tests", "sha256")
    digest = hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")
    assert ours.keys == (key,)
    assert signature == urlsafe_b64encode(digest).decode().rstrip("=")
    assert ours.is_signature(text, signature)
    assert ours.sign(text) == f"{text}.{signature}"
    assert ours.signatures(text) == (signature,)


@pytest.mark.parametrize("text", ["", "a", "a.b", "käse", "\n", "\ud800"])
def test_what_was_signed_can_be_read(text: str) -> None:
    """It comes back as it was."""
    assert signer().unsign(signer().sign(text)) == text


def test_a_purpose_and_a_secret_know_their_own_only() -> None:
    """What another purpose or another secret signed is worth nothing; nor is what nobody signed."""
    others = [signer(purpose="test"), signer(NEW)]
    bad = [other.sign("a") for other in others]
    bad += [LibrarySigner(OLD, "reach/tests").sign("a").decode()]  # SHA-1, the library's default
    bad += ["", ".", "a", "a.", ".a", "..", "a.é", "a.\ud800", "a.=", "a.\0", "x" * 10_000]
    for text in bad:
        with pytest.raises(BadSignature):
            signer().unsign(text)
        assert not signer().is_signature("a", text.rpartition(".")[2])


def test_a_signature_has_one_spelling() -> None:
    """No other last character, no padding, no blank: all of which the library would accept."""
    signed = signer().sign("a")
    library = LibrarySigner(signer().keys[0], key_derivation="none", digest_method=hashlib.sha256)
    assert library.unsign(signed) == b"a"
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(signed[-1])
    spellings = [signed[:-1] + alphabet[last ^ bits] for bits in (1, 2, 3)]
    spellings += [signed + end for end in ("=", " ", "é", "!")]
    assert all(library.validate(text) for text in spellings[:3])
    for text in spellings:
        with pytest.raises(BadSignature):
            signer().unsign(text)


def test_secrets_rotate() -> None:
    """The first signs, all are accepted; what is looked up by its signature is found by each."""
    old, both, new = signer(), signer(f"{NEW},{OLD}"), signer(NEW)
    assert both.sign("a") == new.sign("a")
    assert both.unsign(old.sign("a")) == both.unsign(new.sign("a")) == "a"
    assert both.signatures("a") == (new.signature("a"), old.signature("a"))
    assert both.keys == new.keys + old.keys
    with pytest.raises(BadSignature):
        new.unsign(old.sign("a"))


def hmacs_of(work: Callable[[], object]) -> int:
    """Count how many HMACs are begun."""
    begun: list[object] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in (hmac.new.__code__, hmac.HMAC.copy.__code__):
            begun.append(frame)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return len(begun)


def test_keys_are_derived_once() -> None:
    """At the start: afterwards a signature is one HMAC, with none for its key."""
    ours = signer()
    signed = ours.sign("a")
    assert hmacs_of(signer) == 1
    assert hmacs_of(lambda: ours.sign("a")) == 1
    assert hmacs_of(lambda: ours.unsign(signed)) == 1
    assert hmacs_of(lambda: ours.signatures("a")) == 1


def test_without_a_secret_nothing_is_signed() -> None:
    """Rather than by a key that anybody could derive."""
    with pytest.raises(BadSettings, match="REACH_SECRET_KEY"):
        Signer(Settings(), "tests")
