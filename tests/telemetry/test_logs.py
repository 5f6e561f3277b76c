"""What a line of the log looks like."""

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import ecs_logging
import pytest
from opentelemetry.trace import SpanContext

from reach.settings import Settings
from reach.telemetry import traces
from reach.telemetry.events import EVENTS
from reach.telemetry.log_fields import ALWAYS, FIELDS, Type
from reach.telemetry.log_lines import ECS_VERSION, MOST_BYTES, JsonLines, Told, terminal_line
from reach.telemetry.logging import LibraryHandler, frames
from tests.support.clock import wait_until
from tests.support.processes.ports import free_port
from tests.support.telemetry.logs import ReachTo

Line = dict[str, Any]
PLACE = SpanContext(int("a" * 32, 16), int("b" * 16, 16), is_remote=False)
TYPES: dict[Type, type | tuple[type, ...]] = {
    "keyword": (str, list),
    "long": int,
    "date": str,
    "wildcard": str,
    "match_only_text": str,
}


@pytest.fixture
def last(told: Callable[[], str]) -> Callable[[], Line]:
    """Give the line that was logged last."""

    def read() -> Line:
        found: Line = json.loads(told().splitlines()[-1])
        return found

    return read


def sample(keyword: str) -> object:
    """Make up a value of the type that a keyword has."""
    return 503 if FIELDS[keyword].type == "long" else f"{keyword} 100% \"'\\\n\u2028{{}}"


def flattened(line: Line, before: str = "") -> Line:
    """Write objects in objects as dotted names."""
    found: Line = {}
    for name, value in line.items():
        if isinstance(value, dict):
            found |= flattened(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def rendered(event: str, /, **fields: object) -> tuple[bytes, Line]:
    """Render a line of an event."""
    logger, level = EVENTS[event].logger, EVENTS[event].level
    text = JsonLines()(Told(logger, level, event, fields, 0, traces.current.get()))
    return text, json.loads(text)


@pytest.mark.parametrize("message", EVENTS)
def test_a_line_has_the_shape_of_ecs_logging(message: str) -> None:
    """What its formatter would make of the same fields, object by object."""
    event = EVENTS[message]
    fields = {keyword: sample(keyword) for keyword in event.fields}
    text, line = rendered(message, **fields)
    assert text.count(b"\n") == 1
    assert all(flattened(line)[FIELDS[word].name] == value for word, value in fields.items())
    its = flattened(line)
    its["event"] = its.pop("message")
    del its["ecs.version"]  # it is the formatter's own, and older than some of our fields
    assert line.pop("ecs.version") == ECS_VERSION
    its_own = line | {"ecs.version": ecs_logging.ECS_VERSION}
    assert its_own == json.loads(ecs_logging.StructlogFormatter()(None, event.level, its))


@pytest.mark.parametrize("message", EVENTS)
def test_every_line_says_what_it_is(message: str) -> None:
    """All that is promised is there, under names that are listed, and of the types listed."""
    token = traces.current.set(PLACE)
    try:
        _, line = rendered(message, **{word: sample(word) for word in EVENTS[message].fields})
    finally:
        traces.current.reset(token)
    found, types = flattened(line), {f.name: f.type for f in (*FIELDS.values(), *ALWAYS)}
    may_lack = {"event.category", "event.outcome"}
    assert {field.name for field in ALWAYS} - set(found) <= may_lack
    for name, value in found.items():
        assert isinstance(value, TYPES[types[name]]), name
    assert found["message"] == message
    assert found["event.dataset"].startswith("reach.")
    assert found["process.pid"] == os.getpid()
    assert (found["trace.id"], found["span.id"]) == ("a" * 32, "b" * 16)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["@timestamp"])


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "success"), (404, "success"), (499, "success"), (500, "failure"), (503, "failure")],
)
def test_a_request_fails_if_the_fault_is_ours(status: int, outcome: str) -> None:
    """A caller's mistake is no failure of Reach."""
    _, line = rendered("request", method="GET", status=status, nanoseconds=12, reason=None)
    event = line["event"]
    assert (event["outcome"], event["duration"]) == (outcome, 12)
    assert (event["category"], event["type"]) == (["web"], ["access"])
    assert "reason" not in event
    assert "trace" not in line


