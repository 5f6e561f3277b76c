"""What Schemathesis loads: who it is to Reach, and what no JSON Schema can say of a request.

It runs in a process of its own (see ``test_strict``), with the settings of the Reach that it asks
and two variables: STRICT_CALLER, who it is, and STRICT_SEEN, a file for what it got.
"""

import asyncio
import itertools
import json
import os
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance
from sqlalchemy import update

from reach.auth import keys
from reach.auth.links import Link, Links
from reach.db.connect import open_database
from reach.db.transaction import Transaction
from reach.people.model import people
from reach.settings import Settings
from reach.shapes import TEXT
from reach.web.preconditions import TAGS

#: Whom the examples of the document speak of: see ``test_examples``.
SOMEBODY = UUID("01a20aee-6a2a-7a2b-8fad-3dec2137a7f1")
#: The rules of a body that a JSON Schema cannot say, by where they are broken and in which words.
#: The document tells of each in words; a request that breaks nothing else need not be accepted.
UNSAID = {
    # Whether mail gets to an address is by tables: of domains for special use, of IDNA.
    "/email": r"This is not an email address that mail can be sent to\."
    r"|An email address may have .*",
    # What looks like an address or a link is by a table of domains, and as it looks (NFKC);
    # what cannot be seen is by Unicode's categories.
    "/name": r"A name must not hold an address or a link\..*|A name is needed\."
    r"|It needs 1 to 100 printable characters\.",
    # Where a webhook may lead is by the rules of URLs and names, and by what networks there are.
    "/url": r"It must be a URL such as .*|It must begin with https://, .*|It leads into a .*",
    # One of two, and not both.
    "": r"Name an event, or a time since which all are told again\.",
    # Which templates there are is nobody's affair but operators'.
    "/template": r"Known are: .*",
    # Now is another time at each reading.
    "/expires_at": r"It must be in the future\.",
    # A list in another order goes on elsewhere.
    "cursor": r"Take it from next_cursor, unchanged, and ask with the same sort\.",
}
#: Problems about more than one request, or that only a form of ours can avoid.
UNSAID_PROBLEMS = ("idempotency-key-reused", "send-again")
#: In any JSON, at any depth: bodies with free data may hold it (`POST /v1/messages`).
UNSAID_IN_JSON = (
    r"The body (holds the character NUL|is nested deeper than 32 levels|has too many fields)\."
)


def breaks_only_what_is_unsaid(status: int, problem: dict[str, Any]) -> bool:
    """Whether a request was refused for rules alone that no JSON Schema can say."""
    if problem["type"].rpartition("/")[2] in UNSAID_PROBLEMS:
        return True
    if status == httpx.codes.BAD_REQUEST:
        return re.fullmatch(UNSAID_IN_JSON, problem.get("detail", "")) is not None
    faults = problem.get("errors", [])
    return bool(faults) and all(
        re.fullmatch(UNSAID.get(_place(fault), r"(?!)"), fault["detail"]) for fault in faults
    )


def _place(fault: dict[str, str]) -> str:
    return fault.get("pointer", fault.get("parameter", ""))


@schemathesis.check
def what_is_by_the_document_is_accepted(ctx: Any, response: Any, case: Any) -> bool | None:
    """``positive_data_acceptance``, but for the rules that no JSON Schema can say: see ``UNSAID``.

    412 is no refusal of what is well said: which version a record has, only the record says.
    """
    if response.status_code in (400, 422):
        if breaks_only_what_is_unsaid(response.status_code, json.loads(response.content)):
            return None
    elif response.status_code == httpx.codes.PRECONDITION_FAILED:
        return None
    return positive_data_acceptance(ctx, response, case)


#: How to make what has a pattern that it makes badly. Of headers it knows letters and digits alone,
#: and takes "0" for good where a pattern asks for others; and for a class that goes
#: beyond Unicode's first plane it computes three seconds. What is made must fit the pattern still.
TAG = st.from_regex(r'(W/)?"[!#-~]{0,20}"', fullmatch=True)
MADE = {
    TAGS.schema["pattern"]: st.just("*") | st.lists(TAG, min_size=1, max_size=3).map(", ".join),
    TEXT.schema["pattern"]: st.text(
        st.characters(exclude_categories=("Cc", "Cs", "Co", "Zl", "Zp")), max_size=600
    ),
}
for pattern, strategy in MADE.items():
    schemathesis.openapi.format(pattern, strategy)


@schemathesis.hook
def before_load_schema(_: Any, raw_schema: Any) -> None:
    """Name the patterns of ``MADE``, since only what has a name can be made by ourselves."""
    parts = [raw_schema]
    while parts:
        part = parts.pop()
        parts += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        if isinstance(part, dict) and part.get("pattern") in MADE:
            part["format"] = part["pattern"]


class Somebody:
    """The operator; and for their own record, each time another person with a link."""

    def __init__(self) -> None:
        """Take the secret that links are signed with."""
        settings = Settings()
        self._links = Links(settings)
        self._http = httpx.Client(base_url=settings.origin, trust_env=False)
        self._key: str = asyncio.run(write(make_key))
        self._people = itertools.count()
        asyncio.run(write(rename, self._add(), SOMEBODY))

    def get(self, case: Any, _: Any) -> str:
        """Give the key or the link: one that works, whatever the last request has revoked."""
        self._key = self._key if self._works() else asyncio.run(write(make_key))
        if not re.match(r"/v1/me(/|$)", case.path):
            return self._key
        return self._links.mint(Link(self._add(), "manage", 0))

    def set(self, case: Any, data: str, _: Any) -> None:
        """Send it along."""
        case.headers["Authorization"] = f"Bearer {data}"

    def _add(self) -> UUID:
        body = {"email": f"p{next(self._people)}@strict.example.com", "name": "P", "welcome": False}
        person = self._http.post("/v1/people", json=body, headers=self._headers)
        return UUID(person.raise_for_status().json()["id"])

    def _works(self) -> bool:
        answer = self._http.head("/v1/people?limit=1", headers=self._headers)
        return answer.status_code == httpx.codes.OK

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"}


async def write(work: Any, *arguments: Any) -> Any:
    """Do what no request can, in a transaction."""
    database = open_database(Settings())
    try:
        return await database.write(work, *arguments)
    finally:
        await database.close()


def make_key(tx: Transaction) -> str:
    """Make a key, as `reach keys create` does."""
    text = keys.generate()
    keys.add(tx, text, "strict", keys.SCOPES)
    return text


def rename(tx: Transaction, old: UUID, new: UUID) -> None:
    """Have somebody with the id that the document's examples speak of."""
    tx.execute(update(people).where(people.c.id == old).values(id=new))


@schemathesis.hook
def after_call(_: Any, case: Any, response: Any) -> None:
    """Note what was answered."""
    with Path(os.environ["STRICT_SEEN"]).open("a", encoding="utf-8") as file:
        file.write(f"{case.method} {case.path} {response.status_code}\n")


if os.environ["STRICT_CALLER"] == "operator":
    schemathesis.auth(refresh_interval=None).apply_to(path_regex=r"^/v1/")(Somebody)
