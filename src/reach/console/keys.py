"""Operators' keys at the console: list, make (shown once), revoke."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from reach.auth import actions, keys
from reach.auth.keys import SCOPES, ApiKey
from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import at, see, show
from reach.console.safety import BEGINS
from reach.db.transaction import Transaction
from reach.idempotency.stored import IdempotencyKey, StoredResponse, respond_once
from reach.problems import Forbidden, Unprocessable
from reach.shapes import CURSOR
from reach.web.body import validate
from reach.web.keys import KeyId, NewKey
from reach.web.responses import read_cursor, write_cursor
from reach.web.routes import services_of

HERE = f"{BEGINS}/keys"
PAGE_ROWS = 50
#: Of a scope's field in the form; of the field that tells one form sent twice from two.
SCOPE, ONCE = "scope.", "once"
TONES = {"valid": "good", "expired": "wait", "revoked": "off"}
DAY = timedelta(days=1)

MayWrite = Annotated[Visit, Depends(Requires("keys:write"))]

router = console_router("/keys")


@router.api_route("", methods=READ)
async def get_keys(request: Request, _: MayWrite, cursor: str = "") -> Response:
    """List keys, newest first: the revoked and expired ones too."""
    before = read_cursor(cursor) if CURSOR.fits(cursor) else None
    found, on = await services_of(request).database.read(keys.page, limit=PAGE_ROWS, before=before)
    return show(
        request,
        "keys.html",
        keys=found,
        tones=TONES,
        first=HERE if before else None,
        next=at(HERE, cursor=write_cursor(on)) if on else None,
    )


@router.api_route("/new", methods=READ)
async def get_new(request: Request, visit: MayWrite) -> Response:
    """Show the form of a new key."""
    return _form(request, visit, {})


@router.post("")
async def post_key(request: Request, visit: MayWrite) -> Response:
    """Make a key, and show it: this once. What is wrong with the form is said beside it."""
    try:
        wanted = _read(visit.form, request)
        if lacking := sorted(set(wanted.scopes) - visit.session.scopes):
            raise Forbidden(f"You cannot give what you do not have: {', '.join(lacking)}.")
    except Unprocessable as problem:
        return _form(request, visit, visit.form, problem)
    services = services_of(request)
    once = services.idempotency.of_operator(
        [visit.form.get(ONCE, "")], visit.session.id, HERE, dict(visit.form)
    )
    made, text = await services.database.write(_make, visit, wanted, once)
    return show(request, "key-made.html", 201, key=made, text=text)


@router.api_route("/{id}/revoke", methods=READ)
async def get_revoke(request: Request, visit: MayWrite, id_: KeyId) -> Response:
    """Ask whether to revoke a key. Raises NoSuchKey."""
    key = await services_of(request).database.read(keys.view, id_)
    return show(request, "key-revoke.html", key=key, is_own=visit.actor.id == str(id_))


@router.post("/{id}/revoke")
async def post_revoke(request: Request, visit: MayWrite, id_: KeyId) -> Response:
    """Revoke a key: from now on it opens nothing, and its sessions are over. Raises NoSuchKey."""
    await services_of(request).database.write(actions.revoke_key, visit.actor, id_)
    return see(request, HERE)


def _make(
    tx: Transaction, visit: Visit, wanted: NewKey, once: IdempotencyKey
) -> tuple[ApiKey, str | None]:
    """Make a key, unless this very form has made one; of that, the text is not known any more."""
    text: str | None = None

    def work(tx: Transaction) -> StoredResponse:
        nonlocal text
        text = keys.generate()
        made = actions.create_key(
            tx, visit.actor, text, wanted.name, wanted.scopes, expires_at=wanted.expires_at
        )
        return StoredResponse(201, str(made.id))

    stored = respond_once(tx, once, work)
    return keys.view(tx, UUID(stored.body)), text


def _read(form: Mapping[str, str], request: Request) -> NewKey:
    """Read the form of a new key. Raises Unprocessable."""
    data: dict[str, Any] = {
        "name": form.get("name", ""),
        "scopes": [name.removeprefix(SCOPE) for name in form if name.startswith(SCOPE)],
    }
    if last_day := form.get("last_day", ""):
        data["expires_at"] = _end_of(last_day)
    return validate(NewKey, data, services_of(request).settings)


def _end_of(day: str) -> str:
    """Write when a day is over, by UTC. Raises Unprocessable."""
    try:
        first = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
        return (first + DAY).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        said = {"pointer": "/expires_at", "detail": "It must be a day, such as 2030-12-31."}
        raise Unprocessable(errors=[said]) from None


def _form(
    request: Request, visit: Visit, typed: Mapping[str, str], problem: Unprocessable | None = None
) -> Response:
    errors: Sequence[Mapping[str, str]] = problem.members["errors"] if problem else []  # type: ignore[assignment]
    return show(
        request,
        "key-new.html",
        problem.status if problem else 200,
        typed=typed,
        errors={_field(error): error["detail"] for error in errors},
        scopes=[scope for scope in SCOPES if scope in visit.session.scopes],
        scope_field=SCOPE,
        once_field=ONCE,
        once=typed.get(ONCE) or secrets.token_urlsafe(16),
    )


def _field(error: Mapping[str, str]) -> str:
    """Name the field of the form that a fault is in."""
    return error.get("pointer", "").lstrip("/").split("/")[0]
