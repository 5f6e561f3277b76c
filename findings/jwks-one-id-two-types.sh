#!/usr/bin/env bash
# joserfc: of a key set in which an RSA and an EC key have the same id, only the first can verify.
#
# Guess (written down first): RFC 7517 (§4.5) has an RSA and an EC key share an id where a program takes them as
# equivalents, so a set with both verifies RS256 and ES256, in whatever order they stand; the algorithm says which one is meant.
# And a key need not have an id: a set of one key without verifies a token that names one.
# Seen: the set takes the first key of that id. If it is of the other type the token is refused with InvalidKeyTypeError,
# so whether somebody can sign in hangs on the order of a list. A key without an id is given its thumbprint as one, and a token
# that names any other is refused with InvalidKeyIdError.
#
# Matters to: signing in with OpenID Connect. Reach chooses by type and id itself (`auth/oidc/tokens.py`).
# Needs: python3 (3.11 or later) with venv, and a package index.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check joserfc==1.8.0 cryptography==50.0.2
cat >"$folder/look.py" <<'PYTHON'
import sys
from importlib.metadata import version

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey

CLAIMS = {"sub": "ada"}
SEEN = {
    "EC and RSA, each with its own id: RS256": "verified",
    "EC and RSA, each with its own id: ES256": "verified",
    "EC before RSA, one id: RS256": "InvalidKeyTypeError",
    "EC before RSA, one id: ES256": "verified",
    "RSA before EC, one id: RS256": "verified",
    "RSA before EC, one id: ES256": "InvalidKeyTypeError",
    "RSA without an id, the token names none: RS256": "verified",
    "RSA without an id, the token names one: RS256": "InvalidKeyIdError",
}
RSA, EC = RSAKey.generate_key(2048), ECKey.generate_key("P-256")


def published(key, id_):
    found = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    return found if id_ is None else found | {"kid": id_}


def tried(keys, algorithm, id_):
    key = RSA if algorithm == "RS256" else EC
    header = {"alg": algorithm} if id_ is None else {"alg": algorithm, "kid": id_}
    token = jwt.encode(header, CLAIMS, key, algorithms=[algorithm])
    try:
        found = jwt.decode(token, KeySet.import_key_set({"keys": keys}), algorithms=[algorithm])
    except JoseError as error:
        return type(error).__name__
    assert found.claims == CLAIMS
    return "verified"


of_their_own = [published(EC, "ec"), published(RSA, "rsa")]
ec_first, alone = [published(EC, "a"), published(RSA, "a")], [published(RSA, None)]
found = {
    "EC and RSA, each with its own id: RS256": tried(of_their_own, "RS256", "rsa"),
    "EC and RSA, each with its own id: ES256": tried(of_their_own, "ES256", "ec"),
    "EC before RSA, one id: RS256": tried(ec_first, "RS256", "a"),
    "EC before RSA, one id: ES256": tried(ec_first, "ES256", "a"),
    "RSA before EC, one id: RS256": tried(ec_first[::-1], "RS256", "a"),
    "RSA before EC, one id: ES256": tried(ec_first[::-1], "ES256", "a"),
    "RSA without an id, the token names none: RS256": tried(alone, "RS256", None),
    "RSA without an id, the token names one: RS256": tried(alone, "RS256", "a"),
}
print(f"joserfc {version('joserfc')}; expected: verified, each of them")
for name, outcome in found.items():
    print(f"  {name}: {outcome}")
if found != SEEN:
    sys.exit("this has changed")
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
