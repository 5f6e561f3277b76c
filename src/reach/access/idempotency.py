"""``Idempotency-Key``: the same request again gets the answer that it got the first time.

A route reads the header, and says what it does as a function that ends in ``Done``::

    once = onces.of_operator(request.headers.getlist(HEADER), key.id, "/v1/people", data)

    def work(tx):
        person = add_person(tx, …)
        return Done(Answer(201, …), person.id)

    answer = await database.write(do_once, once, work)

``once`` is None where there is no such header; nothing is looked up or stored then. In a group
``each_once`` does the same for many items. What fails is not stored: an exception takes the claim
back with everything else. See docs/decisions/0012-idempotency.md.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

from reach.access.signing import Signer
from reach.db.transaction import Transaction
from reach.idempotency import stored as answers
from reach.idempotency.stored import Answer, Done, Name, Once, Stored
from reach.problems import BadRequest, Problem
from reach.settings import Settings
from reach.shapes import Shape
from reach.web.openapi import takes

HEADER = "idempotency-key"
MOST_CHARACTERS = 255
#: One key in quotes (a string of RFC 9651) or bare. A comma is what proxies join headers by.
QUOTED = rf'"(?:[ !#-\[\]-~]|\\["\\]){{1,{MOST_CHARACTERS}}}"'
BARE = rf"[!#-+\--~](?:[ !#-+\--~]{{0,{MOST_CHARACTERS - 2}}}[!#-+\--~])?"
KEY = Shape(
    f"{QUOTED}|{BARE}",
    f"Idempotency-Key must be one string of 1 to {MOST_CHARACTERS} printable ASCII characters.",
)

#: For the ``openapi_extra`` of a route that reads it.
IDEMPOTENCY_KEY = takes(
    "Idempotency-Key",
    "The same key and body within 24 hours: the same answer, and nothing is done again",
    KEY,
    "0f0c9b1e-9f5b-4c46-a0ac-0d6a9c2c1d6a",
)

I = TypeVar("I", bound="Asked")  # noqa: E741 - an item


class Asked(Protocol):
    """An item of a group that may carry a key."""

    @property
    def once(self) -> Once | None:
        """The key, if there is one."""


class Onces:
    """Reads what is to be done once. ``route`` is the path as it was called, ids and all."""

    def __init__(self, settings: Settings) -> None:
        """Derive the keys. Raises BadSettings if there is no secret to derive from."""
        self._keys = Signer(settings, "idempotency-key")
        self._bodies = Signer(settings, "idempotency-body")

    def of_operator(
        self, headers: Sequence[str], key_id: UUID, route: str, data: Any = None
    ) -> Once | None:
        """Read an operator's; ``data`` is the JSON body as it came. Raises BadRequest."""
        return self._of(headers, f"operator:{key_id}", route, data)

    def of_person(
        self, headers: Sequence[str], person_id: UUID, route: str, data: Any = None
    ) -> Once | None:
        """Read a link holder's. Raises BadRequest."""
        return self._of(headers, f"person:{person_id}", route, data)

    def at_door(
        self, headers: Sequence[str], email_key: str, route: str, data: Any = None
    ) -> Once | None:
        """Read a stranger's: two strangers never meet, unless they have one address.

        All that is stored is signed together with the key, which only its caller knows: nobody can
        tell whose row it is, and so it can outlive the person. Were it deleted with them, the same
        key with another body would tell that they were here. Raises BadRequest.
        """
        return self._of(headers, "door", route, data, whose=f"{email_key}\n")

    def _of(
        self, headers: Sequence[str], caller: str, route: str, data: Any, *, whose: str = ""
    ) -> Once | None:
        if not headers:
            return None
        # Signed, since some make a key of an address.
        key = f"{whose}{read_key(headers)}"
        names = tuple((caller, route, signed) for signed in self._keys.sign_by_each(key))
        written = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return Once(names, self._bodies.sign_by_each(f"{key}\n{written}" if whose else written))


def read_key(headers: Sequence[str]) -> str:
    """Read the header: one key of 1 to 255 characters. Raises BadRequest."""
    given = headers[0].strip(" \t")
    if len(headers) > 1 or not KEY.fits(given):
        raise BadRequest(KEY.said)
    return re.sub(r"\\(.)", r"\1", given[1:-1]) if given.startswith('"') else given


def do_once(tx: Transaction, once: Once | None, work: Callable[[Transaction], Done]) -> Answer:
    """Do ``work``, or give the answer that is stored. Raises KeyReused, and what ``work`` raises.

    A second caller meanwhile waits until the first one's transaction ends.
    """
    if once is None:
        return work(tx).answer
    stored = answers.claim(tx, [once])
    if once.name in stored:
        return stored[once.name].answer_or_raise(once)
    done = work(tx)
    answers.keep(tx, {once.name: done})
    return done.answer


def each_once(
    tx: Transaction,
    items: Sequence[I],
    work: Callable[[Sequence[I]], Sequence[Done | Problem]],
) -> Sequence[Answer | Problem]:
    """Do ``work`` for those ``items`` that were not done yet; an answer for each, in order.

    Of several items with one key the first is done. Another body under the same key is that
    item's own failure. What ``work`` refuses is not kept: its key is free again.
    """
    firsts: dict[Name, I] = {}
    for item in items:
        if item.once is not None:
            firsts.setdefault(item.once.name, item)
    if not firsts:
        return [_answer(done) for done in work(items)]
    stored = answers.claim(tx, [item.once for item in firsts.values() if item.once is not None])
    new = {name: item for name, item in firsts.items() if name not in stored}
    to_do = [i for i in items if i.once is None or new.get(i.once.name) is i]
    # By identity: two items may be equal.
    all_done = dict(zip(map(id, to_do), work(to_do) if to_do else (), strict=True))
    refused: dict[Name, Problem] = {}
    kept: dict[Name, Done] = {}
    for name, item in new.items():
        assert item.once is not None  # noqa: S101 - it has a name
        done = all_done[id(item)]
        if isinstance(done, Problem):
            refused[name] = done
        else:
            kept[name] = done
            stored[name] = Stored(item.once.fingerprints[0], done.answer)
    answers.keep(tx, kept)
    answers.release(tx, refused)
    return [
        _answer(all_done[id(i)])
        if i.once is None
        else refused.get(i.once.name) or stored[i.once.name].answer_to(i.once)
        for i in items
    ]


def _answer(done: Done | Problem) -> Answer | Problem:
    return done if isinstance(done, Problem) else done.answer
