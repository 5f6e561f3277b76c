"""``Idempotency-Key``: how the header is read, and signed before it is stored.

Some make a key of an address: so neither a key nor a body is stored in clear. What is stored with
a key, and given again, is in ``idempotency.stored``.
"""

import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from reach.auth.signing import Signer
from reach.idempotency.stored import IdempotencyKey
from reach.problems import BadRequest
from reach.settings import Settings
from reach.shapes import Shape

HEADER = "idempotency-key"
MOST_CHARACTERS = 255
#: One key in quotes (a string of RFC 9651) or bare. A comma is what proxies join headers by.
QUOTED = rf'"(?:[ !#-\[\]-~]|\\["\\]){{1,{MOST_CHARACTERS}}}"'
BARE = rf"[!#-+\--~](?:[ !#-+\--~]{{0,{MOST_CHARACTERS - 2}}}[!#-+\--~])?"
KEY = Shape(
    f"{QUOTED}|{BARE}",
    f"Idempotency-Key must be one string of 1 to {MOST_CHARACTERS} printable ASCII characters.",
)


class IdempotencyKeys:
    """Reads the header ``Idempotency-Key`` of a request that has it: the list of its values.

    ``route`` is the path as it was called, ids and all; ``data`` is the JSON body as it came.
    Everything here raises BadRequest for what is no key.
    """

    def __init__(self, settings: Settings) -> None:
        """Derive the signing keys. Raises BadSettings if there is no secret to derive from."""
        self._keys = Signer(settings, "idempotency-key")
        self._bodies = Signer(settings, "idempotency-body")

    def of_operator(
        self, headers: Sequence[str], key_id: UUID, route: str, data: Any = None
    ) -> IdempotencyKey:
        """Read an operator's."""
        return self._read(headers, f"operator:{key_id}", route, data)

    def of_person(
        self, headers: Sequence[str], person_id: UUID, route: str, data: Any = None
    ) -> IdempotencyKey:
        """Read that of the holder of a link."""
        return self._read(headers, f"person:{person_id}", route, data)

    def of_public(
        self, headers: Sequence[str], email_key: str, route: str, data: Any = None
    ) -> IdempotencyKey:
        """Read that of a sign-up: two strangers never meet, unless they have one address.

        All that is stored is signed together with the key, which only its caller knows: nobody can
        tell whose row it is, and so it can outlive the person. Were it deleted with them, the same
        key with another body would tell that they were here.
        """
        return self._read(headers, "public", route, data, whose=f"{email_key}\n")

    def _read(
        self, headers: Sequence[str], caller: str, route: str, data: Any, *, whose: str = ""
    ) -> IdempotencyKey:
        key = f"{whose}{read_key(headers)}"
        names = tuple((caller, route, signed) for signed in self._keys.signatures(key))
        written = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        signed = self._bodies.signatures(f"{key}\n{written}" if whose else written)
        return IdempotencyKey(names, signed)


def read_key(headers: Sequence[str]) -> str:
    """Read the header: one key of 1 to 255 characters. Raises BadRequest."""
    given = headers[0].strip(" \t")
    if len(headers) > 1 or not KEY.fits(given):
        raise BadRequest(KEY.said)
    return re.sub(r"\\(.)", r"\1", given[1:-1]) if given.startswith('"') else given
