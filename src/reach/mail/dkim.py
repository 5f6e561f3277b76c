"""DKIM: the signature by which mail servers know an email for ours (RFC 6376).

An extra, off until ``REACH_DKIM_SELECTOR`` says which key. dkimpy brings mails into the form that
is signed; cryptography signs it, since dkimpy's own RSA is Python and takes twenty times as long.
"""

import asyncio
import os
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from reach.settings import BadSettings, Settings
from reach.settings.types import DOMAIN_CHARACTERS, parse_domain
from reach.settings.urls import parse_mailbox

#: Each is signed once more than it is there: so nobody can add a second one (RFC 6376 §8.15).
SIGNED = (
    ("from", "to", "subject", "date", "message-id"),
    ("reply-to", "mime-version", "content-type"),
    ("auto-submitted",),
)
#: Covered in a mail that has the first of them, as RFC 8058 §4 demands. In others they are not:
#: some mail services give a list's headers to what comes without.
LISTED = (
    ("list-unsubscribe",),
    ("list-unsubscribe-post",),
)
#: What verifiers must be able to check (RFC 8301 §3.2).
LEAST_BITS, MOST_BITS = 1024, 4096
#: How much of the signature stands on a line.
SIGNATURE_CHARACTERS = 72
#: What the threads that sign are called.
SIGNING = "dkim"
#: Where one header ends and the next one begins.
HEADER_END = re.compile(rb"\r\n(?![ \t])")
EXTRA = (
    "REACH_DKIM_SELECTOR is set, and what signs is not installed. Install the extra: "
    "pip install 'reach[dkim]', or, where `make run` installed Reach, .venv/bin/python -m pip "
    "install --require-hashes --requirement requirements/dkim.txt"
)
NO_KEY = (
    "REACH_DKIM_PRIVATE_KEY must be set beside REACH_DKIM_SELECTOR, or name its file with "
    "REACH_DKIM_PRIVATE_KEY_FILE: `openssl genrsa -out dkim.pem 2048` makes one"
)
NO_SELECTOR = (
    "REACH_DKIM_SELECTOR must be set beside REACH_DKIM_DOMAIN and REACH_DKIM_PRIVATE_KEY: a name "
    "of your choice, such as reach1"
)
BAD_KEY = (
    "REACH_DKIM_PRIVATE_KEY is not an RSA private key as PEM, without a password. "
    "`openssl genrsa -out dkim.pem 2048` makes one; name the file with REACH_DKIM_PRIVATE_KEY_FILE"
)
NOT_ALIGNED = (
    "REACH_DKIM_DOMAIN must be the domain of REACH_MAIL_FROM or one above it: DMARC does not count "
    "the signature of another one"
)
NO_NAME = (
    "REACH_DKIM_SELECTOR and the domain make no name that DNS could have: the domain must not be "
    "an address, nor the two of them too long"
)


