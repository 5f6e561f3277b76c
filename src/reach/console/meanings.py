"""What attempts and reports mean, in words for operators.

Of attempts by the table of ``smtp.replies``, or by their end; of reports by ``reports.model``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reach.messages.model import Attempt, Message, Reported
from reach.messages.outcome import Outcome
from reach.smtp.connection import Reply
from reach.smtp.replies import ANY, RULES, Meaning, Rule, rule_of

#: How the table's rules begin that say no more than the one before did, in other words.
THE_SAME = "The same"
TITLES: Mapping[Meaning, str] = {
    Meaning.SESSION_OVER: "As much as the server takes in one session",
    Meaning.UNAVAILABLE: "The server does not let us in",
    Meaning.TOO_MUCH: "We send more than the server takes",
    Meaning.DEFERRED: "Not now",
    Meaning.REJECTED: "Refused for good, and it is about this message",
    Meaning.SUSPECT: "Refused, and perhaps it is about us: our sender, our login, our reputation",
}
#: What has to be done, where waiting does not help.
ADVICE: Mapping[Meaning, str] = {
    Meaning.REJECTED: "To retry it helps only once the address is right, or the mailbox takes mail "
    "again.",
    Meaning.SUSPECT: "Look at what the server says of us, and mend it. Then retry all that failed "
    "so.",
    Meaning.TOO_MUCH: "Ask the mail server's owner for more, or send less at a time.",
    Meaning.UNAVAILABLE: "Look at REACH_SMTP_URL, its login, and at the mail server.",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """What an attempt's end means, why we think so, what becomes of such messages, what to do."""

    title: str
    reason: str = ""
    fate: str = ""
    advice: str = ""


#: Where the server has said nothing that the table knows.
SENT = Explained("The mail server has taken it", "From here on, it is the server's to deliver.")
UNKNOWN = Explained(
    "Nobody knows whether it arrived",
    "The mail server had all of it, and then no answer came. It is tried again with the same "
    "Message-ID, so that mail programs can tell that it is the same.",
)
SILENT = Explained(
    "The mail server did not answer, or broke off",
    "It had not taken the message by then. It is tried again, later and later, for 4 days.",
)
BROKEN_OFF = Explained(
    "It broke off on our side",
    "The mail server had not taken it by then. It is tried again, later and later, for 4 days.",
    "",
    "The worker's log says more, if this goes on.",
)
OURS = Explained(
    "It was not sent: it cannot be put into words",
    "Its template is broken, or it lacks data that the template needs.",
    "",
    "It fails at once. Mend the template (Templates shows it; `reach check` says what is wrong), "
    "then retry.",
)
ALL_WAIT = Explained(
    "The mail server takes nothing from us now",
    "Nothing is wrong with this message. All wait, and go on by themselves when the server lets "
    "us in; no attempt is spent.",
)

#: By the kind of a report.
DELIVERED = Explained(
    "A mail server has put it into the mailbox, or passed it on",
    "Not that somebody read it, or that it is not among the spam.",
)
DELAYED = Explained(
    "A mail server could not pass it on yet, and goes on trying", "Not that it is lost."
)
COMPLAINED = Explained(
    "The recipient marked it as spam",
    "Their provider said so. Not that it was spam. Nothing more is sent to this address.",
    "",
    "Only if the owner asks for mail again, lift the suppression.",
)
#: By the category of a bounce.
BOUNCED: Mapping[str | None, Explained] = {
    "permanent": Explained(
        "A mail server gave it up: the address takes no mail",
        "It will not by itself. Nothing more is sent to it, until its owner signs up and confirms "
        "it once more, or the suppression is lifted.",
    ),
    "transient": Explained(
        "A mail server gave it up: the mailbox took none at the time",
        "It is full, say, or its server did not answer for days. Not that the address is dead: "
        "nothing more is sent to it only after five such over seven days.",
    ),
    "sender": Explained(
        "A mail server gave it up, and it is about us",
        "Our reputation, our domain's records, what the email says, or its size. Not that the "
        "address is dead: mail is sent to it as before.",
        "",
        "Look at what the server says of us, and mend it. `reach check` looks at the domain's "
        "records.",
    ),
}
UNDETERMINED = Explained(
    "A mail server gave it up, and does not say why",
    "Not that the address is dead: nothing more is sent to it only after five such over seven "
    "days.",
)
KINDS = {"delivered": DELIVERED, "delayed": DELAYED, "complained": COMPLAINED}

_STAGE = re.compile(rf"({'|'.join(map(re.escape, ANY))}): (.*)", re.DOTALL)


def explain(attempt: Attempt) -> Explained:
    """Say what an attempt means, by what was kept of the server's answer."""
    if attempt.outcome == "sent":
        return SENT
    if attempt.outcome == "unknown":
        return UNKNOWN
    said = _STAGE.fullmatch(attempt.text)
    if attempt.smtp_code is not None and said is not None:
        rule = rule_of(said[1], Reply(attempt.smtp_code, said[2]))
        if rule is not None:
            return rule_explained(rule)
    if attempt.outcome == "rejected":
        return OURS
    return BROKEN_OFF if said is None else SILENT


def explain_report(report: Reported) -> Explained:
    """Say what a report means, and what it does not."""
    return KINDS.get(report.kind) or BOUNCED.get(report.category, UNDETERMINED)


def why_it_waits(message: Message, last: Attempt | None) -> Explained | None:
    """Explain what a queued message's last words are, if no attempt has said them."""
    if message.state != "queued" or not message.last_error:
        return None
    if last is not None:
        said = Outcome(last.text, last.smtp_code, last.enhanced_code).words
        return None if said == message.last_error else ALL_WAIT
    return ALL_WAIT


def rule_explained(rule: Rule) -> Explained:
    """Say what a rule of the table means, in words that stand alone."""
    meaning = rule.meaning
    return Explained(TITLES[meaning], _reason(rule), meaning.value, ADVICE.get(meaning, ""))


def _reason(rule: Rule) -> str:
    """Give a rule's reason; with that of the rule which it says the same as."""
    reasons = [f"{rule.reason}."]
    before = RULES[: RULES.index(rule)]
    while reasons[0].startswith(THE_SAME) and before:
        before, one = before[:-1], before[-1]
        reasons.insert(0, f"{one.reason}.")
    return " ".join(reasons)
