"""The page of commands, from the commands themselves, with an example of the JSON of each."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from docs.reference.markdown import page, table
from reach.cli import cli
from reach.messages.routes import MESSAGE
from reach.people.schemas import PERSON
from reach.people.stats_schemas import STATS
from reach.people.suppressions import SUPPRESSION

WRITTEN = (
    (
        "on a terminal",
        (
            "a table, as wide as the terminal. Times are UTC. Columns that have no "
            "room are left out: `--json` has all of them"
        ),
    ),
    (
        "into a pipe or a file",
        (
            "lines: one for each row, with a tab between its columns, no heads, every column, and "
            "nothing cut. What is not there is empty, and times are RFC 3339. What *shows* one "
            "thing writes a line for each of its parts: its name, a tab, its value"
        ),
    ),
    (
        "with `--json`",
        (
            "one JSON document, with the names that the API has. A list is an array with an item a "
            "line: both `jq '.[]'` and `grep` work"
        ),
    ),
    (
        "with `--quiet`",
        "of lists, and of what is added, the ids alone, a line each. Of what is done, nothing",
    ),
)
CODES = (
    ("0", "done. A list that finds nothing is done, too"),
    ("1", "failed: there is no such person, the database does not answer, you said no"),
    ("2", "misused, or misconfigured: nothing was done"),
    ("130", "ended by Ctrl-C"),
    ("141", "who read the output has gone, as `head` does. Nothing is said of it"),
)
WORDS = f"""
`reach --help`, and `--help` behind every command, say the same in the terminal. Which database,
which mail server and so on is set by [settings](settings.md): give a command those that Reach runs
with. The commands work beside a running Reach, and every change is noted in the audit trail.
[Operators](../guides/operators.md) has examples.

## What is written

{table(("where", "what is written"), WRITTEN)}

The answer is on stdout, all else on stderr. What would act on a terminal, or turn text around
(control characters, marks of direction), is written as an escape: a name cannot do anything to your
terminal. No colours are written into a pipe, or where `NO_COLOR` is set.

A list has 50 rows, unless `--limit` or `--all` says otherwise. If there are more, a line on stderr
says so.

## Exit codes

{table(("code", "what it means"), CODES)}

## What asks first

What cannot be undone, and what is done to many at once, asks on the terminal: `people erase`,
`keys revoke`, `webhooks remove`, `suppressions lift`, `messages retry` and `messages cancel` of
more than one. `--yes` answers. Without both, nothing is done, and the exit code is 2. `--dry-run`
only says what would be done.

## Completion

