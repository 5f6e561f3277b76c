"""The `reach` command: parse, call, print.

What is heavy is imported by the command that needs it, so that the others start at once.
"""

import os
import sys

import typer

from reach.cli import database, keys, messages, people, running, snippet
from reach.cli.output import (
    FAILED,
    MARKUP,
    MISUSED,
    Unwritten,
    end,
    take_standard_descriptors,
)
from reach.db.errors import NoDatabase
from reach.problems import Problem
from reach.settings import BadSettings

cli = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Reach signs people up and emails every one of them, without fail.",
)
cli.add_typer(keys.cli, name="keys")
cli.add_typer(messages.cli, name="messages")
cli.add_typer(people.cli, name="people")
cli.add_typer(database.cli, name="db")
for command in (
    *(running.up, running.api, running.worker, running.migrate, running.check),
    snippet.snippet,
):
    cli.command()(command)


def main() -> None:
    """Run the command; expected failures are a line on stderr and an exit code."""
    take_standard_descriptors()
    # Ours to set, for the processes that `reach api` starts: here it would only fill a folder.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    try:
        cli()
    except BadSettings as error:
        end(str(error), MISUSED)
    except Unwritten as error:
        end(str(error), FAILED)
    except Problem as problem:
        code = MISUSED if isinstance(problem, NoDatabase) else FAILED
        end(f"{problem.title}. {problem.detail or ''}".strip(), code)
    except Exception as error:  # noqa: BLE001 - its message may hold an address
        import structlog

        from reach.telemetry.logging import frames

        structlog.get_logger("reach").critical("crashed", **frames(error))
        sys.exit(FAILED)
