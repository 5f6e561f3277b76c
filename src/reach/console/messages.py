"""Messages at the console: found; all that are found retried, or cancelled. One: ``message``."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from reach.auth.audit import Actor
from reach.console.filtering import (
    Found,
    Reading,
    Typed,
    errors_of,
    first_moment,
    moment_after,
    one_of,
)
from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import at, see, show
from reach.console.safety import BEGINS
from reach.db import keyset
from reach.db.transaction import Transaction
from reach.messages import actions, filters
from reach.messages.filters import MOST_AT_ONCE, Change, Filter
from reach.messages.model import OF_MAKERS, STATES, Message, State
from reach.messages.routes import CANCEL, RETRY, TEMPLATE
from reach.people.address import key_prefix
from reach.people.messages import RECIPIENT
from reach.problems import Unprocessable
from reach.shapes import CURSOR, read_id
from reach.web.responses import read_cursor, write_cursor
from reach.web.routes import services_of

HERE = f"{BEGINS}/messages"
PAGE_ROWS = 50
A_NUMBER = re.compile(r"[0-9]{1,5}")
TONES: Mapping[State, str] = {
    "queued": "wait",
    "sent": "good",
    "failed": "wrong",
    "cancelled": "off",
    "bounced": "wrong",
    "complained": "wrong",
    "suppressed": "off",
}
#: What can be done to many, in which states they may be, and how.
_Choose = Callable[[Transaction, Filter], Sequence[UUID]]
_Do = Callable[[Transaction, Actor, Sequence[UUID], Filter], tuple[int, bool]]
WAYS: Mapping[Change, tuple[tuple[State, ...], _Choose, _Do]] = {
    "retry": (
        ("failed", "cancelled", "suppressed", "queued"),
        filters.retryable,
        actions.retry_all,
    ),
    "cancel": (("queued",), filters.cancellable, actions.cancel_all),
}

MayRead = Annotated[Visit, Depends(Requires("messages:read"))]
#: A page that asks by itself how it looks now is no use of the session.
MayWatch = Annotated[Visit, Depends(Requires("messages:read", is_use=False))]
MayWrite = Annotated[Visit, Depends(Requires("messages:write"))]

router = console_router("/messages")


@dataclass(frozen=True, slots=True)
class Look(Typed):
    """What messages are looked for."""

    state: str = ""
    template: str = ""
    recipient: str = ""
    person: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    async def of(  # noqa: PLR0913, PLR0917 - one for each field
        cls,
        state: str = "",
        template: str = "",
        recipient: str = "",
        person: str = "",
        since: str = "",
        until: str = "",
    ) -> "Look":
        """Read it from a query."""
        return cls(state, template, recipient, person, since, until)

    @classmethod
    def typed(cls, form: Mapping[str, str]) -> "Look":
        """Read it from a form."""
        return cls(*(form.get(field.name, "") for field in fields(cls)))

    def filter(self) -> Filter:
        """Read what was typed. Raises Unprocessable, whose ``errors`` name each field."""
        reading = Reading(self.query)
        chosen_by = Filter(
            state=reading.read("state", one_of(STATES)),
            template=reading.read("template", TEMPLATE.read),
            recipient=reading.read("recipient", _recipient),
            person_id=reading.read("person", read_id),
            since=reading.read("since", first_moment),
            until=reading.read("until", moment_after),
        )
        reading.done()
        return chosen_by

    def at(self, path: str = HERE, **others: str | None) -> str:
        """Write the address of a page about those that are looked for."""
        return at(path, **{**self.query, **others})


Looking = Annotated[Look, Depends(Look.of)]


def _recipient(text: str) -> str:
    return key_prefix(RECIPIENT.read(text))


@router.api_route("", methods=READ)
async def get_messages(
    request: Request, visit: MayRead, look: Looking, cursor: str = "", done: str = ""
) -> Response:
    """List messages, newest first. What is wrong with a filter is said beside it."""
    before = read_cursor(cursor) if CURSOR.fits(cursor) else None
    try:
        found = await services_of(request).database.read(_find, look.filter(), before)
    except Unprocessable as problem:
        return _list(request, visit, look, Found(), problem=problem)
    return _list(request, visit, look, found, before=before, done=done)


@router.api_route("/now", methods=READ)
async def get_messages_now(request: Request, visit: MayWatch, look: Looking) -> Response:
    """Show the list as it is now, to a page that watches messages leave."""
    found = await services_of(request).database.read(_find, look.filter(), None)
    return _list(request, visit, look, found)


@router.api_route(f"/{RETRY}", methods=READ)
async def get_retry(request: Request, _: MayWrite, look: Looking, done: str = "") -> Response:
    """Say how many would be tried again, and ask whether to."""
    return await _ask(request, "retry", look, done)


@router.post(f"/{RETRY}")
async def post_retry(request: Request, visit: MayWrite) -> Response:
    """Try all again that are found: 10,000 at most, the oldest first."""
    return await _do(request, "retry", visit)


@router.api_route(f"/{CANCEL}", methods=READ)
async def get_cancel(request: Request, _: MayWrite, look: Looking, done: str = "") -> Response:
    """Say how many would be cancelled, and ask whether to."""
    return await _ask(request, "cancel", look, done)


@router.post(f"/{CANCEL}")
async def post_cancel(request: Request, visit: MayWrite) -> Response:
    """Cancel all that are found: 10,000 at most, the oldest first."""
    return await _do(request, "cancel", visit)


def _find(tx: Transaction, chosen_by: Filter, before: UUID | None) -> Found[Message]:
    found, on = filters.page(tx, chosen_by, limit=PAGE_ROWS, before=before)
    count = filters.count(tx, chosen_by, most=keyset.MOST_COUNTED)
    return Found.of(found, write_cursor(on) if on else None, count)


async def _ask(request: Request, change: Change, look: Look, done: str = "") -> Response:
    """Show what would be done to how many: it is counted now, and asked before it is done.

    ``done``: to so many it was done a moment ago, and these are left.
    """
    ids: Sequence[UUID] = ()
    errors: Mapping[str, str] = {}
    try:
        chosen_by = _may_be(change, look)
        ids = await services_of(request).database.read(WAYS[change][1], chosen_by)
    except Unprocessable as problem:
        errors = errors_of(problem)
    return show(
        request,
        "messages-many.html",
        422 if errors else 200,
        change=change,
        look=look,
        count=len(ids),
        most=MOST_AT_ONCE,
        done=_number(done),
        errors=errors,
    )


async def _do(request: Request, change: Change, visit: Visit) -> Response:
    """Choose by a read, which holds up nobody; then change those that are still as they were."""
    database, look = services_of(request).database, Look.typed(visit.form)
    try:
        chosen_by = _may_be(change, look)
    except Unprocessable:
        return await _ask(request, change, look)
    _, choose, do = WAYS[change]
    ids = await database.read(choose, chosen_by)
    count, is_left = await database.write(do, visit.actor, ids[:MOST_AT_ONCE], chosen_by)
    if is_left or len(ids) > MOST_AT_ONCE or not visit.session.may("messages:read"):
        return see(request, look.at(f"{HERE}/{change}", done=str(count)))
    becomes: State = "queued" if change == "retry" else "cancelled"
    return see(request, replace(look, state=becomes).at(done=f"{change}.{count}"))


def _may_be(change: Change, look: Look) -> Filter:
    """Read a filter of what may be changed so. Raises Unprocessable."""
    chosen_by, states = look.filter(), WAYS[change][0]
    if chosen_by.state not in states:
        said = f"To {change} all, choose one of: {', '.join(states)}."
        raise Unprocessable(errors=[{"parameter": "state", "detail": said}])
    return chosen_by


def _list(  # noqa: PLR0913 - what a list shows
    request: Request,
    visit: Visit,
    look: Look,
    found: Found[Message],
    *,
    before: UUID | None = None,
    done: str = "",
    problem: Unprocessable | None = None,
) -> Response:
    may_change = visit.session.may("messages:write") and found.may_be_any
    known = {*services_of(request).templates(), *OF_MAKERS, *filter(None, [look.template])}
    change, _, count = done.partition(".")
    return show(
        request,
        "messages.html",
        problem.status if problem else 200,
        look=look,
        found=found,
        most=keyset.MOST_COUNTED,
        states=STATES,
        tones=TONES,
        templates=sorted(known),
        errors=errors_of(problem) if problem else {},
        changes=[way for way in WAYS if may_change and look.state in WAYS[way][0]],
        watches=look.state == "queued" and not before,
        first=look.at() if before else None,
        next=look.at(cursor=found.next) if found.next else None,
        done=(change, _number(count)) if change in WAYS else None,
    )


def _number(text: str) -> int:
    """Read how many an address says were done; 0 if it says none."""
    return int(text) if A_NUMBER.fullmatch(text) else 0
