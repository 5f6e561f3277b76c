"""What happens often costs the same however many rows there are: it reads by index alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, event, select, text, update

from reach.db import counters
from reach.db.transaction import Transaction
from reach.delivery import cleanup
from reach.delivery.cleanup import sweep
from reach.idempotency import stored
from reach.idempotency.stored import IdempotencyKey, StoredResponse
from reach.messages import budget, filters, outbox, queue
from reach.messages.filters import Filter
from reach.messages.model import messages
from reach.messages.outcome import Sent
from reach.messages.queue import AttemptOutcome, Held, record_outcomes
from reach.people import antispam, link_requests, queries, record, stats
from reach.people.address import parse_address
from reach.people.link_requests import Asked
from reach.people.schemas import SignUp, Submission
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.database.stored import addresses, opened, sign_up

PLANNED = (
    "SELECT people",
    "SELECT idempotency_keys",
    "SELECT messages",
    "SELECT attempts",
    "SELECT given",
    "SELECT link_requests",
    "SELECT counters",
    "SELECT (SELECT messages",
    "WITH",
    "UPDATE",
    "INSERT",
    "DELETE",
)
#: SQLite's words for what is no table of ours: the rows that a statement is given, or has found.
GIVEN = ("SCAN each ", "SCAN due", "SCAN chosen", "SCAN older", "SCAN late", "SCAN CONSTANT ROW")
#: By what operators find messages.
AT = datetime(2026, 3, 4, tzinfo=UTC)
FILTERS = [
    Filter(state="failed"),
    Filter(template="changed"),
    Filter(recipient="ada7@example.com"),
    Filter(recipient="ada7@example.com", state="failed", template="welcome", since=AT),
    Filter(since=AT),
    Filter(until=AT),
    Filter(since=AT, until=AT),
    Filter(state="failed", since=AT, until=AT),
    Filter(template="changed", since=AT, until=AT),
]
#: Indexes of which one value may stand for a million rows: good for a page of a list, no more.
#: (Postgres knows that by itself; SQLite was told by migration 0008.)
LISTS, LISTED = ("ix_messages_state", "ix_messages_template"), "ORDER BY messages.id"
#: The newest people, or the oldest requests, first, by their ids, until there are enough.
BY_ID = (
    "SCAN people USING COVERING INDEX sqlite_autoindex_people_1",
    "SCAN link_requests USING INDEX sqlite_autoindex_link_requests_1",
    "SCAN link_requests USING COVERING INDEX sqlite_autoindex_link_requests_1",
)


async def test_no_frequent_statement_reads_a_whole_table(settings: Settings) -> None:
    """Leasing, recording, signing up, a page of a list: each statement's plan uses an index."""
    async with opened(settings) as database:
        await sign_up(database, settings, *addresses(100))
        leased = await database.write(queue.lease_due, limit=4, lease_seconds=60)
        held = [Held(message.id, message.lease) for message in leased]
        at = datetime.now(UTC)
        claimed = IdempotencyKey((("me", "/", "key"), ("me too", "/", "key")), ("x",))
        attempt_outcomes = [AttemptOutcome(held[0], "w", at, at, Sent("250 ok"), 1)]

        def everything(tx: Transaction) -> None:
            if not settings.database.is_sqlite:
                tables = "people, messages, idempotency_keys, proofs, link_requests, counters"
                tx.execute(text(f"ANALYZE {tables}"))  # as autovacuum does
                # It reads a small table whole for choice; now it does only where it must.
                tx.execute(text("SET LOCAL enable_seqscan = off"))
            queue.lease_due(tx, limit=4, lease_seconds=60)
            queue.renew(tx, held, lease_seconds=60)
            record_outcomes(tx, attempt_outcomes, settings)
            queue.release(tx, held[1:2])
            sweep(tx, days=90)
            stored.claim(tx, [claimed])
            kept = StoredResponse(202, person_id=leased[0].person_id)
            stored.keep(tx, {claimed.names[0]: kept})
            stored.claim(tx, [claimed])
            stored.sweep(tx)
            outbox.hold_person(tx, held[2].id)
            sign_up_all(tx, [Submission(request_of("ada7@example.com"))], settings)
            ask_for_links(tx, settings)
            budget.within(tx, [message.person_id for message in leased], settings)
            antispam.admit(tx, [], None)
            queries.find(tx, leased[0].person_id)
            queries.page(tx, limit=50)
            queries.page(tx, limit=50, prefix="ada77")
            for chosen_by in FILTERS:
                filters.page(tx, chosen_by, limit=50)
                filters.page(tx, chosen_by, limit=50, before=held[0].id)
            filters.page(tx, Filter(person_id=leased[0].person_id), limit=50)
            for state in ("failed", "cancelled", "queued"):
                for chosen_by in FILTERS:
                    filters.retryable(tx, replace(chosen_by, state=state))
                filters.retry_all(tx, [held[2].id], state)
            outbox.history(tx, held[0].id)
            outbox.retry(tx, held[2].id)
            outbox.cancel(tx, held[2].id)
            record.erase(tx, leased[3].person_id)
            stats.read(tx, settings)
            cleanup.is_any_far(tx, settings)
            cleanup.recall(tx, settings)
            counters.fold(tx)
            counters.sweep(tx)

        with explained() as plans:
            await database.write(everything)
    assert len(plans) >= 38
    wrong = {sql: [s for s in plan if not is_cheap(sql, s)] for sql, plan in plans.items()}
    assert {sql: steps for sql, steps in wrong.items() if steps} == {}


