"""`reach webhooks`: other systems that are told what happens."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from reach.cli.connection import Connection, connected
from reach.cli.forms import Column, Form, Pages, as_json, by_id, show, show_list
from reach.cli.options import AsJson, Quiet, Silent, Since, Yes, read_id, read_text, require_yes
from reach.cli.output import MARKUP, MISUSED, Unwritten, answer, by_command, configured, end

if TYPE_CHECKING:
    from collections.abc import Callable

    from reach.settings import Settings
    from reach.webhooks.endpoints import Webhook
    from reach.webhooks.history import Delivery
    from reach.webhooks.secrets import Seals

cli = typer.Typer(
    no_args_is_help=True, rich_markup_mode=MARKUP, help="Other systems that are told what happens."
)

COLUMNS = (
    Column("id", "ID", is_whole=True),
    Column("name", "Name"),
    Column("state", "State", is_whole=True),
    Column("url", "Where", 100),
    Column("types", "Hears of", 140),
    Column("failures", "Failures", 160),
    Column("delivered_at", "Last success", 180, is_whole=True),
)
ALL_COLUMNS = (
    *COLUMNS,
    Column("disabled_reason", "Off because"),
    Column("failing_since", "Failing since", is_whole=True),
    Column("paused_until", "Paused until", is_whole=True),
    Column("created_at", "Made", is_whole=True),
)
DELIVERY_COLUMNS = (
    Column("id", "Event", is_whole=True),
    Column("type", "Type", is_whole=True),
    Column("state", "State", is_whole=True),
    Column("attempts", "Attempts"),
    Column("created_at", "Happened", 120, is_whole=True),
    Column("due_at", "Next try", 150, is_whole=True),
    Column("last_answer", "Last answer", 100),
)

WebhookId = Annotated[
    UUID, typer.Argument(parser=read_id, metavar="ID", help="Its id: see `reach webhooks list`.")
]


def _types() -> list[str]:
    from reach.events.model import EVENT_TYPES, EVERY

    return [*EVENT_TYPES, EVERY]


@cli.command("list")
def list_all(*, json: AsJson = False, quiet: Quiet = False) -> None:
    """List the webhooks, the oldest first, without their secrets."""
    settings = configured(sys.stderr)
    from reach.webhooks import endpoints

    with connected(settings) as database:
        found = database.read(endpoints.every)
        pages = Pages(lambda _limit, _after: (found, None), None)
        show_list(pages, shown, COLUMNS, Form.chosen(as_json=json, quiet=quiet))


@cli.command()
def add(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Where to send: https.", callback=read_text)
    ],
    *,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What a list shows it by.", callback=read_text)
    ] = "webhook",
    type_: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            help="What it hears of, such as person.signed_up; everything, by default. May be "
            "given several times.",
            metavar="TYPE",
            autocompletion=_types,
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Add a webhook and print its secret, once, alone on stdout."""
    settings = configured(sys.stderr)
    from reach.webhooks import actions, secrets

    types = type_ or ["*"]
    name = _checked(settings, url, name, types)
    seals, secret = _seals(settings), secrets.generate()
    with connected(settings) as database:
        made = database.write(
            actions.add, by_command(), seals, url=url, name=name, types=types, secret=secret
        )
        try:
            _show_secret(made, secret, json=json)
        except Unwritten as error:  # nobody has its secret
            database.write(actions.remove, by_command(), made.id)
            raise Unwritten(f"{error} The webhook has been removed.") from None


def _checked(settings: "Settings", url: str, name: str, types: list[str]) -> str:
    """Give the name as it is kept; what is wrong with any of them ends the command."""
    from reach.auth.keys import fit_name
    from reach.webhooks.targets import Target

    try:
        Target.parse(url, settings.webhook_targets)
        name = fit_name(name)
    except ValueError as error:
        end(str(error), MISUSED)
    if set(types) - set(_types()):
        end(f"No such type. Types are: {', '.join(_types())}", MISUSED)
    return name


@cli.command("show")
def show_one(id_: WebhookId, *, json: AsJson = False, quiet: Quiet = False) -> None:
    """Show a webhook, and the newest 20 events that it was told, or is to be told."""
    settings = configured(sys.stderr)
    from reach.webhooks import endpoints, history

    form = Form.chosen(as_json=json, quiet=quiet)
    with connected(settings) as database:
        webhook = shown(database.read(endpoints.view, id_))
        if json:
            found, _ = database.read(history.page, id_, limit=20)
            answer(as_json({**webhook, "deliveries": list(map(shown_delivery, found))}, indent=2))
            return
        show(webhook, ALL_COLUMNS, form)
        if not quiet:
            pages = Pages(by_id(partial(database.read, history.page, id_)), 20)
            show_list(pages, shown_in_list, DELIVERY_COLUMNS, Form(form.kind, is_quiet=True))


