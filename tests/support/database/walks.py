"""A random walk through all that Reach does, and whether the counters are right after it."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from sqlalchemy import func, select

from reach.db import counters
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.delivery.cleanup import sweep
from reach.messages import outbox, queue
from reach.messages.model import STATES, messages
from reach.messages.outcome import Deferred, Outcome, Rejected, Sent
from reach.messages.queue import Held
from reach.messages.recording import record_outcomes
from reach.people import queries, record, signup
from reach.people.address import parse_address
from reach.people.link_requests import answer_some
from reach.people.links import request_links_all
from reach.people.model import people
from reach.people.schemas import LinkRequest, SignUp, Submission
from reach.problems import Problem
from reach.reports.model import Clues, Report, Verdict
from reach.reports.record import Claim, record_all
from reach.settings import Settings
from tests.support.database.outboxes import DAY, attempt_outcomes
from tests.support.database.stored import addresses

OUTCOMES: Sequence[Outcome] = (
    Sent("250 ok", 250),
    Deferred("451 later", 451),
    Rejected("550 no", 550),
)
VERDICTS = (Verdict("bounced", "permanent"), Verdict("complained"))


class RolledBack(Exception):
    """Everything was done, and taken back."""


class Walk:
    """Takes random steps; knows what it has committed, by the names of the hourly counts.

    Of the sign-ups, ``added`` are an operator's doing. Several walks of different names may share
    a database.
    """

    def __init__(
        self, database: Database, settings: Settings, seed: int, *, folds: bool = True
    ) -> None:
        """Begin where the database is."""
        #: What was committed, by the names of the hourly counts.
        self.done: Counter[str] = Counter()
        self._database = database
        self._settings = settings
        self._random = Random(seed)
        self._addresses = addresses(12, f"walker{seed}x")
        self._steps = [
            self._sign_up,
            self._sign_up,
            self._add,
            self._request_links,
            self._confirm,
            self._lease_and_record,
            self._lease_and_record,
            self._lease_and_cancel,
            self._report,
            self._cancel,
            self._retry,
            self._erase,
            self._sweep,
            self._change,
        ]
        if folds:
            self._steps.append(self._fold)

    async def go(self, steps: int) -> None:
        """Take so many steps; of some, everything is taken back."""
        for _ in range(steps):
            before = self.done.copy()
            step = self._random.choice(self._steps)
            is_kept = self._random.random() < 0.9
            try:
                await self._database.write(self._take, step, before, is_kept=is_kept)
            except (Problem, RolledBack):
                self.done = before

    def _take(
        self,
        tx: Transaction,
        step: Callable[[Transaction], None],
        before: Counter[str],
        *,
        is_kept: bool,
    ) -> None:
        self.done = before.copy()  # a lost deadlock is tried again
        step(tx)
        if not is_kept:
            raise RolledBack

    def _some(self) -> list[str]:
        return self._random.sample(self._addresses, 3)

    def _person(self, tx: Transaction) -> UUID | None:
        """Pick somebody of this walk's, if they are there."""
        key = self._random.choice(self._addresses)
        return tx.execute(select(people.c.id).where(people.c.email_key == key)).scalar()

    def _message(self, tx: Transaction, *states: str) -> UUID | None:
        """Pick a message of this walk's people in one of these states, if there is one."""
        found = tx.execute(
            select(messages.c.id)
            .join_from(messages, people, people.c.id == messages.c.person_id)
            .where(people.c.email_key.in_(self._addresses), messages.c.state.in_(states))
            .order_by(messages.c.id)
        )
        ids = found.scalars().all()
        return self._random.choice(ids) if ids else None

    def _sign_up(self, tx: Transaction) -> None:
        requests = [_request(address) for address in self._some()]
        keys = [request.email.key for request in requests]
        self.done["sign_ups"] += len(keys) - len(queries.lock_known(tx, keys))
        signup.sign_up_all(tx, [Submission(one) for one in requests], self._settings)

    def _add(self, tx: Transaction) -> None:
        request, welcome = _request(self._some()[0]), self._random.random() < 0.5
        signup.add_person(tx, request, self._settings, welcome=welcome)
        self.done["sign_ups"] += 1
        self.done["added"] += 1

    def _request_links(self, tx: Transaction) -> None:
        requests = [LinkRequest.model_construct(email=_request(a).email) for a in self._some()]
        request_links_all(tx, [Submission(one) for one in requests], self._settings)
        answer_some(tx, self._settings)

    def _confirm(self, tx: Transaction) -> None:
        if person_id := self._person(tx):
            record.confirm(tx, person_id)

    def _change(self, tx: Transaction) -> None:
        if person_id := self._person(tx):
            record.change(tx, person_id, {"name": f"A{self._random.random()}"}, self._settings)

    def _lease_and_record(self, tx: Transaction) -> None:
        taken = queue.lease_due(tx, limit=self._random.randrange(5), lease_seconds=60)
        queue.renew(tx, [Held(one.id, one.lease) for one in taken], lease_seconds=60)
        queue.end_suppressed(tx, [Held(o.id, o.lease) for o in taken if o.state == "suppressed"])
        outcomes = [(one, self._random.choice(OUTCOMES)) for one in taken]
        recorded = record_outcomes(tx, attempt_outcomes(outcomes, 0), self._settings)
        self.done["failures"] += recorded.count("failed")
        self.done["deliveries"] += sum(
            state == "sent" and isinstance(outcome, Sent)
            for state, (_, outcome) in zip(recorded, outcomes, strict=True)
        )

    def _lease_and_cancel(self, tx: Transaction) -> None:
        """A worker sends what is cancelled at that moment."""
        for one in queue.lease_due(tx, limit=1, lease_seconds=60):
            outbox.cancel(tx, one.id)
            (recorded,) = record_outcomes(
                tx, attempt_outcomes([(one, OUTCOMES[0])], 0), self._settings
            )
            self.done["deliveries"] += recorded == "sent"

    def _report(self, tx: Transaction) -> None:
        """What was sent comes back, or is complained about; and is told twice."""
        if message_id := self._message(tx, "sent", "bounced"):
            verdict = self._random.choice(VERDICTS)
            claim = Claim(Report("dsn", Clues(), (verdict,)), message_id, (), is_verified=False)
            taken = record_all(tx, [claim, claim])
            counted = {"bounced": "bounces", "complained": "complaints"}[verdict.kind]
            self.done[counted] += taken.count("recorded")

    def _cancel(self, tx: Transaction) -> None:
        if message_id := self._message(tx, "queued"):
            outbox.cancel(tx, message_id)

    def _retry(self, tx: Transaction) -> None:
        if message_id := self._message(tx, "failed", "cancelled", "suppressed", "queued"):
            outbox.retry(tx, message_id)

    def _erase(self, tx: Transaction) -> None:
        if person_id := self._person(tx):
            record.erase(tx, person_id)

    def _sweep(self, tx: Transaction) -> None:
        old = messages.update().where(messages.c.id == self._message(tx, "sent", "failed"))
        tx.execute(old.values(finished_at=now(-91 * DAY), template="changed"))
        sweep(tx, days=90)

    def _fold(self, tx: Transaction) -> None:
        counters.fold(tx)