class DkimKey:
    """The key that mails are signed with, and where DNS is to have its public half.

    Raises BadSettings, if the extra is not installed or the key cannot be used.
    """

    def __init__(self, selector: str, domain: str, pem: str) -> None:
        try:
            import dkim.canonicalization
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import padding, rsa
        except ImportError:
            raise BadSettings(EXTRA) from None
        try:
            key = serialization.load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # its words may hold some of it
            raise BadSettings(BAD_KEY) from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise BadSettings(BAD_KEY)
        if not LEAST_BITS <= key.key_size <= MOST_BITS:
            raise BadSettings(
                f"REACH_DKIM_PRIVATE_KEY has {key.key_size} bits, and must have {LEAST_BITS} to "
                f"{MOST_BITS}: `openssl genrsa -out dkim.pem 2048` makes one"
            )
        self.domain = domain
        #: Where DNS is to have the record.
        self.name = f"{selector}._domainkey.{domain}"
        self.bits = key.key_size
        self._key = key
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix=SIGNING)
        self._padding, self._hash = padding.PKCS1v15(), hashes.SHA256()
        self._form = dkim.canonicalization.Relaxed
        self._load_public = serialization.load_der_public_key
        self._unsupported = UnsupportedAlgorithm
        self._public_form = (
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        # Each long name has a line of its own: folded within, it would be another one.
        self._begin = (
            f" v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d={domain};\r\n s={selector};\r\n"
        ).encode()
        self._start, self._start_listed = map(self._naming, (SIGNED, SIGNED + LISTED))

    @classmethod
    def of(cls, settings: Settings) -> "DkimKey | None":
        """Make the key that ``settings`` name; None if there is no selector. Raises BadSettings."""
        selector, pem = settings.dkim_selector, settings.dkim_private_key.get_secret_value()
        if not selector:
            if pem or settings.dkim_domain:
                raise BadSettings(NO_SELECTOR)
            return None
        if not pem:
            raise BadSettings(NO_KEY)
        sender = parse_mailbox(settings.mail_from).domain.lower()
        domain = settings.dkim_domain or sender
        # A top-level domain is above it too, and nobody's.
        if domain != sender and not ("." in domain and sender.endswith(f".{domain}")):
            raise BadSettings(NOT_ALIGNED)
        key = cls(selector, domain, pem)
        try:
            parse_domain(f"{selector}.{domain}")
        except ValueError:
            raise BadSettings(NO_NAME) from None
        if len(key.name) > DOMAIN_CHARACTERS:
            raise BadSettings(NO_NAME)
        return key

    def _naming(self, rows: Sequence[Sequence[str]]) -> bytes:
        """Begin a signature that covers these headers."""
        names = ":\r\n  ".join(":".join(f"{name}:{name}" for name in row) for row in rows)
        return self._begin + f" h={names};\r\n".encode()

    @property
    def record(self) -> str:
        """What DNS is to say of it."""
        public = self._key.public_key().public_bytes(*self._public_form)
        return f"v=DKIM1; k=rsa; p={b64encode(public).decode()}"

    def is_half_of(self, published: str) -> bool:
        """Whether the public key of a record's ``p=`` is this one's."""
        try:
            other = self._load_public(b64decode("".join(published.split()), validate=True))
        except (ValueError, self._unsupported):  # base64's is a ValueError too
            return False
        return other == self._key.public_key()

    def signed(self, content: bytes) -> bytes:
        """Put the signature before a mail's headers. It covers the bytes as they are."""
        start, covered = self._covered(content)
        return _with_signature(content, start, self._sign(covered))

    async def signed_beside(self, content: bytes) -> bytes:
        """Do that with the 0.3 ms of arithmetic in a thread: the event loop goes on."""
        start, covered = self._covered(content)
        loop = asyncio.get_running_loop()
        signature = await loop.run_in_executor(self._threads, self._sign, covered)
        return _with_signature(content, start, signature)

    def _sign(self, covered: bytes) -> bytes:
        return self._key.sign(covered, self._padding, self._hash)

    def _covered(self, content: bytes) -> tuple[bytes, bytes]:
        """Write the header up to its signature, and what that covers."""
        head, _, body = content.partition(b"\r\n\r\n")
        fields = [self._canonical(line) for line in HEADER_END.split(head)]
        lines = {line.partition(b":")[0].decode(): line for line in fields}
        is_listed = LISTED[0][0] in lines
        start = b"%s t=%d; bh=%s;\r\n b=" % (
            self._start_listed if is_listed else self._start,
            int(time.time()),
            b64encode(sha256(self._form.canonicalize_body(body)).digest()),
        )
        rows = SIGNED + LISTED if is_listed else SIGNED
        covered = [lines[name] for row in rows for name in row if name in lines]
        # Its own header is covered too, as it is before there is a signature in it.
        own = self._canonical(b"DKIM-Signature:" + start).removesuffix(b"\r\n")
        return start, b"".join(covered) + own

    def _canonical(self, line: bytes) -> bytes:
        name, _, value = line.partition(b":")
        ((name, value),) = self._form.canonicalize_headers([(name, value)])
        return bytes(name + b":" + value)


def _with_signature(content: bytes, start: bytes, signature: bytes) -> bytes:
    text = b64encode(signature)
    rows = (text[n : n + SIGNATURE_CHARACTERS] for n in range(0, len(text), SIGNATURE_CHARACTERS))
    return b"DKIM-Signature:%s%s\r\n%s" % (start, b"\r\n  ".join(rows), content)
