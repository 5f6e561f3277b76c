"""The audit trail at the console: who did what to whom, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import Depends, Request, Response

from reach.auth import audit, keys
from reach.auth.audit import ACTIONS, Action, Entry, Filter
from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import at, show
from reach.console.safety import BEGINS
from reach.db.transaction import Transaction
from reach.problems import Unprocessable
from reach.shapes import CURSOR
from reach.web.audit import ACTOR_CHARACTERS
from reach.web.guard import path_id
from reach.web.responses import read_cursor, write_cursor
from reach.web.routes import services_of

HERE = f"{BEGINS}/audit"
PAGE_ROWS = 50
MOST_CHARACTERS = ACTOR_CHARACTERS
DAY = timedelta(days=1)
#: Where what an action is done to is shown, by how its name begins.
SUBJECTS = {
    "person": f"{BEGINS}/people",
    "message": f"{BEGINS}/messages",
    "template": f"{BEGINS}/messages",
}

MayRead = Annotated[Visit, Depends(Requires("audit:read"))]

router = console_router("/audit")


@dataclass(frozen=True, slots=True)
class Look:
    """What entries are looked for, as it was typed; days are UTC's, and both count."""

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
        typed = (actor, action, subject, since, until)
        return cls(*(text.strip()[:MOST_CHARACTERS] for text in typed))

    @property
    def query(self) -> Mapping[str, str]:
        """What of it says something, by name."""
        names = ("actor", "action", "subject", "since", "until")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def filter(self) -> Filter:
        """Read what was typed. Raises Unprocessable, whose ``errors`` name each field."""
        errors: list[dict[str, str]] = []

        def wrong(name: str, detail: str) -> None:
            errors.append({"parameter": name, "detail": detail})

        subject = path_id(self.subject) if self.subject else None
        if self.subject and subject is None:
            wrong("subject", "It must be the id of a person, message, key or session.")
        if self.action and self.action not in ACTIONS:
            wrong("action", "There is no such action.")
        days: dict[str, datetime | None] = {}
        for name, text in (("since", self.since), ("until", self.until)):
            try:
                days[name] = _day(text) if text else None
            except ValueError:
                wrong(name, "It must be a day, such as 2030-12-31.")
        if errors:
            raise Unprocessable(errors=errors)
        until = days["until"]
        return Filter(
            actor=self.actor or None,
            action=cast("Action", self.action) if self.action else None,
            subject=subject,
            since=days["since"],
            until=until + DAY if until else None,
        )


Looking = Annotated[Look, Depends(Look.of)]


@router.api_route("", methods=READ)
async def get_audit(request: Request, _: MayRead, look: Looking, cursor: str = "") -> Response:
    """List entries, newest first. What is wrong with a filter is said beside it."""
    try:
        chosen = look.filter()
    except Unprocessable as problem:
        wrong: Any = problem.members["errors"]
        errors = {one["parameter"]: one["detail"] for one in wrong}
        return _page(request, look, [], {}, status=problem.status, errors=errors)
    before = read_cursor(cursor) if CURSOR.fits(cursor) else None
    entries, names = await services_of(request).database.read(_find, chosen, before)
    return _page(request, look, entries, names, before=before)


def _find(
    tx: Transaction, chosen: Filter, before: UUID | None
) -> tuple[Sequence[Entry], Mapping[str, str]]:
    """Find entries, one more than a page has; and what the keys in them are called."""
    entries = audit.page(tx, chosen, limit=PAGE_ROWS + 1, before=before)
    ids = {entry.subject for entry in entries if entry.action.startswith("key.")}
    ids |= {path_id(entry.actor.id) for entry in entries if entry.actor.kind == "key"}
    named = keys.names(tx, [id_ for id_ in ids if id_ is not None])
    return entries, {str(id_): name for id_, name in named.items()}


def _page(  # noqa: PLR0913 - what a list shows
    request: Request,
    look: Look,
    entries: Sequence[Entry],
    names: Mapping[str, str],
    *,
    before: UUID | None = None,
    status: int = 200,
    errors: Mapping[str, str] | None = None,
) -> Response:
    shown, more = entries[:PAGE_ROWS], len(entries) > PAGE_ROWS
    older = {**look.query, "cursor": write_cursor(shown[-1].id)} if more else {}
    return show(
        request,
        "audit.html",
        status,
        look=look,
        entries=shown,
        names=names,
        errors=errors or {},
        actions=sorted(ACTIONS),
        subjects=SUBJECTS,
        first=at(HERE, **look.query) if before else None,
        next=at(HERE, **older) if more else None,
    )


def _day(text: str) -> datetime:
    """Read a day, as when it begins. Raises ValueError; one that has no next day is none."""
    day = date.fromisoformat(text)
    if day == date.max:
        raise ValueError("the last day")
    return datetime.combine(day, datetime.min.time(), UTC)
