"""Options that several commands take, each with one name, one help and one way to be read."""

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import typer

from reach.cli.output import FAILED, MISUSED, end, is_terminal, say
from reach.settings.types import LANGUAGE
from reach.shapes import ID, read_time

AS_JSON = "JSON, with the names that the API has."
QUIET = "Ids alone, one a line."
AsJson = Annotated[bool, typer.Option("--json", help=AS_JSON)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help=QUIET)]
#: Of commands that have no id to say.
Silent = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing once it is done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many to list, at most.")]
All = Annotated[bool, typer.Option("--all", help="List all, however many there are.")]
MessageState = Literal[
    "queued", "sent", "failed", "cancelled", "bounced", "complained", "suppressed"
]

AGO = re.compile(r"([0-9]{1,6})([mhd])", re.ASCII)
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
NO_TIME = (
    "It must be a day (2026-03-04), a time with its offset (2026-03-04T05:06:07Z), or how long "
    "ago it was (90m, 36h, 7d)."
)
NOT_ASKED = (
    "Nothing was done: there is no terminal to ask on. With --yes it is done without being asked."
)


def read_moment(text: str) -> datetime:
    """Read a time: a day of UTC, RFC 3339, or how long ago. Raises BadParameter."""
    ago = AGO.fullmatch(text)
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        return read_time(f"{text}T00:00:00Z" if DAY.fullmatch(text) else text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(NO_TIME) from None


def read_text(text: str | None) -> str | None:
    """Take what no database would refuse. Raises BadParameter.

    Of a command's arguments, bytes that are no UTF-8 come as halves of a pair.
    """
    if text is not None and any("\ud800" <= one <= "\udfff" for one in text):
        raise typer.BadParameter("It is not UTF-8.")
    return text


def read_language(text: str | None) -> str | None:
    """Read the code of a language, which may be noted in the audit trail. Raises BadParameter."""
    if text is not None and not LANGUAGE.fullmatch(text):
        raise typer.BadParameter("It must be a language, such as de.")
    return text


def read_id(text: str) -> UUID:
    """Read an id. Raises BadParameter."""
    if not ID.fits(text):
        raise typer.BadParameter("It must be an id, such as 01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a01.")
    return UUID(text)


Since = Annotated[
    datetime | None,
    typer.Option(parser=read_moment, metavar="TIME", help="From then on: a day, a time, or 36h."),
]
Until = Annotated[
    datetime | None,
    typer.Option(parser=read_moment, metavar="TIME", help="Before then: a day, a time, or 36h."),
]
Search = Annotated[
    str | None,
    typer.Option(help="Part of an address or a name.", metavar="TEXT", callback=read_text),
]
Prefix = Annotated[
    str | None,
    typer.Option(help="How their address begins.", metavar="TEXT", callback=read_text),
]
Confirmed = Annotated[
    bool | None,
    typer.Option("--confirmed/--unconfirmed", help="Whether they confirmed their address."),
]
LanguageOf = Annotated[
    str | None,
    typer.Option(
        help="The language of their emails, such as de.", metavar="CODE", callback=read_language
    ),
]
WelcomeState = Annotated[MessageState | None, typer.Option(help="What became of their welcome.")]


def require_yes(question: str, *, yes: bool) -> None:
    """Ask on the terminal whether to do it; end the command unless that is wanted.

    Not by ``typer.confirm``: it takes Ctrl-C for a "no".
    """
    if yes:
        return
    if not is_terminal(sys.stdin):
        end(NOT_ASKED, MISUSED)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        say("", sys.stderr)  # the end of the input ends no line
    if line.strip().lower() not in ("y", "yes"):
        end("Nothing was done.", FAILED)