def test_a_keyword_that_nobody_listed_is_kept_apart() -> None:
    """It crashes nothing and overwrites nothing, not even with a name that is half of another."""
    _, line = rendered("api started", port=1, message="x", smtp=2, smtp_code=3, odd={"a": "b"})
    assert (line["message"], line["server"]) == ("api started", {"port": 1})
    assert (line["reach.message"], line["reach.smtp"]) == ("x", 2)
    assert (line["reach.odd"], line["reach"]) == ("{'a': 'b'}", {"smtp": {"code": 3}})


def test_values_of_every_kind() -> None:
    """Whole and broken numbers, truth, nothing, lists: what JSON has, and texts else."""
    _, line = rendered("api started", a=1.5, b=True, c=None, d=["x", "y"], e=2**70, f="\ud800")
    assert (line["reach.a"], line["reach.b"], line["reach.d"]) == (1.5, True, "x\ny")
    assert (line["reach.e"], line["reach.f"], "reach.c" in line) == (2**70, "\ud800", False)


def test_no_line_has_anything_of_the_one_before() -> None:
    """Their objects are filled in again and again: what is told once is not told twice."""
    render = JsonLines()
    request = Told("reach.app", "info", "request", {"status": 500, "reason": "x"}, 0, PLACE)
    first, other = render(request), {"status": 200, "method": "GET"}
    render(request._replace(fields=other, context=None))
    assert render(request) == first
    bare = json.loads(render(request._replace(fields=other, context=None)))
    assert (bare["event"]["outcome"], bare["http"]["request"]) == ("success", {"method": "GET"})
    assert not bare.keys() & {"trace", "span"}
    assert "reason" not in bare["event"]


def test_libraries_are_told_in_the_same_shape(last: Callable[[], Line]) -> None:
    """Their levels are ours, and their messages end where an exception's may begin."""
    for name, said, heard in [
        ("some.library", "It failed: \nKeyError: 'ada'", "It failed:"),
        ("asyncio", "Task was destroyed (it was pending)", "Task was destroyed"),
        ("some.library", "Mail to ada@example.com was late", "Mail to … was late"),
        ("some.library", "GET /manage?token=abc 200", "GET /manage?… 200"),
        ("some.library", "with rk_abcdefgh12345 and rlt_yFJ7wxWO.x-y", "with … and …"),
    ]:
        logging.getLogger(name).warning(said)
        line = last()
        assert line["message"] == heard
        assert (line["log"]["logger"], line["log.level"]) == (name, "warning")
        assert line["event"] == {"kind": "event", "dataset": "reach.library"}
    logging.getLogger("some.library").log(logging.INFO + 5, "between two levels")
    assert last()["log.level"] == "info"
    logging.getLogger("some.library").debug("canary")
    assert last()["message"] == "between two levels"


def test_a_librarys_mistake_is_a_line_too(told: Callable[[], str]) -> None:
    """Its arguments do not fit its message: the message is told."""
    (handler,) = [one for one in logging.getLogger().handlers if isinstance(one, LibraryHandler)]
    for arguments in ("no number",), (1, 2), ("",):
        values = {"name": "some.library", "msg": "%d", "args": arguments, "levelno": 30}
        handler.handle(logging.makeLogRecord(values))
    assert [json.loads(line)["message"] for line in told().splitlines()] == ["%d"] * 3


def test_no_exceptions_message_is_told(last: Callable[[], Line]) -> None:
    """Only its kind, that of its cause, and where it happened."""
    with pytest.raises(ValueError, match="canary") as raised:
        fail()
    found = frames(raised.value)
    assert frames(ExceptionGroup("canary", [raised.value])) == found
    logging.getLogger("some.library").error("It failed", exc_info=raised.value)
    assert last()["error"]["type"] == "builtins.ValueError"
    assert last()["error"]["stack_trace"] == "\n".join(found["frames"])
    assert found["cause_type"] == "builtins.KeyError"
    assert re.fullmatch(r".*test_logs\.py:\d+ fail", found["frames"][-1])


def fail() -> None:
    """Raise what has a cause, both with messages that hold too much."""
    raise ValueError("canary") from KeyError("canary")


