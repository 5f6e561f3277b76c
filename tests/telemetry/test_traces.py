"""What a trace shows: requests, transactions, statements, shared commits."""

import asyncio
from collections.abc import Callable, Sequence

import httpx
import pytest

from reach.runtime.process import opened
from reach.settings import BadSettings, Settings
from reach.telemetry import traces
from tests.support.clock import eventually
from tests.support.http.pieces import noting_pieces
from tests.support.processes.reach import Reach, running_reach
from tests.support.servers.collector import Collector, Span

SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOT_SAMPLED = f"{SAMPLED[:-2]}00"


async def one(collector: Collector, name: str) -> Span:
    """Wait for the only span of a name."""
    await eventually(lambda: collector.named(name))
    (found,) = collector.named(name)
    return found


async def test_a_request_s_transaction_and_statements_are_beneath_it(
    traced: Collector, settings: Settings
) -> None:
    """With what the database is asked, and never what for."""
    async with running_reach(settings) as reach:
        answer = await reach.http.get("/v1/people?q=ada", headers=await reach.key())
    assert answer.status_code == 200
    request = await one(traced, "GET /v1/people")
    system = "sqlite" if settings.database.is_sqlite else "postgresql"

    def listing() -> list[Span]:
        reads = [span for span in traced.beneath(request) if span.name == "read transaction"]
        statements = [one for read in reads for one in traced.beneath(read)]
        return [one for one in statements if " people" in one.attributes["db.query.text"]]

    await eventually(listing)
    for statement in listing():
        assert statement.name == statement.attributes["db.operation.name"] == "SELECT"
        assert statement.attributes["db.system.name"] == system
        assert statement.kind == "CLIENT"
        assert "ada" not in statement.attributes["db.query.text"]


async def test_what_is_traced_is_answered_in_one_piece(
    traced: Collector, settings: Settings
) -> None:
    """As it is without traces: see ``tests/runtime/test_pieces.py``."""
    with noting_pieces() as pieces:
        async with running_reach(settings) as reach:
            answers = [await reach.http.get("/"), await reach.sign_up()]
    await one(traced, "GET /")
    assert [answer.status_code for answer in answers] == [200, 202]
    for piece, answer in zip(pieces, answers, strict=True):
        assert piece.endswith(b"\r\n\r\n" + answer.content)


async def test_a_shared_commit_is_a_trace_of_its_own_that_leads_to_all_it_is_for(
    traced: Collector, settings: Settings
) -> None:
    """And each of them leads to it; who came first is no more its cause than the others."""
    async with running_reach(settings) as reach:
        await asyncio.gather(*(reach.sign_up(f"ada{n}@example.com") for n in range(20)))
    await eventually(lambda: len(traced.named("join a commit")) == 20)
    await eventually(lambda: linked(traced.named("group commit")) == 20)
    commits, joins = traced.named("group commit"), traced.named("join a commit")
    assert {link for commit in commits for link in commit.links} == {join.place for join in joins}
    for commit in commits:
        assert commit.parent_id == ""
        assert commit.attributes["reach.group.size"] == len(commit.links)
        (transaction,) = traced.beneath(commit)
        assert transaction.events == ["COMMIT"]
        assert "INSERT" in {span.name for span in traced.beneath(transaction)}
        mine = [join for join in joins if join.links == [commit.place]]
        assert {join.place for join in mine} == set(commit.links)
    requests = {span.place for span in traced.named("POST /v1/signups")}
    assert {(join.trace_id, join.parent_id) for join in joins} == requests
    assert len(commits) < 20, "none was shared"


async def test_a_shared_commit_runs_as_nobody_s_request(settings: Settings) -> None:
    """While one's own transaction runs, in whatever thread, as the request that asked for it."""
    async with opened(settings) as database:
        shared = database.group(lambda _, items: [traces.current.get() for _ in items])
        caller = traces.of_request([])
        token = traces.current.set(caller)
        try:
            assert await shared("item") is None
            for own in (database.write, database.read):
                assert await own(lambda _: traces.current.get()) == caller
        finally:
            traces.current.reset(token)


def linked(commits: Sequence[Span]) -> int:
    """How many members these commits have."""
    return sum(len(commit.links) for commit in commits)


async def test_what_a_process_does_by_itself_is_no_trace(
    traced: Collector, settings: Settings
) -> None:
    """Probes come every few seconds for ever, and so do questions to the database."""
    async with running_reach(settings) as reach:
        for path in ("/livez", "/readyz", "/docs"):
            assert (await reach.http.get(path)).status_code == 200
        await reach.key()
    await one(traced, "GET /docs")
    traces.stop()
    assert {span.name for span in traced.spans} == {"GET /docs"}


async def test_a_stranger_s_broken_trace_context_is_no_reason_to_refuse(
    traced: Collector, sqlite_reach_settings: Settings
) -> None:
    """The request begins a trace then."""
    async with running_reach(sqlite_reach_settings) as reach:
        for header in ("", "00-zz", "é", f"{SAMPLED}-more", "00-" + "0" * 32 + "-1-01"):
            answer = await reach.http.get("/", headers=[(b"traceparent", header.encode())])
            assert answer.status_code == 200
    await eventually(lambda: len(traced.named("GET /")) == 5)
    assert {span.parent_id for span in traced.named("GET /")} == {""}


@pytest.fixture
def sqlite_reach_settings(sqlite: str, make_settings: Callable[..., Settings]) -> Settings:
    """Settings where the database makes no difference."""
    return make_settings(database_url=sqlite)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ("parentbased_always_on", 2),
        ("parentbased_always_off", 1),
        ("always_off", 0),
        ("always_on", 3),
    ],
)
async def test_the_standard_variables_say_what_is_sampled(
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    sqlite_reach_settings: Settings,
    sampler: str,
    expected: int,
) -> None:
    """Of three sign-ups, one in a trace that is sampled, one in one that is not, one in none.

    A commit follows its members.
    """
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    traces.configure()
    try:
        async with running_reach(sqlite_reach_settings) as reach:
            for header, number in ((SAMPLED, 1), (NOT_SAMPLED, 2), (None, 3)):
                await sign_up(reach, header, f"ada{number}@example.com")
    finally:
        traces.stop()
    assert len(collector.named("POST /v1/signups")) == expected
    assert len(collector.named("group commit")) == expected


async def sign_up(reach: Reach, header: str | None, email: str) -> None:
    """Sign somebody up, from within a trace or from none."""
    headers = {} if header is None else {"traceparent": header}
    answer = await reach.http.post(
        "/v1/signups", json={"email": email, "name": "Ada"}, headers=headers
    )
    assert answer.status_code == httpx.codes.ACCEPTED


@pytest.mark.parametrize(
    ("variables", "is_on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://127.0.0.1/v1/traces"}, True),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
            False,
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
                "OTEL_TRACES_EXPORTER": "none",
            },
            False,
        ),
    ],
)
def test_traces_are_on_if_a_variable_says_where_to(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_on: bool
) -> None:
    """And only then."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert traces.require_installed() is is_on


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:badport"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[1"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://127.0.0.1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5000"),
        ("OTEL_TRACES_SAMPLER", "now-and-then"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Bearer very-secret"),
    ],
)
def test_what_cannot_be_done_is_refused_by_the_variable_s_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    """Rather than to trace to nowhere; the value is not repeated, there or in the log."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match="OTEL_") as refusal:
        traces.configure()
    assert value not in str(refusal.value).removeprefix(name) + caplog.text
    assert not traces.are_on()
