"""Keys to sign mails with, and receivers that check the signature."""

from functools import cache
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from reach.mail.dkim import DkimKey
from reach.settings import Settings

SELECTOR = "reach1"


@cache
def pem(number: int = 0, bits: int = 2048) -> str:
    """Make an RSA key as ``openssl genrsa`` does; one for each number."""
    assert number >= 0
    key = rsa.generate_private_key(65537, bits)
    form = PrivateFormat.TraditionalOpenSSL if number % 2 else PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def pem_of_mersenne_primes(one: int, other: int) -> str:
    """Make the key whose primes are 2 to these powers, less one: of any length, at once."""
    p, q, e = 2**one - 1, 2**other - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    parts = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    numbers = rsa.RSAPrivateNumbers(p, q, d, *parts, rsa.RSAPublicNumbers(e, p * q))
    key = numbers.private_key()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def pem_of_another_kind(kind: str) -> str:
    """Make what is no plain RSA private key: with a password, of another algorithm, or public."""
    key = rsa.generate_private_key(65537, 2048)
    match kind:
        case "encrypted":
            secret = BestAvailableEncryption(b"password")
            return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret).decode()
        case "public":
            form = PublicFormat.SubjectPublicKeyInfo
            return key.public_key().public_bytes(Encoding.PEM, form).decode()
        case _:
            other = ec.generate_private_key(ec.SECP256R1())
            return other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def signing(**settings: Any) -> dict[str, Any]:
    """Give the settings of a sender who signs."""
    usual = {
        "mail_from": "Reach <hello@example.org>",
        "dkim_selector": SELECTOR,
        "dkim_private_key": pem(),
    }
    return usual | settings


def a_key(**settings: Any) -> DkimKey:
    """Make the key that these settings name."""
    key = DkimKey.of(Settings(**signing(**settings)))
    assert key is not None
    return key


def is_believed(content: bytes, key: DkimKey) -> bool:
    """Whether a receiver, who finds the key's record in DNS, takes the mail for ours."""

    def texts(name: bytes, timeout: float = 5) -> bytes:  # noqa: ARG001 - dkimpy names it
        return key.record.encode() if name == f"{key.name}.".encode() else b""

    return bool(dkim.verify(content, dnsfunc=texts))
