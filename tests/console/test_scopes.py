"""An operator with each scope sees and may do at the console exactly what the API lets them do."""

from collections.abc import Iterable, Mapping
from itertools import chain, combinations
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from reach.auth import keys
from reach.auth.keys import SCOPES
from reach.console import sessions
from reach.console.guard import Requires
from reach.console.layout import PLACES
from reach.console.safety import BEGINS, FIELD
from tests.support.console import at_console
from tests.support.processes.reach import Reach

ID = "0190a000-0000-7000-8000-000000000000"
#: Each route of the console, and the operations of the API that let the same be seen or done.
SAME = {
    "GET /console": "get /v1/stats",
    "GET /console/events": "get /v1/stats",
    "GET /console/people": "get /v1/people",
    "GET /console/people/export": "get /v1/people/export",
    "GET /console/people/new": "post /v1/people",
    "POST /console/people": "post /v1/people",
    "GET /console/people/{id}": "get /v1/people/{id}",
    "POST /console/people/{id}": "patch /v1/people/{id}",
    "GET /console/people/{id}/erase": "get /v1/people/{id}, delete /v1/people/{id}",
    "POST /console/people/{id}/erase": "delete /v1/people/{id}",
    "GET /console/people/{id}/send": "get /v1/people/{id}, post /v1/messages",
    "POST /console/people/{id}/send": "post /v1/messages",
    "GET /console/messages": "get /v1/messages",
    "GET /console/messages/now": "get /v1/messages",
    "GET /console/messages/retry": "post /v1/messages/retry",
    "POST /console/messages/retry": "post /v1/messages/retry",
    "GET /console/messages/cancel": "post /v1/messages/cancel",
    "POST /console/messages/cancel": "post /v1/messages/cancel",
    "GET /console/messages/{id}": "get /v1/messages/{id}",
    "GET /console/messages/{id}/now": "get /v1/messages/{id}",
    "GET /console/messages/{id}/email": "get /v1/people/{id}/messages",
    "GET /console/messages/{id}/email/html": "get /v1/people/{id}/messages",
    "POST /console/messages/{id}/retry": "post /v1/messages/{id}/retry",
    "POST /console/messages/{id}/cancel": "post /v1/messages/{id}/cancel",
    "GET /console/suppressions": "get /v1/suppressions",
    "GET /console/suppressions/new": "post /v1/suppressions",
    "POST /console/suppressions": "post /v1/suppressions",
    "GET /console/suppressions/{id}/lift": "get /v1/suppressions, delete /v1/suppressions/{id}",
    "POST /console/suppressions/{id}/lift": "delete /v1/suppressions/{id}",
    "GET /console/templates": "get /v1/messages",
    "GET /console/templates/{template}/email": "get /v1/messages",
    "POST /console/templates/{template}/test": "post /v1/messages/{id}/retry",
    "GET /console/keys": "get /v1/keys",
    "GET /console/keys/new": "post /v1/keys",
    "POST /console/keys": "post /v1/keys",
    "GET /console/keys/{id}/revoke": "delete /v1/keys/{id}",
    "POST /console/keys/{id}/revoke": "delete /v1/keys/{id}",
    "GET /console/audit": "get /v1/audit",
    "GET /console/webhooks": "get /v1/webhooks",
    "GET /console/webhooks/new": "get /v1/webhooks, post /v1/webhooks",
    "POST /console/webhooks": "get /v1/webhooks, post /v1/webhooks",
    "GET /console/webhooks/{id}": "get /v1/webhooks/{id}, get /v1/webhooks/{id}/deliveries",
    "POST /console/webhooks/{id}/rotate": "get /v1/webhooks, post /v1/webhooks/{id}/rotate",
    "POST /console/webhooks/{id}/enable": "get /v1/webhooks, post /v1/webhooks/{id}/enable",
    "POST /console/webhooks/{id}/disable": "get /v1/webhooks, post /v1/webhooks/{id}/disable",
    "POST /console/webhooks/{id}/test": "get /v1/webhooks, post /v1/webhooks/{id}/test",
    "POST /console/webhooks/{id}/replay": "get /v1/webhooks, post /v1/webhooks/{id}/replay",
    "GET /console/webhooks/{id}/remove": "get /v1/webhooks, delete /v1/webhooks/{id}",
    "POST /console/webhooks/{id}/remove": "get /v1/webhooks, delete /v1/webhooks/{id}",
}
#: For who is signed in, whatever they may do; and for everybody.
ANY = {"GET /console/site", "POST /console/sign-out"}
OPEN = {"GET /console/sign-in", "POST /console/sign-in"}
OPEN |= {"GET /console/oidc/start", "GET /console/oidc/callback"}
#: It goes on for as long as somebody listens.
ENDLESS = "GET /console/events"


