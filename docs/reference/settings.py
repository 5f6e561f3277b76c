"""The page of settings, from ``reach.settings.fields``: its comments are the words."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import SecretStr

from docs.reference.markdown import codes, page, table
from reach.settings import SECRETS, Settings
from reach.settings.fields import Fields
from reach.settings.report_fields import ReportFields
from reach.settings.types import PREFIX

WORDS = f"""
Every variable, read once at start; an empty one is one that is not set. Command-line flags beat the
environment. Secrets ({codes(f"{PREFIX}{name.upper()}" for name in SECRETS)})
may come from a file instead, named by the variable with `_FILE` behind it. `reach check --all`
prints what is in force.

When Reach can be reached from outside (the bind address or `REACH_PUBLIC_URL` is not loopback), it
refuses to start without a `REACH_PUBLIC_URL`, without a `REACH_SECRET_KEY` of 32 characters, with
the embedded mailbox, or with a login over unencrypted SMTP to another host. `reach worker` listens
nowhere: it refuses to start without a `REACH_PUBLIC_URL` when its mail server or its database is
not on this machine, as links to this machine would be links to nowhere. Exit codes: 0 done,
1 failed, 2 usage or configuration.

More about some of them: [servers](../guides/choosing-servers.md),
[rate limits](../guides/rate-limits.md), [magic links](../guides/magic-links.md),
[spam protection](../guides/spam-protection.md), [the reverse proxy](../guides/reverse-proxy.md),
[email templates](../guides/email-templates.md), [DNS](../guides/dns.md),
[logs](../guides/logs.md).
"""
SECTION = re.compile(r" {4}# (\w.*)")
COMMENT = re.compile(r" {4}#: ?(.*)")


@dataclass(frozen=True)
class Field:
    """A setting: the section that it stands in, and its words."""

    section: str
    name: str
    words: str


def fields() -> Iterator[Field]:
    """Read the settings, in the order of the source."""
    for source in (Fields, ReportFields):
        yield from _fields_of(source)


def _fields_of(source: type[Fields]) -> Iterator[Field]:
    lines = inspect.getsource(source).splitlines()
    parsed = ast.parse("\n".join(lines)).body
    (settings,) = [node for node in parsed if isinstance(node, ast.ClassDef)]
    section, last = "", settings.lineno
    for node in settings.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            last = node.end_lineno or last
            continue
        between = lines[last : node.lineno - 1]
        section = next((m[1] for line in between if (m := SECTION.fullmatch(line))), section)
        words = [m[1] for line in between if (m := COMMENT.fullmatch(line))]
        yield Field(section, node.target.id, " ".join(words).replace("``", "`"))
        last = node.end_lineno or last


def default_of(name: str) -> str:
    """Write a setting's default as its variable would have it."""
    default = Settings.model_fields[name].default
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, SecretStr) or default is None:
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def written() -> str:
    """Write the page."""
    sections: dict[str, list[tuple[str, str, str]]] = {}
    for setting in fields():
        default = default_of(setting.name)
        row = (
            f"`{PREFIX}{setting.name.upper()}`",
            f"`{default}`" if default else "",
            setting.words,
        )
        sections.setdefault(setting.section, []).append(row)
    parts: list[str] = []
    for section, rows in sections.items():
        parts += [f"## {section}", table(("variable", "default", "what it does"), rows)]
    return page("Settings", WORDS, *parts)
