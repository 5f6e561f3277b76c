"""Spam protection: honeypot, fill time, proof of work, disposable domains; on page and API alike.

Only who fills in the honeypot, which no person, browser or password manager does, is answered as
ever, with nothing done. Whatever else is wrong can happen to people: they are told, and asked to
send the form again.
"""

import secrets
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import structlog
from altcha import Payload, create_challenge, verify_solution
from itsdangerous import BadSignature
from pydantic import BaseModel
from sqlalchemy import Column, Executable, Index, Table, Text, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from reach.auth.signing import Signer
from reach.db.transaction import Transaction
from reach.db.types import Instant, encode, metadata, now, rows
from reach.people.address import EmailAddress, parse_address
from reach.people.schemas import SpamFields, Submission
from reach.problems import NotFound, Problem, Unprocessable
from reach.settings import BadSettings, Settings
from reach.texts import N_

F = TypeVar("F", bound=BaseModel)
R = TypeVar("R")

log = structlog.get_logger("reach.people")

#: After a day a form is old: its signature would otherwise serve a spammer for ever.
FORM_SECONDS = 24 * 3600
#: A form that is shown again may come back at once, though two machines' clocks differ by this.
HEAD_START_SECONDS = 3600
CHALLENGE_SECONDS = 600
ALGORITHM = "PBKDF2/SHA-256"
#: Rounds of one try, and how many tries it takes: a browser does all of them in about a second.
COST, FEWEST_TRIES, MOST_TRIES = 2000, 1000, 4000
#: How long a used proof is kept: longer than a challenge can be answered, whatever the clocks of
#: two machines say.
KEPT_SECONDS = 3600
#: More than come in one transaction, so that old ones go faster than new ones come.
SWEPT_ROWS = 1000

VARIABLE = "REACH_DISPOSABLE_DOMAINS_FILE"
DISPOSABLE = N_(
    "Addresses that are thrown away soon cannot sign up here. Please use a lasting one."
)

#: By the rule that was broken: where, and what somebody is told who sent a form by the API or saw
#: it on the page. Sent again as it is, or from the page that is shown then, it goes through.
ASKED_AGAIN = {
    "time missing": (
        "/started",
        N_("The form does not say when it was opened. Please send it again."),
    ),
    "time forged": (
        "/started",
        N_("The form does not say in words of ours when it was opened. Please send it again."),
    ),
    "too fast": (
        "/started",
        N_("The form came back faster than most people type. Please send it again."),
    ),
    "too old": (
        "/started",
        N_("This form is more than a day old. Please send it again."),
    ),
    "proof missing": (
        "/altcha",
        N_("The spam check was not made. Please send it again."),
    ),
    "proof wrong": (
        "/altcha",
        N_("The spam check did not work. Please send it again."),
    ),
    "proof too old": (
        "/altcha",
        N_("The spam check is out of date. Please send it again."),
    ),
    "proof used before": (
        "/altcha",
        N_("The spam check served for a form already. Please send it again."),
    ),
    "old trap": (
        "/website",
        N_(
            "The form is of an earlier version, with a hidden field filled in. "
            "Please send it again."
        ),
    ),
}


class SendAgain(Unprocessable):
    """The form was filled in well, but not sent in a way that tells it from spam.

    Nothing was stored, nothing is lost: send it again. On the page that takes one press of the
    button. A program sends the same again; if `errors` points to `/altcha`, with the solution of a
    new challenge (`GET /v1/challenge`); if it points to `/website`, without that field.
    """

    type, title = "send-again", N_("Please send this form once more")

    def __init__(self, rule: str) -> None:
        """Say in words what the rule is; the log has its name."""
        pointer, detail = ASKED_AGAIN[rule]
        super().__init__(errors=[{"pointer": pointer, "detail": detail}])
        log.info("asked to send again", rule=rule)


class AntiSpam:
    """Tells spam from the forms that people send, and makes what forms need for that."""

    def __init__(self, settings: Settings) -> None:
        """Derive the keys. Raises BadSettings if there is no secret."""
        self.needs_proof = settings.altcha
        self._needs_time = settings.form_timestamp == "required"
        self._needs_any = self.needs_proof or self._needs_time
        self._least_seconds = settings.form_min_seconds
        self._times = Signer(settings, "form-time")
        challenges, solutions = Signer(settings, "altcha"), Signer(settings, "altcha-solution")
        #: Of each secret two keys: one for challenges, one for what they lead to.
        self._proofs = tuple(zip(challenges.keys, solutions.keys, strict=True))

    def is_spam(self, form: SpamFields) -> bool:
        """Whether this form is spam: then do nothing, and answer as ever.

        Raises SendAgain if it may be a person's, but not by the rules.
        """
        if form.motto and form.motto.strip():
            log.info("taken for spam", rule="honeypot")
            return True
        if self._needs_any or form.started or form.website:
            rule = self.rule_broken(form, time.time())
            if rule is not None:
                raise SendAgain(rule)
        return False

    def rule_broken(self, form: SpamFields, now: float) -> str | None:
        """Name the rule of ``ASKED_AGAIN`` that a form breaks."""
        if form.website and form.website.strip():
            return "old trap"
        if form.started:
            rule = self._by_time(form.started, now)
        else:
            rule = "time missing" if self._needs_time else None
        if rule is None and self.needs_proof:
            rule = self._by_proof(form.altcha)
        return rule

    def stamp(self, now: float, *, is_again: bool = False) -> str:
        """Sign the time at which a form is shown; ``is_again``: a second time, as it was filled in.

        Then it may come back at once: nobody waits twice.
        """
        began = now - (HEAD_START_SECONDS if is_again else 0)
        return self._times.sign(str(int(began * 1000)))

    def challenge(self, now: float) -> dict[str, Any]:
        """Make a fresh challenge. Raises NotFound if no proof of work is asked for.

        The number of tries is chosen here, so that nobody is unlucky; and the key that they lead
        to is signed, so that to verify takes no tries at all.
        """
        if not self.needs_proof:
            raise NotFound
        tries = FEWEST_TRIES + secrets.randbelow(MOST_TRIES - FEWEST_TRIES)
        challenge_key, solution_key = self._proofs[0]
        made = create_challenge(
            ALGORITHM,
            COST,
            counter=tries,
            expires_at=int(now) + CHALLENGE_SECONDS,
            hmac_secret=challenge_key,
            hmac_key_secret=solution_key,
        )
        return made.to_dict()

    def _by_time(self, started: str, now: float) -> str | None:
        began = self._read(started)
        if began is None:
            return "time forged"
        if now - began > FORM_SECONDS:
            return "too old"
        return "too fast" if now - began < self._least_seconds else None

    def _read(self, started: str) -> float | None:
        """Read a stamp: seconds since 1970; None if it is none of ours."""
        try:
            return int(self._times.unsign(started)) / 1000
        except BadSignature:
            return None

    def _by_proof(self, altcha: str | None) -> str | None:
        if not altcha:
            return "proof missing"
        for challenge_key, solution_key in self._proofs:
            found = verify_solution(altcha, challenge_key, hmac_key_secret=solution_key)
            if found.expired:
                return "proof too old"
            if found.verified:
                return None
        return "proof wrong"


