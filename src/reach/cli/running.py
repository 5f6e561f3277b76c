"""`reach up`, `api` and `worker`: what runs until it is stopped."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from reach.cli.configured import configured, database_of
from reach.cli.output import FAILED, end, say

Host = Annotated[str | None, typer.Option(help="Where to listen. [REACH_HOST, 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="[REACH_PORT, 8000]", min=0, max=65535)]
MetricsPort = Annotated[
    int | None, typer.Option(help="[REACH_METRICS_PORT, none]", min=0, max=65535)
]
NOWHERE = (
    "Warning: links in emails lead to {}, which is this machine only. If others are to open them, "
    "set REACH_PUBLIC_URL, such as https://signup.example.org."
)
DataDir = Annotated[Path | None, typer.Option(help="[REACH_DATA_DIR, ./reach-data]")]


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
    from reach import keyfiles, processes  # noqa: PLC0415 - heavy
    from reach.serving import CannotStart  # noqa: PLC0415 - heavy

    keyfiles.make_data_dir(settings)
    try:
        with database_of(settings):
            processes.run(processes.up, settings, _print_banner, partial(say, stream=sys.stderr))
    except CannotStart as reason:
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
    from reach import processes as running  # noqa: PLC0415 - heavy
    from reach.serving import CannotStart  # noqa: PLC0415 - heavy

    try:
        with database_of(settings):
            running.api(settings)
    except CannotStart as reason:
        end(str(reason), FAILED)


def worker(
    slots: Annotated[int | None, typer.Option(min=1, help="[REACH_WORKER_SLOTS, 8]")] = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run a worker: it sends what the outbox holds."""
    settings = configured(sys.stdout, worker_slots=slots, metrics_port=metrics_port)
    settings.require_safe_exposure(has_mailbox=False, binds=False)
    from reach import processes  # noqa: PLC0415 - heavy
    from reach.serving import CannotStart  # noqa: PLC0415 - heavy

    try:
        with database_of(settings):
            processes.run(processes.work, settings)
    except CannotStart as reason:
        end(str(reason), FAILED)


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
    say("\n".join(line for line in lines if line), sys.stdout)
