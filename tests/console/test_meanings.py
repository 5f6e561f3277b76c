"""What an attempt means, in words: of every rule of the table, and where the table says nothing."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reach.console.meanings import (
    ADVICE,
    ALL_WAIT,
    BOUNCED,
    TITLES,
    UNDETERMINED,
    explain,
    explain_report,
    rule_explained,
    why_it_waits,
)
from reach.db.types import new_id
from reach.messages.model import Attempt, Message, Reported
from reach.reports.model import CATEGORIES, KINDS
from reach.smtp.replies import RULES, Meaning, Rule
from tests.support.messages import a_message

AT = datetime(2026, 3, 4, tzinfo=UTC)


def an_attempt(
    text: str, outcome: str = "deferred", code: int | None = None, enhanced: str | None = None
) -> Attempt:
    """Make an attempt that ended so."""
    return Attempt(new_id(), new_id(), "host:1", AT, AT, outcome, code, enhanced, text)


def test_every_meaning_has_words() -> None:
    """A meaning that is added to the table needs a title here."""
    assert TITLES.keys() == set(Meaning)
    assert ADVICE.keys() <= set(Meaning)


@pytest.mark.parametrize("rule", RULES, ids=range(len(RULES)))
def test_each_reason_stands_alone(rule: Rule) -> None:
    """Where the table says "the same", a page says the same as what."""
    found = rule_explained(rule)
    assert not found.reason.startswith("The same")
    assert found.reason.endswith(f"{rule.reason}.")
    assert found.fate == rule.meaning.value


@pytest.mark.parametrize(
    ("attempt", "title"),
    [
        (an_attempt("RCPT TO: 5.1.1 No such user", "rejected", 550, "5.1.1"), "Refused for good"),
        (an_attempt("RCPT TO: 4.7.1 Greylisted", "deferred", 451, "4.7.1"), "Not now"),
        (an_attempt("final dot: 5.7.1 Spam: no", "deferred", 554, "5.7.1"), "Refused, and perhaps"),
        (an_attempt("DATA: no reply in time"), "The mail server did not answer"),
        (an_attempt("3 workers in a row vanished while they held it"), "It broke off on our side"),
        (an_attempt("final dot: no reply in time", "unknown"), "Nobody knows"),
        (an_attempt("cannot be composed: no name", "rejected"), "It was not sent"),
        (an_attempt("final dot: 2.0.0 OK", "sent", 250, "2.0.0"), "The mail server has taken it"),
    ],
)
def test_an_attempt_is_explained(attempt: Attempt, title: str) -> None:
    """By the table if the server has said something, else by how it ended."""
    assert explain(attempt).title.startswith(title)


def test_every_report_has_words_and_says_what_it_does_not_mean() -> None:
    """Each kind, and each category of a bounce, its own; a category that is new is undetermined."""
    reports: list[tuple[str, str | None]] = [(kind, None) for kind in KINDS]
    reports += [("bounced", category) for category in CATEGORIES]
    found = {
        (kind, of): explain_report(Reported(new_id(), kind, of, "dsn", None, None, "", AT))
        for kind, of in reports
    }
    assert found["bounced", None] == found["bounced", "undetermined"] == UNDETERMINED
    assert {*BOUNCED, "undetermined"} == set(CATEGORIES)
    assert len({one.title for one in found.values()}) == len(reports) - 1
    assert all("Not that" in one.reason for (_, of), one in found.items() if of != "permanent")


def test_who_waits_for_the_server_is_told_apart() -> None:
    """Words that no attempt has said are about all messages; those of the last one are its own."""
    last = an_attempt("RCPT TO: 4.7.1 Greylisted", "deferred", 451, "4.7.1")

    def waiting(words: str | None) -> Message:
        return replace(a_message(), last_error=words)

    assert why_it_waits(waiting(None), None) is None
    assert why_it_waits(waiting("451 4.7.1 RCPT TO: Greylisted"), last) is None
    assert why_it_waits(waiting("421 greeting: come back later"), last) is ALL_WAIT
    assert why_it_waits(waiting("421 greeting: come back later"), None) is ALL_WAIT
