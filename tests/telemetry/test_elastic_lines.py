"""A full run of Reach, as Elasticsearch and Kibana would see it."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.mail import MailServer
from tests.support.telemetry.exported import (
    Line,
    among,
    linked,
    named,
    objects,
    of_kind,
    queries,
    search_query,
)
from tests.support.telemetry.full_run import TRACE_ID, FullRun, full_run, settings_of
from tests.support.telemetry.mapped import complaints, flat


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
