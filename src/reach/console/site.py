"""How to put the form on one's own site: what a maker copies."""

from typing import Annotated

from fastapi import Depends, Request, Response

from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import show
from reach.web.routes import services_of
from reach.web.snippets import snippets

router = console_router("/site")


@router.api_route("", methods=READ)
async def get_site(request: Request, _: Annotated[Visit, Depends(Requires())]) -> Response:
    """Show the three ways, each a few lines."""
    settings = services_of(request).settings
    return show(request, "site.html", snippets=snippets(settings))
