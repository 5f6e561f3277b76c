"""The `reach` command: parse, call, print.

What is heavy is imported by the command that needs it, so that the others start at once.
"""

import asyncio
import logging
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer

from reach.problems import Problem
from reach.settings import BadSettings, Settings, load, unknown_variables

FAILED, MISUSED = 1, 2
LAST_STANDARD_DESCRIPTOR = 2
KEY_NAME_CHARACTERS = 100

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Reach signs people up and emails every one of them, without fail.",
)
keys_cli = typer.Typer(no_args_is_help=True, help="Operators' API keys.")
cli.add_typer(keys_cli, name="keys")

Host = Annotated[str | None, typer.Option(help="Where to listen. [REACH_HOST, 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="[REACH_PORT, 8000]", min=0, max=65535)]
MetricsPort = Annotated[
    int | None, typer.Option(help="[REACH_METRICS_PORT, none]", min=0, max=65535)
]
DataDir = Annotated[Path | None, typer.Option(help="[REACH_DATA_DIR, ./reach-data]")]


class Unwritten(Exception):  # noqa: N818 - an expected failure
    """What a command has to say cannot be written where it belongs."""


def _is_fit_for_a_list(name: str) -> str:
    if not 0 < len(name.strip()) <= KEY_NAME_CHARACTERS or not name.isprintable():
        raise typer.BadParameter(f"It needs 1 to {KEY_NAME_CHARACTERS} printable characters.")
    return name


KeyName = Annotated[str, typer.Argument(callback=_is_fit_for_a_list)]
ExpiresDays = Annotated[float | None, typer.Option(min=0, max=36500, help="Never, by default.")]
Scope = Annotated[list[str], typer.Option(help="May be given several times.")]


def main() -> None:
    """Run the command; expected failures are a line on stderr and an exit code."""
    _take_standard_descriptors()
    # Ours to set, for the processes that `reach api` starts: here it would only fill a folder.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    try:
        cli()
    except BadSettings as error:
        _end(str(error), MISUSED)
    except Unwritten as error:
        _end(str(error), FAILED)
    except Problem as problem:
        _end(f"{problem.title}. {problem.detail or ''}".strip(), FAILED)
    except Exception as error:  # noqa: BLE001 - its message may hold an address
        import structlog  # noqa: PLC0415 - see above

        from reach.telemetry.logs import frames  # noqa: PLC0415 - see above

        structlog.get_logger("reach").critical("crashed", **frames(error))
        sys.exit(FAILED)


@cli.command()
def up(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run everything in one process: API, worker, mailbox and pages."""
    flags = {"host": host, "port": port, "data_dir": data_dir, "metrics_port": metrics_port}
    settings = _settings(sys.stderr, **flags)
    settings.require_safe_exposure()
    from reach import keyfiles, processes  # noqa: PLC0415 - see above
    from reach.serving import CannotStart  # noqa: PLC0415 - see above

    keyfiles.make_data_dir(settings)
    try:
        processes.run(processes.up, settings, _print_banner)
    except CannotStart as reason:
        _end(str(reason), FAILED)


@cli.command()
def api(
    host: Host = None,
    port: Port = None,
    processes: Annotated[int | None, typer.Option(min=1, help="[REACH_PROCESSES, 1]")] = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run the API and the pages."""
    flags = {"host": host, "port": port, "processes": processes, "metrics_port": metrics_port}
    settings = _settings(sys.stdout, **flags)
    settings.require_safe_exposure(has_mailbox=False)
    from reach import processes as running  # noqa: PLC0415 - see above
    from reach.serving import CannotStart  # noqa: PLC0415 - see above

    try:
        running.api(settings)
    except CannotStart as reason:
        _end(str(reason), FAILED)


@cli.command()
def worker(
    slots: Annotated[int | None, typer.Option(min=1, help="[REACH_WORKER_SLOTS, 8]")] = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run a worker: it sends what the outbox holds."""
    settings = _settings(sys.stdout, worker_slots=slots, metrics_port=metrics_port)
    settings.require_safe_exposure(has_mailbox=False)
    from reach import processes  # noqa: PLC0415 - see above
    from reach.serving import CannotStart  # noqa: PLC0415 - see above

    try:
        processes.run(processes.work, settings)
    except CannotStart as reason:
        _end(str(reason), FAILED)


@cli.command()
def migrate() -> None:
    """Bring the database to this version's schema. It can be repeated."""
    settings = _settings(sys.stderr)
    from reach import keyfiles  # noqa: PLC0415 - see above
    from reach.db.migrate import CannotMigrate, Patience, migrate  # noqa: PLC0415 - see above

    # A database of its own place needs no data directory, which may be where nobody can write.
    if settings.has_database_in_data_dir:
        keyfiles.make_data_dir(settings)
    try:
        at = migrate(
            settings.database,
            say=lambda line: _say(line, sys.stderr),
            patience=Patience.beside(settings.database_seconds),
        )
    except CannotMigrate as reason:
        _end(str(reason), FAILED)
    _print(f"The schema is at {at}.")


@keys_cli.command("create")
def keys_create(
    name: KeyName,
    scope: Scope,
    expires_days: ExpiresDays = None,
) -> None:
    """Make a key and print it, once, alone on stdout."""
    settings = _settings(sys.stderr)
    from reach.access import keys  # noqa: PLC0415 - see above

    unknown = sorted(set(scope) - set(keys.SCOPES))
    if unknown:
        _end(f"No such scope. Scopes are: {', '.join(keys.SCOPES)}", MISUSED)
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(expires_days)
    text = keys.generate()
    _write(settings, keys.add, text, name, scope, expires_at)
    try:
        _print(text)
    except Unwritten as error:
        # Nobody has it, and nobody could know which of the list it is.
        _write(settings, keys.revoke, text)
        raise Unwritten(f"{error} The key has been revoked.") from None


@keys_cli.command("revoke")
def keys_revoke(prefix_or_name: str) -> None:
    """Revoke a key, by its name or by how it begins (`rk_` and 8 characters)."""
    settings = _settings(sys.stderr)
    from reach.access import keys  # noqa: PLC0415 - see above

    for key in _write(settings, keys.revoke, prefix_or_name):
        _print(f"Revoked rk_{key.prefix}… ({key.name}).")


@keys_cli.command("list")
def keys_list() -> None:
    """List the keys, without their secrets."""
    settings = _settings(sys.stderr)
    from reach.access import keys  # noqa: PLC0415 - see above

    for key in _write(settings, keys.all_keys):
        state = "revoked" if key.revoked_at else "valid"
        if key.expires_at and key.expires_at < datetime.now(UTC):
            state = "expired"
        _print(f"rk_{key.prefix}…  {state:8}  {key.name}  {' '.join(sorted(key.scopes))}")


@cli.command()
def check() -> None:
    """Show the effective configuration and test what it names."""
    settings = _settings(sys.stderr)
    from reach.checks import check_all  # noqa: PLC0415 - see above

    is_well = asyncio.run(check_all(settings, _print))
    raise typer.Exit(0 if is_well else FAILED)


def _settings(stream: Any, **flags: object) -> Settings:
    """Read the settings and set the logs up. Raises BadSettings."""
    settings = load(flags)
    from reach.telemetry import logs  # noqa: PLC0415 - see above

    logs.configure(settings.log_level, stream)
    for name in unknown_variables():
        _say(f"Warning: {name} is no setting of Reach; `reach check` lists them.", sys.stderr)
    return settings


def _write(settings: Settings, fn: Any, *arguments: Any) -> Any:
    """Run ``fn(tx, …)`` in a transaction of its own. Raises Problem."""
    from reach.db.engine import open_database  # noqa: PLC0415 - see above

    async def write() -> Any:
        database = open_database(settings)
        try:
            return await database.write(fn, *arguments)
        finally:
            await database.close()

    return asyncio.run(write())


def _print_banner(started: Any) -> None:
    origin = started.settings.origin
    lines = [
        "Reach is ready.",
        f"  Sign up       {origin}/",
        f"  Mailbox       {origin}/mailbox" if started.has_mailbox else "",
        f"  API           {origin}/openapi.json",
        f"  Operator key  {started.operator_key}",
        f"  Data          {started.settings.data_dir}",
        "Ctrl-C stops it.",
    ]
    _say("\n".join(line for line in lines if line), sys.stdout)


def _end(line: str, code: int) -> NoReturn:
    for handler in logging.getLogger().handlers:
        handler.flush()  # what the log has to say of it comes before
    _say(line, sys.stderr)
    sys.exit(code)


def _take_standard_descriptors() -> None:
    """Put nothing in the place of streams that were closed when the process started.

    What is opened next would have their numbers, and libuv ends a process that closes one of them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= LAST_STANDARD_DESCRIPTOR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no name
    os.close(descriptor)


def _print(text: str) -> None:
    """Print what a command was asked for. Raises Unwritten."""
    rest = f"{text}\n".encode(errors="replace")
    # A stream that was closed when the process started is None.
    descriptor = -1 if sys.stdout is None else sys.stdout.fileno()
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise Unwritten(f"The output cannot be written: {error.strerror}.") from None


def _say(text: str, stream: TextIO | None) -> None:
    """Write beside a service's work, which goes on if nobody can read it.

    Past Python's buffer, which would try again at the end. A stream that was closed when the
    process started is None.
    """
    if stream is not None:
        with suppress(OSError):
            os.write(stream.fileno(), f"{text}\n".encode(errors="replace"))


if __name__ == "__main__":
    main()
