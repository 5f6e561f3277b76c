"""`reach messages`: the emails that are owed, were sent, or failed."""

import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from uuid import UUID

import typer

from reach.cli.connection import Connection, connected
from reach.cli.forms import Column, Form, Pages, as_json, by_id, show, show_list
from reach.cli.options import (
    All,
    AsJson,
    DryRun,
    Limit,
    MessageState,
    Quiet,
    Silent,
    Since,
    Until,
    Yes,
    read_id,
    read_text,
    require_yes,
)
from reach.cli.output import (
    MARKUP,
    MISUSED,
    answer,
    by_command,
    configured,
    end,
)
from reach.cli.previews import Lang, TemplateName, composer_of, preview

if TYPE_CHECKING:
    from reach.messages.filters import Filter
    from reach.messages.model import Attempt, Message, Reported

cli = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    help="The emails that are owed, were sent, or failed.",
)

COLUMNS = (
    Column("id", "ID", is_whole=True),
    Column("state", "State", is_whole=True),
    Column("template", "Template", 90),
    Column("recipient", "Recipient"),
    Column("attempts", "Attempts", 110),
    Column("created_at", "Promised", 120, is_whole=True),
    Column("last_error", "Last error", 160),
)
PARTS = (
    Column("id", "ID"),
    Column("state", "State"),
    Column("template", "Template"),
    Column("recipient", "Recipient"),
    Column("person_id", "Person"),
    Column("created_at", "Promised"),
    Column("due_at", "Next try"),
    Column("finished_at", "Finished"),
    Column("attempts", "Attempts"),
    Column("last_error", "Last error"),
    Column("message_id", "Message-ID"),
)
TRIES = (
    Column("started_at", "Begun", is_whole=True),
    Column("outcome", "Outcome", is_whole=True),
    Column("smtp_code", "Code", is_whole=True),
    Column("enhanced_code", "Enhanced", 100),
    Column("text", "The server's words"),
    Column("worker", "Worker", 140),
)
REPORTS = (
    Column("reported_at", "Reported", is_whole=True),
    Column("kind", "What", is_whole=True),
    Column("category", "Fault", is_whole=True),
    Column("source", "By", 90, is_whole=True),
    Column("smtp_code", "Code", is_whole=True),
    Column("enhanced_code", "Enhanced", 100),
    Column("text", "The server's words"),
)

#: So many are retried or cancelled by one command.
MOST = 100_000

Id = Annotated[
    UUID | None,
    typer.Argument(parser=read_id, metavar="ID", help="One message. Else the options say which."),
]
OneId = Annotated[
    UUID, typer.Argument(parser=read_id, metavar="ID", help="The message, as a list has it.")
]
Template = Annotated[
    str | None,
    typer.Option(
        help="The name of their template, such as welcome.", metavar="NAME", callback=read_text
    ),
]
Recipient = Annotated[
    str | None,
    typer.Option(
        help="The address that somebody has now, in any spelling: all that is theirs.",
        metavar="ADDRESS",
        callback=read_text,
    ),
]


