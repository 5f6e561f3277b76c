"""The settings that a command runs with, and a transaction for those that need one."""

import asyncio
import sys
from typing import Any

from reach.cli.output import say
from reach.settings import Settings, load, unknown_variables


def configured(stream: Any, **flags: object) -> Settings:
    """Read the settings and set the logs up. Raises BadSettings."""
    settings = load(flags)
    from reach.telemetry import logs  # noqa: PLC0415 - it takes a moment, after bad settings

    logs.configure(settings.log_level, stream)
    for name in unknown_variables():
        say(f"Warning: {name} is no setting of Reach; `reach check` lists them.", sys.stderr)
    return settings


def write(settings: Settings, fn: Any, *arguments: Any) -> Any:
    """Run ``fn(tx, …)`` in a transaction of its own. Raises Problem."""
    from reach.db.engine import open_database  # noqa: PLC0415 - not every command needs it

    async def run() -> Any:
        database = open_database(settings)
        try:
            return await database.write(fn, *arguments)
        finally:
            await database.close()

    return asyncio.run(run())
