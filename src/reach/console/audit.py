"""The audit trail at the console: who did what to whom, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from reach.auth import audit, keys
from reach.auth.audit import ACTIONS, Entry, Filter
from reach.console.filtering import (
    Reading,
    Typed,
    errors_of,
    first_moment,
    moment_after,
    one_of,
)
from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import at, show
from reach.console.safety import BEGINS
from reach.db.transaction import Transaction
from reach.problems import Unprocessable
from reach.shapes import CURSOR, read_id
from reach.web.guard import path_id
from reach.web.responses import read_cursor, write_cursor
from reach.web.routes import services_of

HERE = f"{BEGINS}/audit"
PAGE_ROWS = 50
#: Where what an action is done to is shown, by how its name begins.
SUBJECTS = {
    "person": f"{BEGINS}/people",
    "message": f"{BEGINS}/messages",
    "template": f"{BEGINS}/messages",
    "webhook": f"{BEGINS}/webhooks",
}

MayRead = Annotated[Visit, Depends(Requires("audit:read"))]

router = console_router("/audit")


@dataclass(frozen=True, slots=True)
class Look(Typed):
    """What entries are looked for."""

    actor: str = ""
    action: str = ""
    subject: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    async def of(
        cls, actor: str = "", action: str = "", subject: str = "", since: str = "", until: str = ""
    ) -> "Look":
        """Read it from a query."""
        return cls(actor, action, subject, since, until)

    def filter(self) -> Filter:
        """Read what was typed. Raises Unprocessable, whose ``errors`` name each field."""
        reading = Reading(self.query)
        chosen_by = Filter(
            actor=reading.read("actor", str),
            action=reading.read("action", one_of(ACTIONS)),
            subject=reading.read("subject", read_id),
            since=reading.read("since", first_moment),
            until=reading.read("until", moment_after),
        )
        reading.done()
        return chosen_by


Looking = Annotated[Look, Depends(Look.of)]


@router.api_route("", methods=READ)
async def get_audit(request: Request, _: MayRead, look: Looking, cursor: str = "") -> Response:
    """List entries, newest first. What is wrong with a filter is said beside it."""
    before = read_cursor(cursor) if CURSOR.fits(cursor) else None
    try:
        found = await services_of(request).database.read(_find, look.filter(), before)
    except Unprocessable as problem:
        return _page(request, look, Trail(), status=problem.status, errors=errors_of(problem))
    return _page(request, look, found, before=before)


@dataclass(frozen=True, slots=True)
class Trail:
    """Part of the trail, where it goes on, and what the keys in it are called."""

    entries: Sequence[Entry] = ()
    on: UUID | None = None
    names: Mapping[str, str] = field(default_factory=dict)


def _find(tx: Transaction, chosen_by: Filter, before: UUID | None) -> Trail:
    entries, on = audit.page(tx, chosen_by, limit=PAGE_ROWS, before=before)
    ids = {entry.subject for entry in entries if entry.action.startswith("key.")}
    ids |= {path_id(entry.actor.id) for entry in entries if entry.actor.kind == "key"}
    named = keys.names(tx, [id_ for id_ in ids if id_ is not None])
    return Trail(entries, on, {str(id_): name for id_, name in named.items()})


def _page(  # noqa: PLR0913 - what a list shows
    request: Request,
    look: Look,
    found: Trail,
    *,
    before: UUID | None = None,
    status: int = 200,
    errors: Mapping[str, str] | None = None,
) -> Response:
    return show(
        request,
        "audit.html",
        status,
        look=look,
        entries=found.entries,
        names=found.names,
        errors=errors or {},
        actions=sorted(ACTIONS),
        subjects=SUBJECTS,
        first=at(HERE, **look.query) if before else None,
        next=at(HERE, **look.query, cursor=write_cursor(found.on)) if found.on else None,
    )