def guards(dependant: Dependant) -> Iterable[Requires]:
    """List the guards of a route."""
    for one in dependant.dependencies:
        if isinstance(one.call, Requires):
            yield one.call
        yield from guards(one)


def console_routes(reach: Reach) -> Mapping[str, set[str] | None]:
    """Find the scopes that each route asks for; None if it asks nobody who they are."""
    found: dict[str, set[str] | None] = {}
    for context in iter_route_contexts(reach.app.routes):
        path = str(context.path_format)
        if f"{path}/".startswith(f"{BEGINS}/"):
            asked = list(guards(context.dependant))
            scopes: set[str] = {scope for guard in asked for scope in guard.scopes}
            for method in (context.methods or set()) - {"HEAD"}:
                found[f"{method} {path}"] = scopes if asked else None
    return found


def of_api(reach: Reach, operations: str) -> set[str]:
    """Find the scopes that some operations of the API ask for."""
    app: Any = reach.app
    asked = app._scopes()
    named = (operation.split(" ") for operation in operations.split(", "))
    return {scope for method, path in named for scope in asked[method, path]}


async def test_each_route_asks_for_what_the_api_asks_for(here: Reach) -> None:
    """No route is forgotten: a new one must be given its place here."""
    wanted: dict[str, set[str] | None] = {
        route: of_api(here, operation) for route, operation in SAME.items()
    }
    wanted |= {route: set[str]() for route in ANY} | dict.fromkeys(OPEN)
    assert console_routes(here) == wanted


async def test_each_route_lets_in_who_has_its_scopes_and_nobody_else(here: Reach) -> None:
    """Every route, with no scope, each alone, all but each, and all: asked, not only read off."""
    routes = console_routes(here)
    sizes = (0, 1, len(SCOPES) - 1, len(SCOPES))
    sets = chain.from_iterable(combinations(SCOPES, size) for size in sizes)
    async with at_console(here, signed_in=False) as console:
        for scopes in map(frozenset, sets):
            token = await here.database.write(
                sessions.start,
                actor_kind="key",
                actor_id=" ".join(sorted(scopes)),
                scopes=scopes,
                key_id=None,
                seconds=3600,
            )
            console.http.cookies.set(console.cookie, token, domain="127.0.0.1")
            console.proof = sessions.proof_of(token)
            for route, needed in routes.items():
                if needed is None or route in (ENDLESS, "POST /console/sign-out"):
                    continue
                method, path = route.split(" ")
                path = path.replace("{id}", ID).replace("{template}", "welcome")
                answer = await (console.get if method == "GET" else console.post)(path)
                may = scopes.issuperset(needed)
                assert (answer.status_code != 403) == may, (route, sorted(scopes))
                shown = {place.path for place in PLACES if f'href="{place.path}"' in answer.text}
                if answer.headers["content-type"].startswith("text/html") and not (
                    path.endswith("/email") and may
                ):
                    allowed = {p.path for p in PLACES if scopes.issuperset(p.scopes)}
                    assert shown == allowed, (route, sorted(scopes))


async def test_what_one_may_not_do_is_not_offered(here: Reach) -> None:
    """Who may only read messages sees no form to send one, and cannot send one."""
    async with at_console(here, "messages:read") as console:
        page = await console.get("/console/templates")
        assert 'name="address"' not in page.text
        form = {FIELD: console.proof, "address": "ada@example.com", "language": "en"}
        assert (await console.post("/console/templates/welcome/test", form)).status_code == 403
    async with at_console(here, "messages:read", "messages:write") as console:
        assert 'name="address"' in (await console.get("/console/templates")).text


async def test_nobody_gives_a_key_what_they_have_not(here: Reach) -> None:
    """The form offers one's own scopes, and another's is refused."""
    async with at_console(here, "keys:write", "people:read") as console:
        page = await console.get("/console/keys/new")
        assert "scope.people:read" in page.text
        assert "scope.people:write" not in page.text
        form = {"name": "shop", "scope.people:write": "yes", "once": "x"}
        answer = await console.post("/console/keys", form)
        assert answer.status_code == 403
        assert "people:write" in answer.text
        assert len(await here.database.read(keys.all_keys)) == 1
