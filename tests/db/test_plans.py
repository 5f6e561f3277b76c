"""What happens often costs the same however many rows there are: it reads by index alone."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, event, select, text, update

from reach.auth import audit
from reach.auth.audit import ACTIONS, Actor
from reach.db import counters
from reach.db.transaction import Transaction
from reach.delivery import cleanup
from reach.delivery.cleanup import sweep
from reach.events import noting
from reach.idempotency import stored
from reach.idempotency.stored import IdempotencyKey, StoredResponse
from reach.messages import budget, filters, outbox, queue, recipient_budget
from reach.messages.filters import Filter
from reach.messages.model import Message, messages
from reach.messages.outcome import Sent
from reach.messages.queue import AttemptOutcome, Held
from reach.messages.recording import record_outcomes
from reach.people import (
    address_changes,
    antispam,
    link_requests,
    move,
    notices,
    queries,
    record,
    stats,
)
from reach.people import filters as people_filters
from reach.people.address import parse_address
from reach.people.link_requests import Asked
from reach.people.schemas import SignUp, Submission
from reach.people.signup import sign_up_all
from reach.runtime.process import opened
from reach.settings import Settings
from reach.webhooks import endpoints, health, history, secrets
from reach.webhooks import queue as webhook_queue
from reach.webhooks.queue import Tried
from reach.webhooks.secrets import Seals
from tests.support.database.plans import explained, is_cheap
from tests.support.database.stored import addresses, sign_up

#: 30,000 people and a message of each, of which two in three are queued; and so on.
GROWN = """
    INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at, version,
            confirmed_at)
        SELECT (lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000')::uuid, n || '@a.org',
            n || '@a.org', 'Ada', 0, now(), now(), 1,
            CASE WHEN n % 2 = 0 THEN now() END FROM generate_series(1, 30000) AS n;
    INSERT INTO messages (id, person_id, template, data, recipient, state, due_at, lease,
            recorded_lease, attempts, failures, message_id, created_at, finished_at)
        SELECT id, id, (ARRAY['welcome', 'changed'])[1 + n % 2], '{}',
            email, (ARRAY['sent', 'queued', 'queued'])[1 + n % 3], now(), 1, 1, 1,
            0, id, now(), now() FROM (SELECT id, email, row_number() OVER () AS n FROM people) AS p;
    INSERT INTO attempts (id, message_id, worker, started_at, finished_at, outcome, text)
        SELECT id, id, 'w', now(), now(), 'sent', '' FROM messages;
    INSERT INTO idempotency_keys (caller, route, key, fingerprint, created_at)
        SELECT 'c', 'r', n, n, now() - n * interval '5 seconds'
        FROM generate_series(1, 20000) AS n;
    INSERT INTO link_requests (id, email_key, created_at)
        SELECT id, email_key, now() FROM people LIMIT 5000;
    INSERT INTO address_changes (person_id, email, email_key, number, created_at, ends_at)
        SELECT id, email, email_key, 1, now(), now() + interval '7 days' FROM people LIMIT 5000;
    INSERT INTO recipient_budgets (recipient, sent, last_at)
        SELECT n, '[]', now() FROM generate_series(1, 5000) AS n;
    INSERT INTO proofs (nonce, used_at) SELECT n, now() FROM generate_series(1, 20000) AS n;
    INSERT INTO counters (name, hour, count)
        SELECT 'sent', now() - n * interval '1 hour', 1 FROM generate_series(1, 5000) AS n;
    INSERT INTO audit (id, at, actor_kind, actor, via, action, subject, count, details)
        SELECT id, now(), 'key', id, 'api', (ARRAY['person.add', 'key.create'])[1 + n % 2], id, 1,
            '{}' FROM (SELECT id, row_number() OVER () AS n FROM people) AS p;
    INSERT INTO webhooks (id, url, name, types, secret, created_at, failures)
        VALUES ('0000ffff-0000-7000-8000-000000000000', 'u', 'n', '*', 's', now(), 0);
    INSERT INTO webhook_events (webhook_id, id, type, person_id, details, state, due_at, lease,
            recorded_lease, attempts, failures, created_at, finished_at)
        SELECT '0000ffff-0000-7000-8000-000000000000', id, 'person.signed_up', id, '{}',
            (ARRAY['delivered', 'waiting'])[1 + n % 2], now(), 1, 1, 1, 0, now(),
            CASE WHEN n % 2 = 0 THEN now() END
        FROM (SELECT id, row_number() OVER () AS n FROM people) AS p;
    INSERT INTO webhook_attempts (id, webhook_id, event_id, started_at, milliseconds, outcome,
            answer)
        SELECT id, webhook_id, id, now(), 1, 'delivered', '' FROM webhook_events;
    ANALYZE webhooks, webhook_events, webhook_attempts,
        audit, people, messages, attempts, idempotency_keys, link_requests, proofs, counters,
        address_changes, recipient_budgets
"""
#: The one in the middle of them.
DEEP = UUID("00002710-0000-7000-8000-000000000000")
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
#: By what they find people.
PEOPLE = [
    people_filters.Filter(),
    people_filters.Filter(prefix="ada77"),
    people_filters.Filter(search="love"),
    people_filters.Filter(language="de"),
    people_filters.Filter(confirmed=True, language="de", welcome="failed", since=AT, until=AT),
    people_filters.Filter(welcome="sent"),
    people_filters.Filter(since=AT),
]


async def test_no_frequent_statement_reads_a_whole_table(settings: Settings) -> None:
    """Leasing, recording, signing up, a page of a list: each plan uses an index, and sorts little.

    Postgres sees tables of 30,000 rows, as they are then; SQLite has a large outbox's statistics.
    """
    settings = settings.model_copy(update={"database_seconds": 60.0})  # it is much for one
    async with opened(settings) as database:
        await sign_up(database, settings, *addresses(100))
        leased = await database.write(queue.lease_due, limit=5, lease_seconds=60)
        if not settings.database.is_sqlite:
            await database.write(grow)
        with explained() as plans:
            await database.write(everything, settings, leased)
    assert len(plans) >= 60
    wrong = {sql: [s for s in plan if not is_cheap(sql, s)] for sql, plan in plans.items()}
    assert {sql: steps for sql, steps in wrong.items() if steps} == {}


def grow(tx: Transaction) -> None:
    """Fill the tables, and have Postgres know it, as autovacuum does: which is then to be still.

    On a busy machine it would come in the middle, and have other plans made of what is half done.
    """
    for table in ("people", "messages"):
        tx.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
    for statement in GROWN.split(";"):
        tx.execute(text(statement))


def everything(tx: Transaction, settings: Settings, leased: Sequence[Message]) -> None:
    """Do all that is done often, and whatever lists something."""
    held = [Held(message.id, message.lease) for message in leased]
    people = [message.person_id for message in leased if message.person_id is not None]
    person, at = people[0], datetime.now(UTC)
    queue.look(tx)
    queue.lease_due(tx, limit=4, lease_seconds=60)
    queue.renew(tx, held, lease_seconds=60)
    outcomes = [AttemptOutcome(held[0], "w", at, at, Sent("250 ok"), 1)]
    assert record_outcomes(tx, outcomes, settings) == ["sent"]
    queue.release(tx, held[1:2])
    sweep(tx, days=90)
    claim_keys(tx, person)
    outbox.hold_person(tx, held[2].id)
    sign_up_all(tx, [Submission(request_of("ada7@example.com"))], settings)
    sign_up_all(tx, [Submission(request_of("new@example.com"))], settings)
    ask_for_links(tx, settings)
    budget.within(tx, people, settings)
    move_around(tx, person, settings)
    antispam.admit(tx, [], None)
    list_people(tx, person)
    list_messages(tx, person, held)
    read_the_audit_trail(tx, person)
    outbox.history(tx, held[0].id)
    outbox.export(tx, person)
    outbox.retry(tx, held[2].id)
    outbox.cancel(tx, held[2].id)
    record.confirm(tx, person)
    record.erase(tx, people[3])
    hear_of_sign_ups(tx, settings)
    stats.read(tx, settings)
    cleanup.is_any_far(tx, settings)
    cleanup.recall(tx, settings)
    counters.fold(tx)
    counters.sweep(tx)
    tell_webhooks(tx, settings)


def tell_webhooks(tx: Transaction, settings: Settings) -> None:
    """Have something happen that a webhook hears of, and all that is done about it."""
    secret, seals = secrets.generate(), Seals(settings)
    one = endpoints.add(tx, seals, url="u", name="n", types=["*"], secret=secret)
    for name in ("told", "held"):
        sign_up_all(tx, [Submission(request_of(f"{name}@example.com"))], settings)
    webhook_queue.look(tx)
    told, held = webhook_queue.lease_due(tx, one.id, limit=4, lease_seconds=60)[0]
    tried = Tried(told, AT, 1, "delivered", 200, "")
    assert health.record_all(tx, [tried], settings) == ["delivered"]
    webhook_queue.release(tx, [held])
    history.page(tx, one.id, limit=10)
    history.page(tx, one.id, limit=10, state="failed")
    history.replay(tx, one.id, told.id)
    history.replay_some(tx, one.id, AT)
    history.sweep(tx, days=1)
    history.sweep_orphans(tx)
    assert told.person_id is not None
    noting.export(tx, told.person_id)
    noting.forget(tx, told.person_id)


def hear_of_sign_ups(tx: Transaction, settings: Settings) -> None:
    """Begin to tell a maker, and tell them of one more."""
    hearing = settings.model_copy(update={"notify": "maker@example.org"})
    notices.begin(tx, hearing)
    sign_up_all(tx, [Submission(request_of("heard@example.com"))], settings)
    assert notices.look(tx, hearing) is None
    assert notices.tell(tx, hearing) == 1
    notices.begin_again(tx, settings)


def claim_keys(tx: Transaction, person: UUID) -> None:
    """Claim, keep, find, export and sweep stored responses."""
    claimed = IdempotencyKey((("me", "/", "key"), ("me too", "/", "key")), ("x",))
    stored.claim(tx, [claimed])
    stored.keep(tx, {claimed.names[0]: StoredResponse(202, person_id=person)})
    stored.claim(tx, [claimed])
    stored.find(tx, claimed)
    stored.export(tx, person)
    stored.sweep(tx)


def list_people(tx: Transaction, person: UUID) -> None:
    """Find one, and list them from the newest and from far below, by each filter."""
    queries.find(tx, person)
    queries.lock(tx, person)
    deep = urlsafe_b64encode(DEEP.bytes).decode().rstrip("=")
    for after in (None, deep):
        for confirmed in (None, True, False):
            chosen_by = people_filters.Filter(confirmed=confirmed)
            people_filters.page(tx, chosen_by, limit=50, after=after)
    for sort in people_filters.SORTS:
        for chosen_by in PEOPLE:
            _, after = people_filters.page(tx, chosen_by, sort=sort, limit=50, after=None)
            if after is not None:
                people_filters.page(tx, chosen_by, sort=sort, limit=50, after=after)


def list_messages(tx: Transaction, person: UUID, held: Sequence[Held]) -> None:
    """List them by each filter, and try all again that it finds."""
    for chosen_by in (Filter(), *FILTERS, Filter(person_id=person)):
        filters.page(tx, chosen_by, limit=50)
        filters.page(tx, chosen_by, limit=50, before=DEEP)
    for state in ("failed", "cancelled", "queued"):
        for chosen_by in FILTERS:
            filters.retryable(tx, replace(chosen_by, state=state))
        filters.retry_all(tx, [held[2].id], state)


def read_the_audit_trail(tx: Transaction, person: UUID) -> None:
    """Note something, list it by each filter, and sweep."""
    audit.note(tx, Actor("key", str(person), "api"), "person.add", person)
    for chosen_by in (
        audit.Filter(),
        audit.Filter(actor=str(person)),
        audit.Filter(action=ACTIONS[0]),
        audit.Filter(subject=person),
        audit.Filter(since=AT, until=AT),
        audit.Filter(action=ACTIONS[0], since=AT),
    ):
        audit.page(tx, chosen_by, limit=50)
        audit.page(tx, chosen_by, limit=50, before=DEEP)
    audit.sweep(tx, days=365)


def ask_for_links(tx: Transaction, settings: Settings) -> None:
    """Ask for one, and do all that is ever done about it."""
    link_requests.add(tx, [Asked("ada8@example.com", None)])
    link_requests.is_any(tx)
    link_requests.export(tx, "ada8@example.com")
    link_requests.forget(tx, "ada9@example.com")
    assert link_requests.answer_some(tx, settings)


def move_around(tx: Transaction, person: UUID, settings: Settings) -> None:
    """Ask for another address, look at that, say yes, stop it, and sweep what is over."""
    wanted = parse_address("ada7@example.org")
    move.ask(tx, person, wanted, settings)
    change = address_changes.find(tx, person)
    assert change is not None
    address_changes.export(tx, person)
    move.make(tx, person, change, settings, reserved=move.reserve(tx, change))
    record.stop_move(tx, person)
    address_changes.sweep(tx)
    recipient_budget.sweep(tx, settings)


def request_of(address: str) -> SignUp:
    """Sign somebody up again, under another name."""
    email = parse_address(address, smtputf8=True)
    return SignUp.model_construct(email=email, name="Ada B", description=None)


async def test_one_who_is_known_is_found_by_index(settings: Settings) -> None:
    """Among few people too: reading all of them takes a time that a stranger can measure."""
    async with opened(settings) as database:
        await sign_up(database, settings, *addresses(2000))

        def greet(tx: Transaction) -> None:
            tx.execute(text("ANALYZE"))
            sign_up_all(tx, [Submission(request_of("ada7@example.com"))], settings)

        with explained() as plans:
            await database.write(greet)
    assert len(plans) == 7
    for statement, plan in plans.items():
        assert [step for step in plan if not is_cheap(statement, step)] == [], "\n".join(plan)
