"""What the sign-up form carries beside what people type: see ``people.robots``."""

import time
from collections.abc import Mapping

from fastapi import Request

from reach.pages.render import PAGE_POLICY

#: Where a proof of work is asked for, our script may fetch a challenge.
PROOF_POLICY = f"{PAGE_POLICY}; script-src 'self'; connect-src 'self'"


def fields(request: Request, typed: Mapping[str, str]) -> dict[str, object]:
    """Make the values that the template of the form needs for it."""
    robots = request.app.state.robots
    started = robots.stamp(time.time(), typed.get("started"))
    return {"started": started, "needs_proof": robots.needs_proof}


def headers(request: Request) -> dict[str, str]:
    """Make the headers that the form's page has besides."""
    robots = request.app.state.robots
    return {"Content-Security-Policy": PROOF_POLICY} if robots.needs_proof else {}