def ask_for_links(tx: Transaction, settings: Settings) -> None:
    """Ask for one, and do all that is ever done about it."""
    link_requests.add(tx, [Asked("ada8@example.com", None)])
    link_requests.is_any(tx)
    link_requests.export(tx, "ada8@example.com")
    link_requests.forget(tx, "ada9@example.com")
    assert link_requests.answer_some(tx, settings) == 1


def request_of(address: str) -> SignUp:
    """Sign somebody up again, under another name."""
    email = parse_address(address, smtputf8=True)
    return SignUp.model_construct(email=email, name="Ada B", description=None)


async def test_a_few_that_failed_are_found_among_many(settings: Settings) -> None:
    """By their state, and not by going through all that have their template."""
    async with opened(settings) as database:
        await sign_up(database, settings, *addresses(2000))

        def fail(tx: Transaction) -> None:
            few = select(messages.c.id).limit(3).scalar_subquery()
            tx.execute(update(messages).values(state="sent").where(messages.c.id.not_in(few)))
            tx.execute(update(messages).values(state="failed").where(messages.c.state == "queued"))
            if not settings.database.is_sqlite:
                tx.execute(text("ANALYZE messages"))

        def look(tx: Transaction) -> None:
            failed = Filter(state="failed", template="welcome")
            assert len(filters.page(tx, failed, limit=50)) == 3
            assert len(filters.retryable(tx, failed)) == 3

        await database.write(fail)
        with explained() as plans:
            await database.read(look)
    assert len(plans) == 2
    for plan in plans.values():
        assert "ix_messages_state" in str(plan), plan


def is_cheap(statement: str, step: str) -> bool:
    """Whether a step of a statement's plan costs the same whatever a table's size."""
    if step.startswith((*GIVEN, *BY_ID)):
        return True
    if step.startswith("SEARCH ") and any(index in step for index in LISTS):
        return LISTED in statement
    return not step.startswith("SCAN ") and "Seq Scan" not in step


@contextmanager
def explained() -> Iterator[dict[str, list[str]]]:
    """Note the plan of every statement that is executed meanwhile, by its text."""
    plans: dict[str, list[str]] = {}

    def explain(
        _: Any, cursor: Any, statement: str, parameters: Any, context: Any, *__: Any
    ) -> None:
        if not statement.startswith(PLANNED):
            return
        is_sqlite = context.dialect.name == "sqlite"
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{statement}", parameters)
        plans[statement] = [row[3] if is_sqlite else row[0] for row in cursor.fetchall()]

    listener: Callable[..., None] = explain
    event.listen(Engine, "before_cursor_execute", listener)
    try:
        yield plans
    finally:
        event.remove(Engine, "before_cursor_execute", listener)


async def test_one_who_is_known_is_found_by_index(settings: Settings) -> None:
    """Among few people too: reading all of them takes a time that a stranger can measure."""
    async with opened(settings) as database:
        await sign_up(database, settings, *addresses(2000))

        def greet(tx: Transaction) -> None:
            tx.execute(text("ANALYZE"))
            sign_up_all(tx, [Submission(request_of("ada7@example.com"))], settings)

        with explained() as plans:
            await database.write(greet)
    assert len(plans) == 6
    for statement, plan in plans.items():
        assert [step for step in plan if not is_cheap(statement, step.strip(" ->"))] == [], (
            "\n".join(plan)
        )