@cli.command()
def rotate(id_: WebhookId, *, json: AsJson = False) -> None:
    """Make a new secret and print it, once. For a day the one before signs as well."""
    settings = configured(sys.stderr)
    from reach.webhooks import actions, secrets

    seals, secret = _seals(settings), secrets.generate()
    with connected(settings) as database:
        rotated = database.write(actions.rotate, by_command(), seals, id_, secret)
        _show_secret(rotated, secret, json=json)


@cli.command()
def enable(id_: WebhookId, *, json: AsJson = False, quiet: Silent = False) -> None:
    """Turn a webhook on again: what waits for it is sent."""
    from reach.webhooks import actions

    _done(
        lambda database: database.write(actions.enable, by_command(), id_), json=json, quiet=quiet
    )


@cli.command()
def disable(id_: WebhookId, *, json: AsJson = False, quiet: Silent = False) -> None:
    """Turn a webhook off: of what happens meanwhile it never hears."""
    from reach.webhooks import actions

    _done(
        lambda database: database.write(actions.disable, by_command(), id_), json=json, quiet=quiet
    )


@cli.command()
def remove(
    id_: WebhookId, *, yes: Yes = False, json: AsJson = False, quiet: Silent = False
) -> None:
    """Remove a webhook, with all that it has not heard yet."""
    from reach.webhooks import actions, endpoints

    def remove(database: Connection) -> "Webhook":
        webhook: Webhook = database.read(endpoints.view, id_)
        require_yes(f"Remove {webhook.name} for good?", yes=yes)
        database.write(actions.remove, by_command(), id_)
        return webhook

    _done(remove, json=json, quiet=quiet)


@cli.command("test")
def send_test(id_: WebhookId, *, json: AsJson = False, quiet: Silent = False) -> None:
    """Have a worker send a webhook something that is about nobody."""
    settings = configured(sys.stderr)
    from reach.webhooks import actions

    with connected(settings) as database:
        event_id = database.write(actions.test, by_command(), id_)
    if json:
        answer(as_json({"id": event_id}, indent=2))
    elif not quiet:
        answer(f"Sent soon: {event_id}. What becomes of it: reach webhooks show {id_}")


@cli.command()
def replay(
    id_: WebhookId,
    *,
    since: Since = None,
    event: Annotated[
        UUID | None, typer.Option(parser=read_id, metavar="ID", help="This event alone.")
    ] = None,
    json: AsJson = False,
    quiet: Silent = False,
) -> None:
    """Tell a webhook again what it was told: one event, or all since a time."""
    if (since is None) == (event is None):
        end("Say --since or --event.", MISUSED)
    settings = configured(sys.stderr)
    from reach.webhooks import actions

    with connected(settings) as database:
        count, on = 1, None
        if since is not None:
            count, on = database.write(actions.replay_some, by_command(), id_, since)
        else:
            database.write(actions.replay, by_command(), id_, event)
        while on is not None:
            more, on = database.write(actions.replay_some, by_command(), id_, since, on)
            count += more
    if json:
        answer(as_json({"count": count}, indent=2))
    elif not quiet:
        answer(f"Told again: {count:,}.")


def _change(change: Any, id_: UUID, database: Connection) -> "Webhook":
    return database.write(change, by_command(), id_)  # type: ignore[no-any-return]


def _done(change: "Callable[[Connection], Webhook]", *, json: bool, quiet: bool) -> None:
    settings = configured(sys.stderr)
    with connected(settings) as database:
        webhook = change(database)
    if json:
        answer(as_json(shown(webhook), indent=2))
    elif not quiet:
        answer(f"Done: {webhook.name} ({webhook.id}).")


def _seals(settings: "Settings") -> "Seals":
    """Find what seals secrets, as the workers do. Raises BadSettings."""
    from reach.runtime.data_dir import with_secret_key
    from reach.webhooks.secrets import Seals

    return Seals(with_secret_key(settings))


def _show_secret(webhook: "Webhook", secret: str, *, json: bool) -> None:
    answer(as_json({**shown(webhook), "secret": secret}, indent=2) if json else secret)


def shown(webhook: "Webhook") -> dict[str, Any]:
    """Show a webhook as the API does."""
    names = ["id", "url", "name", "types", "state", "disabled_reason", "disabled_at", "failures"]
    names += ["failing_since", "paused_until", "delivered_at", "old_secret_until", "created_at"]
    return {name: getattr(webhook, name) for name in names}


def shown_delivery(delivery: "Delivery") -> dict[str, Any]:
    """Show an event as the API does."""
    from reach.webhooks.schemas import delivery_body

    return delivery_body(delivery).model_dump()


def shown_in_list(delivery: "Delivery") -> dict[str, Any]:
    """Show an event with what became of its last attempt, in one text; None before the first."""
    last = delivery.history[-1] if delivery.history else None
    said = last and ": ".join(filter(None, (str(last.status or last.outcome), last.answer)))
    return {**shown_delivery(delivery), "last_answer": said}
