"""A full run of Reach: good requests and bad ones, spam, mail that arrives and that does not.

Processes as in production, on a SQLite file of their own; what they wrote on stdout is what
Filebeat would read.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from reach.auth import keys
from reach.settings import Settings
from tests.support.eventually import eventually
from tests.support.mail import MailServer, Reply
from tests.support.mail_session import Session
from tests.support.ports import free_port
from tests.support.processes import ReachProcess
from tests.support.promises.running import client, ended, running_api, said, worker
from tests.support.promises.stored import opened

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
QUOTA = 20
WAIT_SECONDS = 30

Line = Mapping[str, Any]


@dataclass
class FullRun:
    """What was done, and every line that was written of it."""

    statuses: list[int] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


def settings_of(folder: Path, migrated: Path, mail_server: MailServer) -> Settings:
    """Settings with a quota that can be used up, and times that can be waited for."""
    file = folder / "reach.sqlite3"
    file.write_bytes(migrated.read_bytes())
    templates = folder / "templates"
    templates.mkdir()
    for kind in ("subject", "txt", "html"):
        (templates / f"broken.{kind}").write_text("News\n{{ misspelt }}\n")
    return Settings(
        data_dir=folder,
        templates_dir=templates,
        database_url=SecretStr(f"sqlite:///{file}"),
        secret_key=SecretStr("a-key-that-is-long-enough-for-tests"),
        smtp_url=SecretStr(mail_server.url),
        port=free_port(),
        limit_signups=f"{QUOTA}/hour",
        database_seconds=2,
        retry_first_seconds=0.2,
        retry_cap_seconds=2,
        breaker_first_seconds=0.1,
        breaker_cap_seconds=0.5,
    )


async def full_run(settings: Settings, mail_server: MailServer) -> FullRun:
    """Do all of it, in order."""
    done = FullRun()
    async with opened(settings) as database:
        key = keys.generate()
        await database.write(keys.add, key, "test", keys.SCOPES)
    async with running_api(settings) as api, worker(settings) as sending:
        async with client(settings) as http:
            await _ask(http, done)
            await _deliver(http, done, mail_server, sending)
            await _send_broken(http, done, sending, key)
            await _fail(http, done, settings, key)
            await _use_up(http, done, api)
        for process in (api, sending):
            process.running.terminate()
            assert await ended(process, WAIT_SECONDS) == 0
            done.lines += lines_of(process)
    return done


async def _ask(http: httpx.AsyncClient, done: FullRun) -> None:
    """Ask for what is there, for what is not, wrongly, and as a spammer does."""
    answers = [
        await http.get("/"),
        await http.get("/nowhere"),
        await http.get("/v1/people"),
        await http.post("/v1/signups", content=b"{"),
        await sign_up(http, "spammer@example.com", motto="https://spam.example"),
    ]
    done.statuses += [answer.status_code for answer in answers]


async def _deliver(
    http: httpx.AsyncClient, done: FullRun, mail_server: MailServer, sending: ReachProcess
) -> None:
    """Three emails: one arrives, one at the second try, one never; then nothing is let in."""
    left = ["450 4.2.1 Busy"]

    def recipient(_: Session, argument: str) -> Reply:
        if "never@" in argument:
            return "550 5.1.1 Nobody"
        return left.pop() if "later@" in argument and left else None

    mail_server.script["rcpt"] = recipient
    headers = {"traceparent": TRACEPARENT}
    answers = [await sign_up(http, f"{name}@example.com") for name in ("later", "never")]
    answers.append(await sign_up(http, "ada@example.com", headers=headers))
    await eventually(lambda: len(mail_server.messages) == 2, WAIT_SECONDS)
    mail_server.script["mail"] = "421 4.3.2 Not now"
    answers.append(await sign_up(http, "unavailable@example.com"))
    await said(sending, "circuit breaker open")
    del mail_server.script["mail"]
    await said(sending, "circuit breaker half-open")
    await eventually(lambda: len(mail_server.messages) == 3, WAIT_SECONDS)
    await said(sending, "rejected")
    done.statuses += [answer.status_code for answer in answers]


async def _send_broken(
    http: httpx.AsyncClient, done: FullRun, sending: ReachProcess, key: str
) -> None:
    """Send an email whose template is broken."""
    operator = {"Authorization": f"Bearer {key}"}
    found = await http.get("/v1/people?q=ada@", headers=operator)
    (person,) = found.json()["items"]
    body = {"person_id": person["id"], "template": "broken"}
    sent = await http.post("/v1/messages", json=body, headers=operator)
    await said(sending, "message cannot be composed")
    done.statuses += [found.status_code, sent.status_code]


async def _fail(http: httpx.AsyncClient, done: FullRun, settings: Settings, key: str) -> None:
    """Sign up while the database is locked; ask for people whom a fault has made unreadable."""
    with closing(sqlite3.connect(settings.data_dir / "reach.sqlite3")) as connection, connection:
        connection.execute("UPDATE people SET created_at = 'never'")
        locked_out = await sign_up(http, "late@example.com")
    crashed = await http.get("/v1/people", headers={"Authorization": f"Bearer {key}"})
    done.statuses += [locked_out.status_code, crashed.status_code]


async def _use_up(http: httpx.AsyncClient, done: FullRun, api: ReachProcess) -> None:
    """Sign up until it is too much; wait until each refusal is told, a second later."""
    for number in range(QUOTA + 1):
        done.statuses.append((await sign_up(http, f"crowd{number}@example.com")).status_code)
    refused = done.statuses.count(429)
    await eventually(lambda: sum(map(_count, lines_of(api))) == refused, WAIT_SECONDS)


def lines_of(process: ReachProcess) -> list[Line]:
    """What a process has logged so far; all of it is JSON."""
    complete, _, _ = process.output.rpartition("\n")
    return [json.loads(line) for line in complete.splitlines()]


def _count(line: Line) -> int:
    return int(line.get("reach", {}).get("count", 0))


async def sign_up(
    http: httpx.AsyncClient, email: str, headers: Mapping[str, str] | None = None, **more: str
) -> httpx.Response:
    """Sign up as strangers do."""
    return await http.post(
        "/v1/signups", json={"email": email, "name": "Somebody", **more}, headers=headers
    )
