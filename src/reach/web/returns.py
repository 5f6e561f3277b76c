"""Where people are led back to after a form: an address of ``REACH_RETURN_URLS``, or nowhere."""

import time
from collections.abc import Mapping
from math import inf

import structlog
from fastapi import Request

from reach.settings import Settings

log = structlog.get_logger("reach.pages")

#: How a form, or the address that it is sent to, names where to lead back to.
NEXT = "next"
TELL_SECONDS = 600.0


class Returns:
    """Knows the addresses that forms may have people led back to: these, letter by letter.

    Any rule beside, for a slash at the end or another query, would be one that somebody else's page
    could make use of.
    """

    def __init__(self, settings: Settings) -> None:
        """Take them from the settings."""
        self._allowed = settings.returns
        self._told = -inf

    def wanted(self, request: Request, typed: Mapping[str, str]) -> str | None:
        """Give the address that a form names, in its query or in a field; None if it may not.

        Nobody is to lose a sign-up for a maker's slip, so that is only a warning in the log: with
        no address, which could be anybody's and hold anything.
        """
        named = {*request.query_params.getlist(NEXT), typed.get(NEXT, "")} - {""}
        found = named.pop() if len(named) == 1 else ""
        if found in self._allowed:
            return found
        if (found or named) and time.monotonic() - self._told > TELL_SECONDS:
            self._told = time.monotonic()
            log.warning("a form names an address that nobody is led to")
        return None
