"""`reach snippet`: HTML for a maker's own page."""

import sys
from typing import Annotated, Literal

import typer

from reach.cli.output import answer, configured, say


def snippet(
    kind: Annotated[
        Literal["form", "script", "frame"],
        typer.Argument(help="A form without a script, a script, or a frame."),
    ] = "form",
) -> None:
    """Print HTML that puts the sign-up form on a page of your own."""
    settings = configured(sys.stderr)
    from reach.web.snippets import snippets

    found = snippets(settings)[kind]
    answer(found.html.rstrip())
    say(found.needs, sys.stderr)
