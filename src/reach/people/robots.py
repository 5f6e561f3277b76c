"""Spam protection: what tells forms of robots from those of people, on page and API alike.

Only who fills in the honeypot, which no person, browser or password manager does, is turned away
without a word. Whatever else is wrong can happen to people: they are asked to send the form again.
"""

import secrets
import time
from typing import Annotated, Any

import structlog
from altcha import Payload, create_challenge, verify_solution
from pydantic import BaseModel, Field

from reach.access.signing import Signer
from reach.bodies.shapes import BLANK
from reach.problems import NotFound, Unprocessable
from reach.settings import Settings

log = structlog.get_logger("reach.people")

#: After a day a form is old: its signature would otherwise serve a robot for ever.
FORM_SECONDS = 24 * 3600
#: A form that is shown again may come back at once, though two machines' clocks differ by this.
HEAD_START_SECONDS = 3600
CHALLENGE_SECONDS = 600
ALGORITHM = "PBKDF2/SHA-256"
#: Rounds of one try, and how many tries it takes: a browser does all of them in about a second.
COST, FEWEST_TRIES, MOST_TRIES = 2000, 1000, 4000

TRAP = "A trap for robots: leave it out"
OLD_TRAP = "What the trap was called before: leave it out"
TIME = "The signed time at which the form was shown, as its page has it"
PROOF = "The solution of a challenge, in base64"

#: By the rule that was broken: where, and what somebody is told who sent a form by the API or saw
#: it on the page. Sent again as it is, or from the page that is shown then, it goes through.
ASKED_AGAIN = {
    "time missing": ("/started", "The form does not say when it was opened."),
    "time forged": ("/started", "The form does not say in words of ours when it was opened."),
    "too fast": ("/started", "The form came back faster than most people type."),
    "too old": ("/started", "This form is more than a day old."),
    "proof missing": ("/altcha", "The check for robots was not made."),
    "proof wrong": ("/altcha", "The check for robots did not work."),
    "proof too old": ("/altcha", "The check for robots is out of date."),
    "proof used before": ("/altcha", "The check for robots served for a form already."),
    "old trap": ("/website", "The form is of an earlier version, with a hidden field filled in."),
}


class SendAgain(Unprocessable):
    """The form was filled in well, but not sent in a way that tells it from a robot's.

    Nothing was stored, nothing is lost: send it again. On the page that takes one press of the
    button. A program sends the same again; if `errors` points to `/altcha`, with the solution of a
    new challenge (`GET /v1/challenge`); if it points to `/website`, without that field.
    """

    type, title = "send-again", "Please send this form once more"

    def __init__(self, rule: str) -> None:
        """Say in words what the rule is; the log has its name."""
        pointer, detail = ASKED_AGAIN[rule]
        super().__init__(errors=[{"pointer": pointer, "detail": f"{detail} Please send it again."}])
        log.info("asked to send again", rule=rule)


class Hidden(BaseModel):
    """What a form at the door carries beside what people type. Mix it into a door's model.

    The trap's name is none that browsers or password managers know: see
    docs/decisions/0013-spam-protection.md.
    """

    motto: Annotated[str | None, Field(max_length=500, description=TRAP)] = None
    website: Annotated[
        str | None,
        Field(
            max_length=500,
            description=OLD_TRAP,
            json_schema_extra={"deprecated": True, "pattern": f"^[{BLANK}]*$"},
        ),
    ] = None
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

        Raises SendAgain if it may be a person's, but not by the rules.
        """
        if _is_filled(form.motto):
            log.info("taken for spam", rule="honeypot")
            return True
        if rule := self.rule_broken(form, time.time()):
            raise SendAgain(rule)
        return False

    def rule_broken(self, form: Hidden, now: float) -> str | None:
        """Name the rule of ``ASKED_AGAIN`` that a form breaks."""
        if _is_filled(form.website):
            return "old trap"
        return self._by_time(form.started, now) or self._by_proof(form.altcha)

    def stamp(self, now: float, *, is_again: bool = False) -> str:
        """Sign the time at which a form is shown; ``is_again``: a second time, as it was filled in.

        Then it may come back at once: nobody waits twice.
        """
        text = str(int((now - (HEAD_START_SECONDS if is_again else 0)) * 1000))
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
            return "too old"
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
                return "proof too old"
            if found.verified:
                return None
        return "proof wrong"


def nonce_of(form: BaseModel) -> str | None:
    """What is one's own of a proof that ``rule_broken`` found good; None if there is none."""
    altcha = getattr(form, "altcha", None)
    return Payload.from_base64(altcha).challenge.parameters.nonce if altcha else None


def _is_filled(trap: str | None) -> bool:
    return trap is not None and bool(trap.strip())