proofs = Table(
    "proofs",
    metadata,
    Column("nonce", Text, primary_key=True),
    Column("used_at", Instant, nullable=False),
)
Index("ix_proofs_used_at", proofs.c.used_at)

_OLD = (
    select(proofs.c.nonce)
    .where(proofs.c.used_at < now(-float(KEPT_SECONDS)))
    .limit(SWEPT_ROWS)
    # Two processes sweep at once: neither waits for the other.
    .with_for_update(skip_locked=True)
)


@cache
def _use_proofs(dialect: str) -> Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = rows(dialect, proofs.c.nonce)
    # Without a WHERE, SQLite takes ON CONFLICT for a join's ON.
    source = select(given.c.nonce, now()).where(given.c.nonce.is_not(None)).order_by(given.c.nonce)
    return (
        insert(proofs)
        .from_select(["nonce", "used_at"], source)
        .on_conflict_do_nothing(index_elements=["nonce"])
        .returning(proofs.c.nonce)
    )


def nonce_of(form: BaseModel) -> str | None:
    """Read what tells a proof that was found good from all others; None if there is no proof."""
    altcha = getattr(form, "altcha", None)
    return Payload.from_base64(altcha).challenge.parameters.nonce if altcha else None


def admit(
    tx: Transaction, submissions: Sequence[Submission[F]], usual: R
) -> tuple[Sequence[Submission[F]], Sequence[R | Problem]]:
    """Choose those whose proof of work was not used before, and use their proofs up.

    Returns them, and a response for each of all: ``usual``, or SendAgain. It is for forms whose
    proof was found good. If the transaction is rolled back, nothing was used: who gets a 503 can
    send the same form again.
    """
    first: dict[str | None, int] = {}
    for n, one in enumerate(submissions):
        first.setdefault(nonce_of(one.form), n)
    given = encode(tx.dialect.name, [{"nonce": nonce} for nonce in first])
    used = set(tx.execute(_use_proofs(tx.dialect.name), {"rows": given}).scalars())
    tx.execute(delete(proofs).where(proofs.c.nonce.in_(_OLD)))
    fresh = {n for nonce, n in first.items() if nonce in used}
    responses = [
        usual if n in fresh else SendAgain("proof used before") for n in range(len(submissions))
    ]
    return [one for n, one in enumerate(submissions) if n in fresh], responses


class DisposableDomains:
    """A set of domains; what lies below one belongs to it too."""

    def __init__(self, domains: Iterable[str] = ()) -> None:
        """Take domains as people or as machines write them. Raises ValueError."""
        self._domains = frozenset(map(_as_machines_do, domains))

    @classmethod
    def read(cls, path: Path | None) -> "DisposableDomains":
        """Read a file of domains, one a line; ``#`` begins a comment. None: there are none.

        Raises BadSettings naming the line that is no domain.
        """
        try:
            text = path.read_text(encoding="utf-8-sig") if path else ""
        except (OSError, UnicodeDecodeError) as error:
            raise BadSettings(f"{VARIABLE} cannot be read: {error}") from None
        found = []
        for number, line in enumerate(text.splitlines(), 1):
            domain = line.partition("#")[0].strip()
            try:
                found += [_as_machines_do(domain)] if domain else []
            except ValueError:
                raise BadSettings(f"{VARIABLE}: line {number} is not a domain") from None
        return cls(found)

    def refuse(self, email: EmailAddress) -> None:
        """Raise Unprocessable if an address is at one of these domains.

        A person can have such an address, and use another: so it is said.
        """
        if self._domains and email in self:
            raise Unprocessable(errors=[{"pointer": "/email", "detail": DISPOSABLE}])

    def __len__(self) -> int:
        """How many there are."""
        return len(self._domains)

    def __contains__(self, email: EmailAddress) -> bool:
        """Whether an address is at one of these domains, or below it."""
        labels = email.key.rpartition("@")[2].split(".")
        return any(".".join(labels[n:]) in self._domains for n in range(len(labels)))


def _as_machines_do(domain: str) -> str:
    """Write a domain as an A-label (RFC 5890), as an address's key has it. Raises ValueError."""
    return parse_address(f"x@{domain}").key.removeprefix("x@")