def _request(address: str) -> SignUp:
    email = parse_address(address, smtputf8=True)
    return SignUp.model_construct(email=email, name="Ada", description=None)


#: Before every hourly count, and after the hour of the counters of now.
LONG_AGO = datetime(1970, 1, 1, 1, tzinfo=UTC)
OTHERS = ("confirmed", *STATES)


def counted(tx: Transaction) -> dict[str, int]:
    """Count people and messages, row by row."""
    by_state = select(messages.c.state, func.count().label("n")).group_by(messages.c.state)
    every, confirmed = tx.execute(select(func.count(), func.count(people.c.confirmed_at))).one()
    found = {row.state: row.n for row in tx.execute(by_state)}
    return {"people": every, "confirmed": confirmed, **dict.fromkeys(STATES, 0), **found}


def current(tx: Transaction) -> dict[str, int]:
    """What the counters say there is."""
    found = counters.read(tx, datetime.now(UTC))
    return {name: found.get((name, counters.CURRENT), 0) for name in ("people", *OTHERS)}


def hourly(tx: Transaction) -> Counter[str]:
    """What the counters say has happened, in whichever hour."""
    found: Counter[str] = Counter()
    for (name, hour), count in counters.read(tx, LONG_AGO).items():
        if hour != counters.CURRENT:
            found[name] += count
    return found


async def are_true(database: Database) -> bool:
    """Whether they are what counting gives, at one moment."""

    def compare(tx: Transaction) -> bool:
        return current(tx) == counted(tx)

    return await database.read(compare)


def row_count(tx: Transaction) -> int:
    """How many rows all counters take."""
    return tx.execute(select(func.count()).select_from(counters.counters)).scalar_one()
