"""What pages elsewhere have their visitors' browsers load: nothing that belongs to a record.

Browsers say by whom and for what a request is made (https://w3c.github.io/webappsec-fetch-metadata),
to https and to this machine. Programs that say nothing of it are as welcome as ever.
"""

from fastapi import Request

from reach.problems import Forbidden

#: Requests of our own pages, and of nobody's: typed, or opened from a bookmark or a mail program.
OURS = frozenset(("", "same-origin", "none"))


class LoadedFromElsewhere(Forbidden):
    """Another web site tried to load this page inside itself, or in the background.

    Nothing was done. If you meant to come here, open the link in your email.
    """

    type, title = "loaded-from-elsewhere", "This page opens only when you click a link to it"


async def refuse_loads_from_elsewhere(request: Request) -> None:
    """Raise LoadedFromElsewhere for what another site loads other than by leading here.

    First of all, with no look at a link and with nothing counted: the visitor, in whose name the
    browser asks, has done nothing. To lead here is to open this page in place of the other, or in
    a window of its own: by a click in a web mail, say. A sibling (``same-site``) is elsewhere too.
    """
    said = request.headers
    if said.get("sec-fetch-site", "") in OURS:
        return
    leads_here = said.get("sec-fetch-mode", "navigate") == "navigate"
    # Frames, objects and the like are navigated too. The first browsers did not say it.
    is_seen = said.get("sec-fetch-dest", "document") == "document"
    # A browser that loads ahead of the click drops what is refused, and asks again when it comes.
    is_ahead = "prefetch" in said.get("sec-purpose", "") or said.get("purpose") == "prefetch"
    if not (leads_here and is_seen) or is_ahead:
        raise LoadedFromElsewhere
