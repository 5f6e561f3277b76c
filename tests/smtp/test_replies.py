"""What replies mean: rule by rule, in words that real servers say."""

import pytest

from reach.messages.outcome import Deferred, Outcome, Rejected, Unavailable
from reach.smtp.connection import Reply
from reach.smtp.replies import DATA, DOT, MAIL, RCPT, RULES, Meaning, Rule, meaning_of
from tests.support.messages import send, sender_to
from tests.support.servers.mail import MailServer

#: Stage, reply, meaning: what is documented of these servers, or was seen of them.
SAMPLES = [
    # Stalwart, session limits; Gmail
    (MAIL, "452 4.4.5 Maximum number of messages per session exceeded.", Meaning.SESSION_OVER),
    (RCPT, "452 4.5.3 Your message has too many recipients", Meaning.SESSION_OVER),
    # Exim, Oracle-like and KumoMTA-like words
    (MAIL, "450 too many messages in this connection", Meaning.SESSION_OVER),
    (MAIL, "451 4.7.0 Too many messages for one connection", Meaning.SESSION_OVER),
    # Gmail, Exchange Online
    (DOT, "550 5.4.5 Daily user sending limit exceeded", Meaning.TOO_MUCH),
    (RCPT, "450 4.7.28 Our system has detected an unusual amount of mail", Meaning.TOO_MUCH),
    (DOT, "550 5.1.90 Your message can't be sent because you've reached it", Meaning.TOO_MUCH),
    # Mailtrap, Amazon SES, Postfix
    (DATA, "550 5.7.0 Requested action not taken: too many emails per second", Meaning.TOO_MUCH),
    (DOT, "454 Throttling failure: Maximum sending rate exceeded.", Meaning.TOO_MUCH),
    (DOT, "454 Throttling failure: Daily message quota exceeded.", Meaning.TOO_MUCH),
    (MAIL, "450 4.7.1 Error: too much mail from 192.0.2.1", Meaning.TOO_MUCH),
    (RCPT, "450 4.7.1 Error: too many recipients from 192.0.2.1", Meaning.TOO_MUCH),
    (RCPT, "451 4.7.1 Rate limit exceeded, slow down", Meaning.TOO_MUCH),
    (RCPT, "450 4.2.1 Peak SMTP relay limit exceeded for customer", Meaning.TOO_MUCH),
    (
        DOT,
        "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms",
        Meaning.TOO_MUCH,
    ),
    (DOT, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", Meaning.TOO_MUCH),
    (DOT, "550 5.2.2 Submission quota exceeded", Meaning.TOO_MUCH),
    (
        DOT,
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
        Meaning.TOO_MUCH,
    ),
    # cPanel, IONOS, SendGrid
    (
        RCPT,
        "550 Domain example.com has exceeded the max defers and failures per hour (5/5) allowed.",
        Meaning.TOO_MUCH,
    ),
    (RCPT, "550 Mail send limit exceeded", Meaning.TOO_MUCH),
    (DOT, "451 You have exceeded your messaging limits", Meaning.TOO_MUCH),
    (DOT, "451 Maximum credits exceeded", Meaning.TOO_MUCH),
    # RFC 5321, RFC 4954
    (RCPT, "421 4.3.2 Service shutting down", Meaning.UNAVAILABLE),
    (RCPT, "530 5.7.0 Must issue a STARTTLS command first", Meaning.UNAVAILABLE),
    (MAIL, "553 5.1.8 Sender address rejected: Domain not found", Meaning.UNAVAILABLE),
    (MAIL, "452 4.3.1 Insufficient system storage", Meaning.UNAVAILABLE),
    # Ours: the sender, the client, its login
    (RCPT, "550 5.1.8 Sender address rejected: Domain not found", Meaning.SUSPECT),
    (RCPT, "450 4.1.8 Sender address rejected: Domain not found", Meaning.SUSPECT),
    (DOT, "554 5.2.252 SendAsDenied; not allowed to send as", Meaning.SUSPECT),
    (
        RCPT,
        "550 5.1.0 <reach@example.org>: Sender address rejected: User unknown in virtual table",
        Meaning.SUSPECT,
    ),
    (RCPT, "554 5.1.0 Sender denied", Meaning.SUSPECT),
    (
        DOT,
        "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied",
        Meaning.SUSPECT,
    ),
    (
        DOT,
        "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException",
        Meaning.SUSPECT,
    ),
    (
        RCPT,
        "550 rejected because 192.0.2.1 is in a black list at zen.spamhaus.org",
        Meaning.SUSPECT,
    ),
    (RCPT, "550 Rejected: 192.0.2.1 listed at bl.spamcop.net", Meaning.SUSPECT),
    (RCPT, "550 Unauthenticated senders not allowed", Meaning.SUSPECT),
    (RCPT, "550 SMTP AUTH is required for message submission on port 587", Meaning.SUSPECT),
    (RCPT, "550 Bad HELO - Host impersonating [example.org]", Meaning.SUSPECT),
    (RCPT, "550 Reverse DNS lookup failed for host 192.0.2.1", Meaning.SUSPECT),
    (RCPT, "550 You are not allowed to send mail from this address", Meaning.SUSPECT),
    (RCPT, "553 5.7.1 Sender address rejected: not owned by user ada", Meaning.SUSPECT),
    (RCPT, "454 4.7.1 <ada@example.com>: Relay access denied", Meaning.SUSPECT),
    (RCPT, "554 5.7.1 <ada@example.com>: Relay access denied", Meaning.SUSPECT),
    (RCPT, "550 relay not permitted", Meaning.SUSPECT),
    (RCPT, "550 Sender verify failed", Meaning.SUSPECT),
    (
        RCPT,
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
        Meaning.SUSPECT,
    ),
    (RCPT, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", Meaning.SUSPECT),
    (RCPT, "450 4.7.25 Client host rejected: cannot find your hostname", Meaning.SUSPECT),
    (RCPT, "550 Administrative prohibition", Meaning.SUSPECT),
    (RCPT, "550 Access denied", Meaning.SUSPECT),
    (DOT, "554 Message rejected: Email address is not verified.", Meaning.SUSPECT),
    (DOT, "554 5.7.1 Message contains spam", Meaning.SUSPECT),
    (DOT, "550 Message was not accepted", Meaning.SUSPECT),
    (DATA, "503 5.5.1 Bad sequence of commands", Meaning.SUSPECT),
    # Not now
    (RCPT, "450 4.2.0 <ada@example.com>: Recipient address rejected: Greylisted", Meaning.DEFERRED),
    (RCPT, "450 4.7.1 Client host rejected: Greylisted", Meaning.DEFERRED),
    # What a stranger's server said to ours, as Postfix repeats it
    (
        RCPT,
        "450 4.1.1 Recipient address rejected: unverified: 451 too many messages in this session",
        Meaning.DEFERRED,
    ),
    (RCPT, "452 4.2.2 The email account that you tried to reach is over quota", Meaning.DEFERRED),
    (RCPT, "450 4.2.1 The user you are trying to contact is receiving mail", Meaning.DEFERRED),
    (DOT, "451 4.3.0 Mail server temporarily rejected message", Meaning.DEFERRED),
    # This address, this message
    (
        RCPT,
        "550 5.1.1 Recipient address rejected: User unknown in relay recipient table",
        Meaning.REJECTED,
    ),
    (RCPT, "550 5.1.2 Recipient address rejected: Domain not found", Meaning.REJECTED),
    (DOT, "552 5.2.2 Mailbox full, sending limit of the user", Meaning.REJECTED),
    (RCPT, "552 Requested mail action aborted: exceeded storage allocation", Meaning.REJECTED),
    (DOT, "552 5.3.4 Message size exceeds fixed limit", Meaning.REJECTED),
    (DOT, "550 5.6.7 Address needs SMTPUTF8", Meaning.REJECTED),
    (RCPT, "550 5.4.1 Recipient address rejected: Access denied", Meaning.REJECTED),
    (RCPT, "550 No such user here", Meaning.REJECTED),
    (RCPT, "551 User not local", Meaning.REJECTED),
    (RCPT, "550 sorry, no mailbox here by that name. (#5.1.1)", Meaning.REJECTED),
]
COMMANDS = {MAIL: "mail", RCPT: "rcpt", DATA: "data", DOT: "dot"}
OUTCOMES: dict[Meaning, type[Outcome]] = {
    Meaning.SESSION_OVER: Unavailable,  # of the first message of a session
    Meaning.TOO_MUCH: Unavailable,
    Meaning.UNAVAILABLE: Unavailable,
    Meaning.DEFERRED: Deferred,
    Meaning.SUSPECT: Deferred,
    Meaning.REJECTED: Rejected,
}


@pytest.mark.parametrize(("stage", "words", "meaning"), SAMPLES)
async def test_a_reply_means_what_the_table_says(stage: str, words: str, meaning: Meaning) -> None:
    """Said by a server at that stage, it has the outcome that belongs to its meaning."""
    assert meaning_of(stage, Reply(int(words[:3]), words[4:])) is meaning
    async with MailServer() as server, sender_to(server) as sender:
        server.script[COMMANDS[stage]] = words
        outcome = await send(sender)
    assert type(outcome) is OUTCOMES[meaning]
    assert (isinstance(outcome, Deferred) and outcome.is_suspect) == (meaning is Meaning.SUSPECT)
    is_rate = meaning in (Meaning.TOO_MUCH, Meaning.SESSION_OVER)
    assert (isinstance(outcome, Unavailable) and outcome.is_rate) == is_rate


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.meaning.name}: {rule.reason[:40]}")
def test_every_rule_decides_something(rule: Rule) -> None:
    """A rule that no sample needs is one that nobody has seen: without it, something changes."""
    others = tuple(one for one in RULES if one is not rule)
    replies = [(stage, Reply(int(words[:3]), words[4:])) for stage, words, _ in SAMPLES]
    with_it = [meaning_of(*one) for one in replies]
    without = [meaning_of(*one, rules=others) for one in replies]
    assert with_it != without


@pytest.mark.parametrize("stage", [MAIL, RCPT, DATA, DOT])
def test_every_refusal_means_something(stage: str) -> None:
    """And what is no refusal means nothing."""
    for code in range(400, 600):
        assert meaning_of(stage, Reply(code, "")) is not None
        assert meaning_of(stage, Reply(code - 200, "")) is None


@pytest.mark.parametrize("stage", [RCPT, DATA, DOT])
def test_only_what_is_said_of_the_message_fails_it(stage: str) -> None:
    """Of all enhanced codes, those of X.1, X.2, X.6 and 5.3.4; at RCPT X.4.1 and X.4.4 too."""
    failing = {
        f"{subject}.{detail}"
        for subject in range(8)
        for detail in range(30)
        if meaning_of(stage, Reply(554, f"5.{subject}.{detail} no")) is Meaning.REJECTED
    }
    expected = {f"{subject}.{detail}" for subject in (1, 2, 6) for detail in range(30)} | {"3.4"}
    expected -= {"1.7", "1.8"}
    assert failing == expected | ({"4.1", "4.4"} if stage == RCPT else set())
