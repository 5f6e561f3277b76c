"""Bodies that are to be refused. Each holds CANARY, which no answer and no log may repeat."""

import json

CANARY = "canary-7f3a"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
#: As deep as 64 KiB can be.
LISTS, OBJECTS = 30_000, 9_000
MOST_BYTES = 65_536

C = CANARY.encode()


def sign_up(**fields: object) -> bytes:
    """Write a sign-up with some fields changed."""
    whole = {"email": f"{CANARY}@example.com", "name": f"Ada {CANARY}", **fields}
    return json.dumps(whole).encode()


def of_bytes(size: int) -> bytes:
    """Write JSON of exactly ``size`` bytes."""
    return b'{"name": "' + C + b"a" * (size - len(C) - 12) + b'"}'


#: Not UTF-8, not JSON, ambiguous, not storable, too deep: 400 at every address.
UNREADABLE = {
    "a lone surrogate": rb'{"email": "ada@example.com", "name": "canary-7f3a\ud800"}',
    "a lone low surrogate": rb'{"email": "canary-7f3a\udc00@example.com", "name": "Ada"}',
    "a lone surrogate in a key": rb'{"canary-7f3a\udfff": 1}',
    "a lone surrogate below": rb'{"data": {"canary-7f3a": [{"x\udfff": 1}]}}',
    "surrogates the wrong way round": rb'{"name": "canary-7f3a\ude00\ud83d"}',
    "NaN": b'{"email": "canary-7f3a@example.com", "name": NaN}',
    "Infinity": b'{"name": "canary-7f3a", "email": Infinity}',
    "-Infinity": b'{"name": "canary-7f3a", "data": {"x": [-Infinity]}}',
    "1e999": b'{"name": "canary-7f3a", "data": {"x": 1e999}}',
    "a huge integer": b'{"canary-7f3a": ' + b"9" * 5000 + b"}",
    "NUL": rb'{"email": "ada@example.com", "name": "canary-7f3a\u0000"}',
    "NUL in a key": rb'{"data": {"canary-7f3a\u0000": 1}}',
    "a bare NUL": b'{"name": "canary-7f3a\0"}',
    "deep lists": b"[" * LISTS + b'"canary-7f3a"' + b"]" * LISTS,
    "deep lists, cut off": b'["canary-7f3a",' + b"[" * LISTS,
    "deep objects": b'{"a":' * OBJECTS + b'"canary-7f3a"' + b"}" * OBJECTS,
    "33 levels": b'{"canary-7f3a": ' + b"[" * 32 + b"]" * 32 + b"}",
    "a key twice": b'{"email": "ada@example.com", "name": "Ada", "name": "canary-7f3a"}',
    "a key twice in two spellings": rb'{"name": "canary-7f3a", "n\u0061me": "canary-7f3a"}',
    "a key twice, below": b'{"data": {"canary-7f3a": 1, "canary-7f3a": 2}}',
    "invalid UTF-8": b'{"name": "canary-7f3a\xff"}',
    "a surrogate in UTF-8": b'{"name": "canary-7f3a\xed\xa0\x80"}',
    "an overlong NUL": b'{"name": "canary-7f3a\xc0\x80"}',
    "Latin-1": '{"name": "canary-7f3a é"}'.encode("latin-1"),
    "UTF-16": '{"name": "canary-7f3a"}'.encode("utf-16"),
    "UTF-16, big end first": '{"name": "canary-7f3a"}'.encode("utf-16-be"),
    "UTF-32": '{"name": "canary-7f3a"}'.encode("utf-32"),
    "a BOM": b'\xef\xbb\xbf{"name": "canary-7f3a"}',
    "nothing": b"",
    "spaces": b" \r\n\t",
    "no JSON": C,
    "half of JSON": b'{"name": "canary-7f3a',
    "JSON and more": b'{"name": "canary-7f3a"} {}',
    "a comma too many": b'{"name": "canary-7f3a",}',
    "single quotes": b"{'name': 'canary-7f3a'}",
    "a line break in a string": b'{"name": "canary-7f3a\n"}',
    "a wrong escape": rb'{"name": "canary-7f3a\x41"}',
    "a wrong number": b'{"canary-7f3a": 01}',
    "fifty-one fields": json.dumps({f"canary-7f3a{n}": n for n in range(51)}).encode(),
    "five thousand fields": json.dumps(dict.fromkeys(map(str, range(5000)), 0)).encode(),
    "a form": b"name=canary-7f3a&email=canary-7f3a%40example.com",
}

#: Not even an object: 422 at every address.
OTHER_SHAPES = {
    "a string": b'"canary-7f3a"',
    "null": b"null",
    "true": b"true",
    "a number": b"-1.5e3",
    "a list": b'["canary-7f3a"]',
    "a list of pairs": b'[["email", "canary-7f3a@example.com"], ["name", "canary-7f3a"]]',
    "an unknown field alone": b'{"canary-7f3a": "canary-7f3a"}',
}

#: Readable, but against the rules of a sign-up: 422, and 422 where operators add people.
INVALID = {
    **OTHER_SHAPES,
    "a number for an address": sign_up(email=5),
    "null for an address": sign_up(email=None),
    "an object for an address": sign_up(email={CANARY: CANARY}),
    "a list for a name": sign_up(name=[CANARY]),
    "null for a name": sign_up(name=None),
    "true for a name": sign_up(name=True),
    "true for a description": sign_up(description=True),
    "an object for a description": sign_up(description={CANARY: 1}),
    "no name": b'{"email": "canary-7f3a@example.com"}',
    "no address": b'{"name": "canary-7f3a"}',
    "nothing in it": b"{}",
    "an unknown field": sign_up(**{CANARY: 1}),
    "an unknown field of a known person": sign_up(id=CANARY),
    "a field in upper case": sign_up(Name=CANARY),
    "a million": sign_up(name=10**6),
}
