"""A full run of Reach, as Elasticsearch and Kibana would see it."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr

from reach.auth import keys
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, ended, running_api, said, worker
from tests.support.servers.mail import MailServer, Reply
from tests.support.servers.mail_session import Session
from tests.support.telemetry.elastic import (
    among,
    complaints,
    flat,
    linked,
    named,
    objects,
    of_kind,
    queries,
    search_query,
)

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
            done.lines += process.log
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
    await eventually(lambda: sum(map(_count, api.log)) == refused, WAIT_SECONDS)


def _count(line: Line) -> int:
    return int(line.get("reach", {}).get("count", 0))


async def sign_up(
    http: httpx.AsyncClient, email: str, headers: Mapping[str, str] | None = None, **more: str
) -> httpx.Response:
    """Sign up as strangers do."""
    return await http.post(
        "/v1/signups", json={"email": email, "name": "Somebody", **more}, headers=headers
    )


@pytest.fixture(scope="module")
def done(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> FullRun:
    """Do everything once, for all of these tests."""
    folder = tmp_path_factory.mktemp("full-run")

    async def run() -> FullRun:
        async with MailServer() as mail_server:
            return await full_run(settings_of(folder, migrated_file, mail_server), mail_server)

    return anyio.run(run)


def value(line: Line, name: str) -> Any:
    """A field of a line, by its name with dots."""
    return dict(flat(line)).get(name)


def actions(lines: list[Line]) -> list[str]:
    """Which events these lines are, each once."""
    return sorted({value(line, "event.action") for line in lines})


def failed(done: FullRun) -> list[int]:
    """The statuses that were our fault, as the callers got them."""
    return sorted(status for status in done.statuses if status >= 500)


def test_it_was_a_full_run(done: FullRun) -> None:
    """Everything happened that the lines are to tell of."""
    assert {200, 202, 401, 404, 415, 429, 500, 503} <= set(done.statuses)


def test_every_line_is_as_the_template_maps_it(done: FullRun) -> None:
    """No line has a field that is not mapped, or a value that does not fit its type."""
    assert [fault for line in done.lines for fault in complaints(line)] == []
    assert {value(line, "log.logger").partition(".")[0] for line in done.lines} >= {
        "reach",
        "uvicorn",
    }


def test_every_field_that_kibana_names_comes(done: FullRun) -> None:
    """No search, panel or link waits for a field that is declared and never written."""
    written = {name for line in done.lines for name, _ in flat(line)}
    assert set(named(list(objects().values()))) - written == set()


def test_failed_deliveries_are_found(done: FullRun) -> None:
    """The refused one, with the mail server's code, and the broken one, with the line of its file.

    None that was only late.
    """
    found = among(done.lines, search_query("reach-failed-deliveries"))
    assert len({value(line, "reach.message.id") for line in found}) == 2
    assert {value(line, "reach.smtp.code") for line in found} == {550, None}
    assert {"message-failed", "message-cannot-be-composed"} <= set(actions(found))
    names = ("reach.template.file", "reach.template.line", "error.type")
    told = {tuple(value(line, name) for name in names) for line in found}
    assert ("broken.subject", 2, "UndefinedError") in told


def test_server_errors_are_found(done: FullRun) -> None:
    """What was unavailable with its reason, what crashed with its type; no other request."""
    found = among(done.lines, search_query("reach-server-errors"))
    statuses = [value(line, "http.response.status_code") for line in found]
    assert sorted(status for status in statuses if status) == failed(done)
    assert actions(found) == ["request", "request-crashed"]
    assert any(value(line, "event.reason") for line in found)
    assert any(value(line, "error.type") for line in found)


def test_spam_and_refusals_are_found(done: FullRun) -> None:
    """The spam with its rule, and every refusal counted."""
    found = among(done.lines, search_query("reach-refusals"))
    assert actions(found) == ["refused-by-a-rate-limit", "taken-for-spam"]
    assert {value(line, "rule.name") for line in found} == {None, "honeypot"}
    counts = [value(line, "reach.count") or 0 for line in found]
    assert sum(counts) == done.statuses.count(429)


def test_trouble_is_found(done: FullRun) -> None:
    """The open circuit breaker and the crash are what somebody should read; requests are not."""
    found = among(done.lines, search_query("reach-trouble"))
    assert {"circuit-breaker-open", "request-crashed", "message-failed"} <= set(actions(found))
    assert not {"request", "sent", "not-sent"} & set(actions(found))


def test_every_line_could_be_read(done: FullRun) -> None:
    """None is among those that Filebeat would have to send as it is."""
    assert among(done.lines, search_query("reach-unreadable")) == []


def test_a_trace_id_tells_the_whole_story(done: FullRun) -> None:
    """The link behind a trace id finds the request and its delivery by another process."""
    (view,) = of_kind("index-pattern")
    url = view["attributes"]["fieldFormatMap"]["trace.id"]["params"]["urlTemplate"]
    found = among(done.lines, linked(url, TRACE_ID))
    story = sorted(found, key=lambda line: str(line["@timestamp"]))
    assert [value(line, "event.action") for line in story] == ["request", "sent"]
    assert len({value(line, "process.pid") for line in story}) == 2
    assert value(story[1], "reach.message.id")


def test_the_dashboard_counts_what_happened(done: FullRun) -> None:
    """Its numbers are those of this run: requests, faults, messages sent and given up."""
    (dashboard,) = of_kind("dashboard")
    counted = {}
    for panel in dashboard["attributes"]["panelsJSON"]:
        if panel["panelIndex"].startswith("number-"):
            (query,) = (query for query in queries(panel) if query.asks)
            counted[panel["title"]] = len(among(done.lines, query))
    # One answer is not logged for itself: a refusal by a limit is counted with others.
    assert counted["Answered requests"] == len(done.statuses) - done.statuses.count(429)
    assert counted["Answered with 5xx"] == len(failed(done))
    assert counted["Messages sent"] >= 3
    assert counted["Messages given up"] == 2
