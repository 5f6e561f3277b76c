"""`reach up`, `api`, `worker` and `inbound`: what runs until it is stopped."""

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reach.cli.forms import as_json
from reach.cli.options import AsJson
from reach.cli.output import FAILED, answer, configured, database_of, end, painter, say

if TYPE_CHECKING:
    from reach.checks.report import Line


def migrate(*, json: AsJson = False) -> None:
    """Bring the database to this version's schema. It can be repeated."""
    settings = configured(sys.stderr)
    from reach.db.migrate import CannotMigrate, Patience, migrate
    from reach.runtime import data_dir

    # A database of its own place needs no data directory, which may be where nobody can write.
    if settings.has_database_in_data_dir:
        data_dir.make_data_dir(settings)
    try:
        with database_of(settings):
            at = migrate(
                settings.direct_database,
                say=lambda line: say(line, sys.stderr),
                patience=Patience.beside(settings.database_seconds),
            )
    except CannotMigrate as reason:
        end(str(reason), FAILED)
    answer(as_json({"schema": at}, indent=2) if json else f"The schema is at {at}.")


def check(
    *,
    all_: Annotated[
        bool, typer.Option("--all", help="Show the settings that are as by default, too.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            help="Send one real message there, too: the welcome, with sample data and links.",
            metavar="ADDRESS",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Show the settings that count and test what they name. Exit code 0: all is well."""
    settings = configured(sys.stderr)
    from reach.checks import check_all
    from reach.people.address import parse_address

    utf8, intranet, recipient = settings.smtputf8, settings.intranet, None
    try:
        if to is not None:
            recipient = parse_address(to, smtputf8=utf8, intranet=intranet).recipient
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    paint, lines = painter(), list[dict[str, str]]()

    def show(line: "Line") -> None:
        if json:
            lines.append({"text": line.text, "tone": line.tone})
        else:
            answer(paint(*line))

    code = asyncio.run(check_all(settings, show, shows_all=all_, to=recipient))
    if json:
        answer(as_json({"ok": code == 0, "lines": lines}, indent=2))
    raise typer.Exit(code)


Host = Annotated[
    str | None, typer.Option(metavar="HOST", help="Where to listen. [REACH_HOST, 127.0.0.1]")
]
Port = Annotated[int | None, typer.Option(help="[REACH_PORT, 8000]", min=0, max=65535)]
MetricsPort = Annotated[
    int | None, typer.Option(help="[REACH_METRICS_PORT, none]", min=0, max=65535)
]
NOWHERE = (
    "Warning: links in emails lead to {}, which is this machine only. If others are to open them, "
    "set REACH_PUBLIC_URL, such as https://signup.example.org."
)
DataDir = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="[REACH_DATA_DIR, ./reach-data]")
]


def up(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run everything in one process: API, worker, mailbox and pages."""
    flags = {"host": host, "port": port, "data_dir": data_dir, "metrics_port": metrics_port}
    settings = configured(sys.stderr, **flags)
    settings.require_safe_exposure()
    if settings.is_spread and not settings.public_url:
        say(NOWHERE.format(settings.origin), sys.stderr)
    from reach.runtime import data_dir as keyfiles
    from reach.runtime import process, processes

    keyfiles.make_data_dir(settings)
    try:
        with database_of(settings):
            process.run(processes.up, settings, _print_banner, partial(say, stream=sys.stderr))
    except process.CannotStart as reason:
        end(str(reason), FAILED)


def api(
    host: Host = None,
    port: Port = None,
    processes: Annotated[int | None, typer.Option(min=1, help="[REACH_PROCESSES, 1]")] = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run the API and the pages."""
    flags = {"host": host, "port": port, "processes": processes, "metrics_port": metrics_port}
    settings = configured(sys.stdout, **flags)
    settings.require_safe_exposure(has_mailbox=False)
    from reach.runtime import process
    from reach.runtime import processes as running

    try:
        with database_of(settings):
            running.api(settings)
    except process.CannotStart as reason:
        end(str(reason), FAILED)


def worker(
    slots: Annotated[int | None, typer.Option(min=1, help="[REACH_WORKER_SLOTS, 8]")] = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run a worker: it sends what the outbox holds."""
    settings = configured(sys.stdout, worker_slots=slots, metrics_port=metrics_port)
    settings.require_safe_exposure(has_mailbox=False, binds=False)
    from reach.runtime import process, worker

    try:
        with database_of(settings):
            process.run(worker.work, settings)
    except process.CannotStart as reason:
        end(str(reason), FAILED)


def inbound(metrics_port: MetricsPort = None) -> None:
    """Take in what mail servers report: bounces and complaints, by LMTP or out of a mailbox."""
    settings = configured(sys.stdout, metrics_port=metrics_port)
    settings.require_safe_exposure(has_mailbox=False, binds=False)
    from reach.runtime import inbound, process

    try:
        with database_of(settings):
            process.run(inbound.receive, settings)
    except process.CannotStart as reason:
        end(str(reason), FAILED)


def _print_banner(started: Any) -> None:
    origin = started.settings.origin
    lines = [
        "Reach is ready.",
        f"  Sign up       {origin}/",
        f"  Mailbox       {origin}/mailbox" if started.has_mailbox else "",
        f"  Console       {origin}/console" if started.settings.console else "",
        f"  API           {origin}/docs",
        f"  Operator key  {started.operator_key}",
        f"  Data          {started.settings.data_dir}",
        "Ctrl-C stops it.",
    ]
    say("\n".join(line for line in lines if line), sys.stdout)
