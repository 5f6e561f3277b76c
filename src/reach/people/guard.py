"""The 401 and the 403 of one's own record: is this a link of ours, and may it do that."""

from collections.abc import Awaitable, Callable

from fastapi import Request
from fastapi.security import HTTPBearer

from reach.auth.links import BadLink, Link, Links, Scope
from reach.people.links import LinkVoid, WrongLink
from reach.web import guard as limits
from reach.web.guard import bearer

#: As ``access.guard.operator_key``.
link_token = HTTPBearer(
    scheme_name="linkToken",
    description="What follows `token=` in a link that was sent by email",
    auto_error=False,
)


def own(scope: Scope) -> Callable[[Request], Awaitable[Link]]:
    """Make the dependency that reads a link which may do what ``scope`` stands for.

    ``manage`` may do all. No database is asked: whether the link still counts is for the
    transaction that acts by it (see ``people.links``). Raises LinkVoid; WrongLink; QuotaExceeded.
    """

    async def holder(request: Request) -> Link:
        token = bearer(request)
        links: Links = request.app.state.links
        try:
            link = links.read(token)
        except BadLink:
            if token:
                await limits.failed_link(request)
            raise LinkVoid from None
        if link.scope not in ("manage", scope):
            raise WrongLink
        await limits.hit_api(request, link.holder)
        return link

    return holder
