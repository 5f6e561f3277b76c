"""The settings that a command runs with, and a transaction for those that need one."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reach.cli.output import MISUSED, end, say
from reach.settings import Settings, load, unknown_variables


def configured(stream: Any, **flags: object) -> Settings:
    """Read the settings and set the logs up. Raises BadSettings."""
    settings = load(flags)
    from reach.telemetry import logs  # noqa: PLC0415 - it takes a moment, after bad settings

    logs.configure(settings.log_level, stream)
    for name in unknown_variables():
        say(f"Warning: {name} is no setting of Reach; `reach check` lists them.", sys.stderr)
    return settings


@contextmanager
def database_of(settings: Settings) -> Iterator[None]:
    """End with 2 where the settings name no database of Reach; say where, and what to set."""
    from reach.db.away import NoDatabase  # noqa: PLC0415 - not every command needs it

    try:
        yield
    except NoDatabase as missing:
        end(f"{missing.told(settings)} {missing.remedy(settings)}", MISUSED)


def write(settings: Settings, fn: Any, *arguments: Any) -> Any:
    """Run ``fn(tx, …)`` in a transaction of its own. Raises Problem."""
    from reach.db.engine import open_database  # noqa: PLC0415 - not every command needs it
    from reach.db.migrate import require_database  # noqa: PLC0415 - likewise

    def checked(tx: Any) -> Any:
        require_database(tx)
        return fn(tx, *arguments)

    async def run() -> Any:
        database = open_database(settings)
        try:
            return await database.write(checked)
        finally:
            await database.close()

    with database_of(settings):
        return asyncio.run(run())
