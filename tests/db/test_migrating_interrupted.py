"""Postgres alone: whatever migrates says what it waits for, and Ctrl-C ends it."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from reach.db.migrate_postgres import LOCK
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.databases import create_database, drop_database
from tests.support.database.locks import fetch, held
from tests.support.processes.commands import HEARS_CTRL_C, ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import START_SECONDS, ended, said

TURN = f"SELECT pg_advisory_lock({LOCK})"
#: A migration's statement that takes as long as it takes.
SLEEP = "LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(100000); END $$"
ENDLESS = (
    f"CREATE FUNCTION endless() RETURNS event_trigger {SLEEP}",
    "CREATE EVENT TRIGGER endless ON ddl_command_start EXECUTE FUNCTION endless()",
)


async def test_ctrl_c_while_another_migrates(
    make_settings: Callable[..., Settings], postgres_url: str, migrated_file: Path
) -> None:
    """`reach migrate`, `up` and `db copy` say that they wait, and end as Ctrl-C ends all: 130."""
    url = create_database(postgres_url)
    try:
        settings = make_settings(database_url=url, port=free_port())
        copy = ("db", "copy", "--from", f"sqlite:///{migrated_file}")
        async with held(settings, TURN):
            with ExitStack() as stack:
                running = [
                    stack.enter_context(hearing(*command, settings=settings))
                    for command in (("migrate",), ("up",), copy)
                ]
                for process in running:
                    await said(process, "Another `reach migrate` is at work")
                await all_end(running)
    finally:
        drop_database(postgres_url, url)


async def test_ctrl_c_in_a_statement(
    make_settings: Callable[..., Settings], postgres_url: str
) -> None:
    """It need not come to its end first."""
    url = create_database(postgres_url)
    try:
        settings = make_settings(database_url=url, port=free_port())
        for statement in ENDLESS:
            await fetch(settings, statement)
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
        sleeping += "AND datname = current_database() AND application_name = 'reach migrate'"

        async def is_in_it() -> bool:
            return await fetch(settings, sleeping) == 1

        with hearing("up", settings=settings) as process:
            await eventually(is_in_it, START_SECONDS)
            await all_end([process])
    finally:
        drop_database(postgres_url, url)


def hearing(*command: str, settings: Settings) -> ReachProcess:
    """Run a command that hears Ctrl-C."""
    wrapper = (sys.executable, "-c", HEARS_CTRL_C)
    return ReachProcess(*command, settings=settings, wrapper=wrapper)


async def all_end(running: list[ReachProcess]) -> None:
    """Interrupt them: each ends with what a shell calls an interruption, and says no more."""
    for process in running:
        os.kill(process.pid, signal.SIGINT)
    for process in running:
        assert await ended(process, START_SECONDS) == 130, process.errors
        assert "Traceback" not in process.errors
        assert "crashed" not in process.errors
