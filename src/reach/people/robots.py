"""Robots: what tells them from people, at every door alike.

A robot is told nothing: it gets the answer of everybody, and is turned away. A person with an old
form is no robot, and is asked to send it again.
"""

import secrets
import time
from typing import Annotated, Any

import structlog
from altcha import Payload, create_challenge, verify_solution
from pydantic import BaseModel, Field

from reach.access.signing import Signer
from reach.problems import NotFound, Unprocessable
from reach.settings import Settings

log = structlog.get_logger("reach.people")

#: After a day a form is old: its signature would otherwise serve a robot for ever.
FORM_SECONDS = 24 * 3600
CHALLENGE_SECONDS = 600
ALGORITHM = "PBKDF2/SHA-256"
#: Rounds of one try, and how many tries it takes: a browser does all of them in about a second.
COST, FEWEST_TRIES, MOST_TRIES = 2000, 1000, 4000

TRAP = "A trap for robots: leave it out"
TIME = "The signed time at which the form was shown, as its page has it"
PROOF = "The solution of a challenge, in base64"


class Hidden(BaseModel):
    """What a form at the door carries beside what people type. Mix it into a door's model."""

    website: Annotated[str | None, Field(max_length=500, description=TRAP)] = None
    started: Annotated[str | None, Field(max_length=100, description=TIME)] = None
    altcha: Annotated[str | None, Field(max_length=4000, description=PROOF)] = None


class Robots:
    """Tells robots from people, and makes what forms need for that."""

    def __init__(self, settings: Settings) -> None:
        """Derive the keys. Raises BadSettings if there is no secret."""
        self.needs_proof = settings.altcha
        self._needs_time = settings.form_timestamp == "required"
        self._least_seconds = settings.form_min_seconds
        self._times = Signer(settings, "form-time")
        challenges, solutions = Signer(settings, "altcha"), Signer(settings, "altcha-solution")
        #: Of each secret two keys: one for challenges, one for what they lead to.
        self._proofs = tuple(zip(challenges.keys, solutions.keys, strict=True))

    def turn_away(self, form: Hidden) -> bool:
        """Whether a robot sent this form: then do nothing, and answer as ever.

        Raises Unprocessable if it is an old form, which a person may have left open.
        """
        rule = self.rule_broken(form, time.time())
        if rule:
            log.info("turned away", rule=rule)
        return rule is not None

    def rule_broken(self, form: Hidden, now: float) -> str | None:
        """Name the rule that only a robot breaks. Raises Unprocessable for an old form."""
        if form.website and form.website.strip():
            return "honeypot"
        return self._by_time(form.started, now) or self._by_proof(form.altcha)

    def stamp(self, now: float, again: str | None = None) -> str:
        """Sign the time at which a form is shown.

        ``again`` is the form's stamp if it is shown a second time, with what is wrong: a person
        need not wait once more. If it was old, that is all that was wrong.
        """
        began = self._read(again)
        if began is not None and now - began <= FORM_SECONDS:
            return again or ""
        text = str(int((now - (self._least_seconds if began is not None else 0)) * 1000))
        return f"{text}.{self._times.sign(text)}"

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

    def _by_time(self, started: str | None, now: float) -> str | None:
        if not started:
            return "time missing" if self._needs_time else None
        began = self._read(started)
        if began is None:
            return "time forged"
        if now - began > FORM_SECONDS:
            raise _old("/started", "This form is more than a day old. Please send it again.")
        return "too fast" if now - began < self._least_seconds else None

    def _read(self, started: str | None) -> float | None:
        """Read a stamp: seconds since 1970; None if it is none of ours."""
        text, _, signature = (started or "").partition(".")
        if not self._times.is_ours(text, signature):
            return None
        return int(text) / 1000

    def _by_proof(self, altcha: str | None) -> str | None:
        if not self.needs_proof:
            return None
        if not altcha:
            return "proof missing"
        for challenge_key, solution_key in self._proofs:
            found = verify_solution(altcha, challenge_key, hmac_key_secret=solution_key)
            if found.expired:
                raise _old("/altcha", "The check for robots is out of date. Please send it again.")
            if found.verified:
                return None
        return "proof wrong"


def nonce_of(form: BaseModel) -> str | None:
    """What is one's own of a proof that ``rule_broken`` found good; None if there is none."""
    altcha = getattr(form, "altcha", None)
    return Payload.from_base64(altcha).challenge.parameters.nonce if altcha else None


def _old(pointer: str, detail: str) -> Unprocessable:
    return Unprocessable(errors=[{"pointer": pointer, "detail": detail}])