@cli.command("list")
def list_all(  # noqa: PLR0913 - one for each filter
    *,
    state: Annotated[MessageState | None, typer.Option(help="What became of them.")] = None,
    template: Template = None,
    recipient: Recipient = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    all_: All = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List messages, newest first."""
    settings = configured(sys.stderr)
    from reach.messages import filters

    chosen_by = _filter(state, template, recipient, since, until)
    with connected(settings) as database:
        fetch = by_id(partial(database.read, filters.page, chosen_by))
        form = Form.chosen(as_json=json, quiet=quiet)
        show_list(Pages(fetch, None if all_ else limit), shown, COLUMNS, form)


@cli.command("show")
def show_one(id_: OneId, *, json: AsJson = False) -> None:
    """Show a message: each try at sending it, and what was reported, with mail servers' words."""
    settings = configured(sys.stderr)
    from reach.messages import outbox

    with connected(settings) as database:
        message, attempts, reports = database.read(outbox.history, id_)
    form = Form.chosen(as_json=json, quiet=False)
    tries = [tried(attempt) for attempt in attempts]
    reported = [report_shown(report) for report in reports]
    if form.kind == "json":
        parts = {"history": tries, "reports": reported}
        answer(as_json({**shown(message), **parts}, indent=2))
        return
    show(shown(message), PARTS, form)
    for rows, columns in ((tries, TRIES), (reported, REPORTS)):
        if rows:
            answer("")
            show_list(Pages(lambda *_, rows=rows: (rows, None), None), dict, columns, form)


@cli.command()
def retry(  # noqa: PLR0913 - one for each filter
    id_: Id = None,
    *,
    state: Annotated[
        Literal["failed", "cancelled", "suppressed", "queued"] | None,
        typer.Option(
            help="Those that failed, by default. Of the queued: those that wait for their next try."
        ),
    ] = None,
    template: Template = None,
    recipient: Recipient = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: AsJson = False,
    quiet: Silent = False,
) -> None:
    """Send a message again, or all that the options find: due now, with four new days.

    `--state failed` is all that failed. What was sent stays sent.
    """
    settings = configured(sys.stderr)
    from reach.messages import actions, filters

    many = (state, template, recipient, since, until)
    _require_either(id_, many)
    form = Form.chosen(as_json=json, quiet=quiet)
    with connected(settings) as database:
        if id_ is not None:
            _do_one(database, actions.retry, "queued", id_, dry_run=dry_run, form=form)
            return
        chosen_by = _filter(state or "failed", *many[1:])
        again = _Many(filters.retryable, actions.retry_all, "Send {} again?")
        count = _do_all(database, again, chosen_by, yes=yes, dry_run=dry_run)
    _say_count("queued", count, dry_run=dry_run, form=form)


@cli.command()
def cancel(  # noqa: PLR0913 - one for each filter
    id_: Id = None,
    *,
    template: Template = None,
    recipient: Recipient = None,
    since: Since = None,
    until: Until = None,
    all_: Annotated[bool, typer.Option("--all", help="All that are queued.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: AsJson = False,
    quiet: Silent = False,
) -> None:
    """Cancel a queued message, or all that the options find: it is not sent, unless retried.

    What a worker is sending at this moment may be sent all the same.
    """
    settings = configured(sys.stderr)
    from reach.messages import actions, filters

    many = (template, recipient, since, until)
    _require_either(id_, (*many, all_ or None))
    form = Form.chosen(as_json=json, quiet=quiet)
    with connected(settings) as database:
        if id_ is not None:
            _do_one(database, actions.cancel, "cancelled", id_, dry_run=dry_run, form=form)
            return
        stop = _Many(filters.cancellable, actions.cancel_all, "Cancel {}?")
        count = _do_all(database, stop, _filter("queued", *many), yes=yes, dry_run=dry_run)
    _say_count("cancelled", count, dry_run=dry_run, form=form)


cli.command()(preview)


@cli.command("send-test")
def send_test(
    template: TemplateName,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where it goes: yours, say.")],
    *,
    lang: Lang = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Send an email with sample data to an address, to see how it looks there.

    It goes by the outbox, as all others do, so a worker has to run. Its links are nobody's.
    """
    settings = configured(sys.stderr)
    from reach.messages import actions, outbox
    from reach.people.address import parse_address

    try:
        to = parse_address(address, smtputf8=settings.smtputf8, intranet=settings.intranet)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="ADDRESS") from None
    _, language = composer_of(settings, template, lang)
    with connected(settings) as database:
        asked = (template, to.recipient, language)
        id_ = database.write(actions.send_test, by_command(), *asked, settings=settings)
        message = database.read(outbox.view, id_)
    form = Form.chosen(as_json=json, quiet=quiet)
    show(shown(message), PARTS, form)


def shown(message: "Message") -> dict[str, Any]:
    """Show a message as the API does: one that is not queued has no next try."""
    names = ("id", "person_id", "template", "recipient", "state", "attempts", "created_at")
    others = ("finished_at", "message_id", "last_error")
    due_at = message.due_at if message.state == "queued" else None
    fields = {name: getattr(message, name) for name in names}
    return {**fields, "due_at": due_at, **{name: getattr(message, name) for name in others}}


def tried(attempt: "Attempt") -> dict[str, Any]:
    """Show a try as the API does."""
    names = ("worker", "started_at", "finished_at", "outcome", "smtp_code", "enhanced_code", "text")
    return {name: getattr(attempt, name) for name in names}


def report_shown(report: "Reported") -> dict[str, Any]:
    """Show what was reported as the API does."""
    names = ("kind", "category", "source", "smtp_code", "enhanced_code", "text", "reported_at")
    return {name: getattr(report, name) for name in names}


def _filter(
    state: MessageState | None,
    template: str | None,
    recipient: str | None,
    since: datetime | None,
    until: datetime | None,
) -> "Filter":
    from reach.messages.filters import Filter
    from reach.people.address import key_prefix

    if recipient is not None and "@" not in recipient:
        raise typer.BadParameter("It must be a whole address.", param_hint="--recipient")
    key = None if recipient is None else key_prefix(recipient)
    return Filter(state, template, key, None, since, until)


def _require_either(id_: UUID | None, options: Sequence[Any]) -> None:
    """Refuse to do it to everything because nothing was said, or to one of which more is said."""
    is_any = any(option is not None for option in options)
    if id_ is None and not is_any:
        end("Say which: an ID, or options such as --since.", MISUSED)
    if id_ is not None and is_any:
        end("An ID says which one already: leave the other options out.", MISUSED)


def _do_one(  # noqa: PLR0913 - what is done to which, and how it is said
    database: Connection, action: Any, done: str, id_: UUID, *, dry_run: bool, form: Form
) -> None:
    run = database.rehearse if dry_run else database.write
    message = run(action, by_command(), id_)
    if form.kind == "json":
        answer(as_json({**shown(message), "dry_run": dry_run}, indent=2))
    elif not form.is_quiet:
        answer(f"{'It would be' if dry_run else 'It is'} {done}: {id_}.")


class _Many(NamedTuple):
    """What is done to many: how they are found, what does it, and what is asked first."""

    find: Any
    do: Any
    question: str


def _do_all(
    database: Connection, many: _Many, chosen_by: "Filter", *, yes: bool, dry_run: bool
) -> int:
    """Do it to all that are found, once that is wanted; returns to how many, or it would be.

    In parts, so that sign-ups and deliveries wait for none of them long. All were found before the
    first: what fails again meanwhile is not taken a second time.
    """
    from reach.cli.progress import progress
    from reach.messages.filters import BATCH

    ids = database.read(many.find, chosen_by, limit=MOST)
    if dry_run or not ids:
        return len(ids)
    require_yes(many.question.format(_counted(len(ids))), yes=yes)
    count = 0
    with progress("Messages", len(ids)) as advance:
        for begin in range(0, len(ids), BATCH):
            part = ids[begin : begin + BATCH]
            count += database.write(many.do, by_command(), part, chosen_by)[0]
            advance(count, begin + len(part))
    return count


def _say_count(done: str, count: int, *, dry_run: bool, form: Form) -> None:
    if form.kind == "json":
        answer(as_json({done: count, "more": count >= MOST, "dry_run": dry_run}, indent=2))
    elif not form.is_quiet:
        answer(f"{'Would be' if dry_run else 'Now'} {done}: {_counted(count)}.")
    if count >= MOST:
        form.hint("There may be more: repeat the command.")


def _counted(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"
