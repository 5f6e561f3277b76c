"""The `reach` command: parse, call, print.

What is heavy is imported by the command that needs it, so that the others start at once.
"""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reach.cli import (
    audit,
    database,
    keys,
    messages,
    people,
    reports,
    running,
    snippet,
    stats,
    suppressions,
    webhooks,
)
from reach.cli.output import (
    FAILED,
    MARKUP,
    MISUSED,
    UNREAD,
    Unread,
    Unwritten,
    allow_rich,
    answer,
    end,
    take_standard_descriptors,
    told,
)
from reach.db.errors import NoDatabase
from reach.problems import Problem, Unprocessable
from reach.settings import BadSettings


class _Commands(TyperGroup):
    """Lets typer draw what is wrong with an option, also of a command that has begun."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        finally:
            allow_rich()


cli = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    pretty_exceptions_enable=False,
)
cli.add_typer(people.cli, name="people")
cli.add_typer(messages.cli, name="messages")
cli.add_typer(suppressions.cli, name="suppressions")
cli.add_typer(keys.cli, name="keys")
cli.add_typer(webhooks.cli, name="webhooks")
cli.add_typer(audit.cli, name="audit")
cli.add_typer(reports.cli, name="reports")
cli.add_typer(database.cli, name="db")
for command in (
    *(running.up, running.api, running.worker, running.inbound),
    *(running.migrate, running.check),
    *(stats.stats, snippet.snippet),
):
    cli.command()(command)


def _say_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it
    if wanted:
        from importlib.metadata import version

        answer(f"reach {version('reach')}")
        raise typer.Exit


@cli.callback()
def reach(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say which version it is."
        ),
    ] = False,
) -> None:
    """Reach signs people up and emails every one of them, without fail.

    Exit codes: 0 done, 1 failed, 2 misused or misconfigured, 130 ended by Ctrl-C.
    """


def main() -> None:
    """Run the command; expected failures are a line on stderr and an exit code."""
    take_standard_descriptors()
    # Ours to set, for the processes that `reach api` starts: here it would only fill a folder.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    try:
        cli()
    except BadSettings as error:
        end(str(error), MISUSED)
    except Unread:
        sys.exit(UNREAD)
    except Unwritten as error:
        end(str(error), FAILED)
    except Problem as problem:
        is_misuse = isinstance(problem, NoDatabase | Unprocessable)
        end(told(problem), MISUSED if is_misuse else FAILED)
    except Exception as error:  # noqa: BLE001 - its message may hold an address
        import structlog

        from reach.telemetry.logging import frames

        structlog.get_logger("reach").critical("crashed", **frames(error))
        sys.exit(FAILED)
