"""The proof of work of altcha, version 2: find the counter whose key begins as it should."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from time import monotonic
from typing import Any


def solve(parameters: Mapping[str, Any], signature: str, seconds: float) -> str:
    """Count up until PBKDF2 gives a key with the asked-for prefix; the solution, in base64.

    Raises ValueError for another algorithm than PBKDF2; TimeoutError after so many seconds.
    """
    kdf, _, digest = str(parameters["algorithm"]).partition("/")
    if kdf != "PBKDF2":
        raise ValueError(f"A proof of work of another kind than PBKDF2: {kdf}")
    nonce, salt = bytes.fromhex(parameters["nonce"]), bytes.fromhex(parameters["salt"])
    cost, length = int(parameters["cost"]), int(parameters["keyLength"])
    until, counter = monotonic() + seconds, 0
    while monotonic() < until:
        password = nonce + counter.to_bytes(4, "big")
        key = hashlib.pbkdf2_hmac(digest.replace("-", ""), password, salt, cost, length).hex()
        if key.startswith(parameters["keyPrefix"].lower()):
            challenge = {"parameters": dict(parameters), "signature": signature}
            solution = {"counter": counter, "derivedKey": key}
            proof = {"challenge": challenge, "solution": solution}
            return b64encode(json.dumps(proof).encode()).decode()
        counter += 1
    raise TimeoutError(f"No solution in {seconds:g} s")
