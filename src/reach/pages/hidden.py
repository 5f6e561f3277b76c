"""What a form at the door carries beside what people type: see ``people.robots``."""

import time
from collections.abc import Mapping

from fastapi import Request


def fields(request: Request, typed: Mapping[str, str]) -> dict[str, object]:
    """Make the values that the template of the form needs for it.

    ``typed`` is what came with it, if it is shown again.
    """
    robots = request.app.state.robots
    started = robots.stamp(time.time(), is_again=bool(typed))
    return {"started": started, "needs_proof": robots.needs_proof}


def runs(request: Request) -> Mapping[str, str] | None:
    """What the form's script may do beyond ``render.PAGE_POLICY``; None if it has no script."""
    needs_proof: bool = request.app.state.robots.needs_proof
    return {"connect-src": "'self'"} if needs_proof else None