`reach --install-completion` sets it up for bash, zsh, fish or PowerShell, whichever runs it;
`reach --show-completion` prints it. Where it does not know the shell:
`_REACH_COMPLETE=source_bash reach` (or `source_zsh`, `source_fish`).
"""

KEY: Mapping[str, Any] = {
    "id": "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a05",
    "name": "shop",
    "prefix": "rk_aB3dE6gH",
    "scopes": ["messages:read", "people:read"],
    "state": "valid",
    "created_at": "2026-03-04T05:06:07.890123Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
}
ATTEMPT: Mapping[str, Any] = {
    "worker": "worker-1",
    "started_at": "2026-03-04T05:06:08.120000Z",
    "finished_at": "2026-03-04T05:06:08.310000Z",
    "outcome": "sent",
    "smtp_code": 250,
    "enhanced_code": "2.0.0",
    "text": "Ok: queued as 4Tz1",
}
REPORT: Mapping[str, Any] = {
    "kind": "bounced",
    "category": "permanent",
    "source": "dsn",
    "smtp_code": 550,
    "enhanced_code": "5.1.1",
    "text": "No such user",
    "reported_at": "2026-03-04T05:06:09.120000Z",
}
ENTRY: Mapping[str, Any] = {
    "id": "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a77",
    "at": "2026-03-04T05:06:07.890123Z",
    "actor": {"kind": "command", "id": "1000", "via": "cli"},
    "action": "person.change",
    "subject": "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1",
    "count": 1,
    "details": {"fields": ["name"]},
}
WEBHOOK: Mapping[str, Any] = {
    "id": "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a42",
    "url": "https://example.org/hooks",
    "name": "shop",
    "types": ["person.signed_up"],
    "state": "enabled",
    "disabled_reason": None,
    "disabled_at": None,
    "failures": 0,
    "failing_since": None,
    "paused_until": None,
    "delivered_at": "2026-03-04T05:06:08.310000Z",
    "old_secret_until": None,
    "created_at": "2026-03-04T05:06:07.890123Z",
}
TELLING: Mapping[str, Any] = {
    "started_at": "2026-03-04T05:06:08.120000Z",
    "milliseconds": 31,
    "outcome": "delivered",
    "status": 204,
    "answer": "",
}
DELIVERY: Mapping[str, Any] = {
    "id": "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a43",
    "type": "person.signed_up",
    "person_id": "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1",
    "message_id": None,
    "state": "delivered",
    "attempts": 1,
    "created_at": "2026-03-04T05:06:07.890123Z",
    "due_at": None,
    "finished_at": "2026-03-04T05:06:08.310000Z",
    "history": [TELLING],
}
SHOWN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
READ: Mapping[str, Any] = {
    "file": "bounce.eml",
    "sort": "dsn",
    "kind": "bounced",
    "category": "permanent",
    "recipient": "ada@example.net",
    "original_recipient": None,
    "smtp_code": 550,
    "enhanced_code": "5.1.1",
    "text": "550 5.1.1 User unknown",
    "clues": ["return-path", "token", "message-id"],
}
CANCELLED = {**MESSAGE, "state": "cancelled", "attempts": 0}
QUEUED = {**MESSAGE, "state": "queued", "due_at": MESSAGE["finished_at"], "finished_at": None}
#: What each command writes with ``--json``: ``tests/cli`` holds the commands to it.
EXAMPLES: Mapping[str, Sequence[Any]] = {
    "people list": [[PERSON]],
    "people import": [
        {
            "rows": 1002,
            "added": 1000,
            "known": 1,
            "repeated": 0,
            "rejected": 1,
            "dry_run": False,
        }
    ],
    "people show": [PERSON],
    "people add": [PERSON],
    "people change": [PERSON],
    "people erase": [{"id": PERSON["id"], "messages": 1, "dry_run": False}],
    "messages list": [[MESSAGE]],
    "messages show": [{**MESSAGE, "state": "bounced", "history": [ATTEMPT], "reports": [REPORT]}],
    "messages retry": [
        {**QUEUED, "dry_run": False},
        {"queued": 1204, "more": False, "dry_run": True},
    ],
    "messages cancel": [
        {**CANCELLED, "dry_run": False},
        {"cancelled": 12, "more": False, "dry_run": True},
    ],
    "messages send-test": [{**QUEUED, "person_id": None, "attempts": 0}],
    "suppressions list": [[SUPPRESSION]],
    "suppressions show": [SUPPRESSION],
    "suppressions add": [{**SUPPRESSION, "cause": "operator", "text": "", "message_id": None}],
    "suppressions lift": [{**SUPPRESSION, "dry_run": False}],
    "keys list": [[KEY]],
    "keys create": [{**KEY, "key": "rk_aB3dE6gH…"}],
    "keys revoke": [{**KEY, "state": "revoked", "revoked_at": ENTRY["at"], "dry_run": False}],
    "webhooks list": [[WEBHOOK]],
    "webhooks add": [{**WEBHOOK, "delivered_at": None, "secret": SHOWN}],
    "webhooks show": [{**WEBHOOK, "deliveries": [DELIVERY]}],
    "webhooks rotate": [{**WEBHOOK, "old_secret_until": WEBHOOK["created_at"], "secret": SHOWN}],
    "webhooks enable": [WEBHOOK],
    "webhooks disable": [
        {
            **WEBHOOK,
            "state": "disabled",
            "disabled_reason": "operator",
            "disabled_at": WEBHOOK["created_at"],
        }
    ],
    "webhooks remove": [WEBHOOK],
    "webhooks test": [{"id": DELIVERY["id"]}],
    "webhooks replay": [{"count": 1204}],
    "audit list": [[ENTRY]],
    "reports read": [[READ]],
    "stats": [STATS],
    "migrate": [{"schema": "0015"}],
    "check": [
        {
            "ok": True,
            "lines": [{"text": "ok database: sqlite:///reach.sqlite3", "tone": "good"}],
        }
    ],
    "db copy": [{"rows": {"people": 250, "messages": 315}}],
    "db backup": [{"file": "reach.backup", "bytes": 1048576}],
}


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """List a command and all below it, each with the words that call it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, *path, name)


def everything() -> dict[tuple[str, ...], Any]:
    """Give every command by its words; of ``reach`` itself, there are none."""
    return dict(commands(typer.main.get_command(cli)))


def written() -> str:
    """Write the page."""
    parts: list[str] = []
    for path, command in everything().items():
        is_group = bool(getattr(command, "commands", {}))
        level = "##" if len(path) <= 1 else "###"
        parts.append(f"{level} `{' '.join(('reach', *path))}`")
        if not is_group:
            parts.append(f"    {_usage(path, command)}")
        parts.append(_prose(command.help))
        rows = [_row(one) for one in command.params if one.name != "help"]
        if rows:
            parts.append(table(("option", "default", "what it does"), rows))
        parts += map(_example, EXAMPLES.get(" ".join(path), ()))
    return page("Commands", WORDS, *parts)


def _usage(path: Sequence[str], command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    others = ["[OPTIONS]"] if len(arguments) < len(command.params) else []
    return " ".join(["reach", *path, *others, *map(_argument, arguments)])


def _argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required else f"[{name}]"


def _row(param: Any) -> tuple[str, str, str]:
    if param.param_type_name == "argument":
        names = f"`{_argument(param)}`"
    else:
        said = "" if param.is_flag else f" {_value(param)}"
        options = ", ".join([*param.opts[::-1]])
        off = "".join(f", {one}" for one in param.secondary_opts)
        names = f"`{options}{said}{off}`"
    is_told = param.default not in (None, False, True)
    return names, f"`{param.default}`" if is_told else "", _prose(param.help)


def _value(param: Any) -> str:
    """Write what an option takes: its name, or the values there are."""
    if param.metavar:
        return str(param.metavar)
    said = str(param.display_type(None)).strip("<>")
    return said if "|" in said else "N"


def _prose(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").strip().split("\n\n"))


def _example(value: Any) -> str:
    lines = json.dumps(value, indent=2, ensure_ascii=False)
    return f"```json\n{lines}\n```"