@pytest.mark.parametrize("folder", ["/short", "/" + "ü" * 150, "/" + "deep/" * 1500])
def test_a_line_is_short_enough_to_be_written_whole(folder: str) -> None:
    """However deep it happened, and in however long a path: the innermost frames are told."""
    with pytest.raises(RecursionError) as raised:
        exec(compile("def deep(): deep()\ndeep()", f"{folder}/fault.py", "exec"), {})  # noqa: S102
    text, line = rendered("request crashed", request_id="x" * 128, **frames(raised.value))
    assert len(text) <= MOST_BYTES
    *outer, innermost = line["error"]["stack_trace"].splitlines()
    assert innermost.endswith("/fault.py:1 deep")
    assert len(outer) == 11 or folder != "/short"
    assert line["http"]["request"]["id"] == "x" * 128


def test_a_text_that_is_too_long_is_cut() -> None:
    """Of whatever characters: an emoji takes twelve."""
    text, line = rendered("key file was open to others", path="/😀" * 3000, remedy="chmod 600")
    assert 1000 < len(text) <= MOST_BYTES
    assert line["file"]["path"].startswith("/😀/")
    assert line["file"]["path"].endswith("…")
    assert line["reach"]["remedy"] == "chmod 600"


def test_warnings_are_told_without_their_words(last: Callable[[], Line]) -> None:
    """Python would write them to stderr, however slowly that is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.showwarning("canary", UserWarning, __file__, 1)
    assert re.fullmatch(r".*test_logs\.py:1: UserWarning", last()["message"])


@pytest.mark.usefixtures("statements")
async def test_statements_are_told_without_what_is_in_them(
    make_settings: Callable[..., Settings], database_url: str, told: Callable[[], str]
) -> None:
    """At the debug level, on both databases; the rows that come back are not told at all."""
    from tests.support.people import person_at
    from tests.support.processes.reach import running_reach

    async with running_reach(make_settings(database_url=database_url)) as reach:
        assert (await reach.sign_up("canary@example.com", "Canary")).status_code == 202
        assert (await person_at(reach, "canary")).name == "Canary"
    assert "INSERT INTO people" in told()
    assert "SELECT people.id" in told()
    assert re.search(r"SELECT people\.id[^\n]* FROM people +WHERE ", told()), "it is told whole"
    assert "hide_parameters" in told()
    assert "canary" not in told().lower()


def test_a_terminal_gets_short_lines() -> None:
    """Time, level, message, and what matters; nothing that the terminal would obey."""
    fields = {"method": "POST", "route": "/v1/signups", "status": 503, "nanoseconds": 4_123_456}
    fields["reason"] = "It is down."
    line = terminal_line(Told("reach.app", "info", "request", fields, 0), has_colours=True)
    plain = re.sub(rb"\x1b\[\d+m", b"", line)
    assert plain != line
    assert re.fullmatch(
        rb"\d\d:\d\d:\d\d info     request POST /v1/signups 503 4\.1 ms It is down\.\n",
        plain,
    )
    where = {"frames": ["a", "b\rc"]}
    line = terminal_line(
        Told("some.library", "error", "red \x1b[31m\n", where, 0), has_colours=True
    )
    assert line.count(b"\n") == 1
    assert b"red ?[31m?" in line
    assert b"error.stack_trace=b?c (some.library)" in line


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="terminals differ")
@pytest.mark.parametrize("no_color", ["", "1"])
def test_reach_at_a_terminal(
    make_settings: Callable[..., Settings], sqlite: str, no_color: str
) -> None:
    """A process whose log is a terminal writes for people; https://no-color.org holds."""
    settings = make_settings(database_url=sqlite, port=free_port())
    master, slave = os.openpty()
    process = ReachTo("api", log=slave, settings=settings)
    process.environment["NO_COLOR"] = no_color
    with process:
        os.close(slave)
        read = b""

        def is_told() -> bool:
            nonlocal read
            read += os.read(master, 1000)
            return b"api started" in read

        wait_until(is_told)
        assert process.exit_code is None
    os.close(master)
    assert b"{" not in read
    assert (b"\x1b[" in read) is not bool(no_color)
    assert re.search(rb"\d\d:\d\d:\d\d.*info.*api started.*port=\d+", read)
