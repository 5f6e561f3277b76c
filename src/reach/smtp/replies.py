"""What a mail server's reply means, as data: the first rule that fits a reply decides.

A 5yz fails a message only where the server says that it is about that message. What is about us,
our rate or our configuration never does: RFC 5321 §4.2.1 leaves it to the client what "permanent"
is about, and servers say most of what they hold against a *client* or a *sender* in answer to RCPT.

``docs/guides/mail-servers.md`` shows this table; ``make reference`` writes it.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from reach.smtp.connection import ENHANCED, Reply

MAIL, RCPT, DATA, DOT = "MAIL FROM", "RCPT TO", "DATA", "final dot"
ANY = (MAIL, RCPT, DATA, DOT)
#: Where a reply can be about the message.
HEARD = (RCPT, DATA, DOT)

#: qmail's way to say an enhanced code: ``sorry, no mailbox here by that name. (#5.1.1)``
HASHED = re.compile(r"#([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])")


class Meaning(Enum):
    """What a reply means. The value says what becomes of the message."""

    SESSION_OVER = "goes on at once on another connection; no attempt is spent"
    UNAVAILABLE = "waits, and so do all others, until the server lets us in; no attempt is spent"
    TOO_MUCH = "waits, and so do all others, for a while; then fewer are sent at a time"
    DEFERRED = "is tried again, later and later, for 4 days"
    REJECTED = "fails at once"
    SUSPECT = (
        "is tried again later. A second such message to somebody else, with none sent between "
        "them, means us: then all wait, and no attempt is spent. One that is answered so for "
        "24 hours while others are sent fails"
    )


@dataclass(frozen=True)
class Rule:
    """Which replies have a meaning, why, and who says so.

    ``codes`` and ``enhanced`` are regular expressions that match the whole reply code and enhanced
    code; one of ``words``, expressions too, begins a word somewhere in the text, in any case. An
    ``enhanced`` that matches "" fits replies without such a code; None fits any, as do no words.
    """

    stages: Collection[str]
    codes: str
    meaning: Meaning
    reason: str
    source: str
    enhanced: str | None = None
    words: tuple[str, ...] = ()

    def fits(self, stage: str, code: int, enhanced: str, text: str) -> bool:
        """Whether this is such a reply."""
        return (
            stage in self.stages
            and re.fullmatch(self.codes, str(code)) is not None
            and (self.enhanced is None or re.fullmatch(self.enhanced, enhanced) is not None)
            and self._words.search(text) is not None
        )

    @cached_property
    def _words(self) -> re.Pattern[str]:
        return re.compile("|".join(rf"\b(?:{one})" for one in self.words), re.IGNORECASE)


#: In order. Who adds a rule says where such a reply was documented or seen.
RULES: tuple[Rule, ...] = (
    Rule(
        ANY,
        "45.",
        Meaning.SESSION_OVER,
        "As many messages or recipients as the server takes in one session. In answer to the first "
        "message of a session it means that we send too much",
        "RFC 3463 §3.5, §3.6 (X.4.5, X.5.3); Stalwart: 452 4.4.5 to the eleventh message",
        enhanced=r"4\.4\.5|4\.5\.3",
    ),
    Rule(
        ANY,
        "[45]..",
        Meaning.SESSION_OVER,
        "The same, in words",
        "Exim: 421 too many messages in this connection; KumoMTA: max_messages_per_connection",
        enhanced=r"|[45]\.[03-9]\.\d+",
        words=(
            r"(messages|e-?mails|mails|recipients)\b.*\b(this|per|one|a|the) (smtp )?session",
            r"(messages|e-?mails|mails|recipients)\b.*\b(this|per|one|a|the) (smtp )?connection",
        ),
    ),
    Rule(
        ANY,
        "[45]..",
        Meaning.TOO_MUCH,
        "Too many messages in a second, an hour or a day, by the enhanced code",
        "Gmail: 550 5.4.5 Daily user sending limit exceeded, 421 4.7.28; Exchange Online: 5.1.90, "
        "5.7.232, 5.7.233, daily limits of recipients",
        enhanced=r"5\.4\.5|[45]\.7\.28|5\.1\.90|5\.7\.23[23]",
    ),
    Rule(
        ANY,
        "[45]..",
        Meaning.TOO_MUCH,
        "The same, in words; but for what says that the recipient gets too much (X.1.z, X.2.z)",
        "Mailtrap: 550 5.7.0 too many emails per second; Amazon SES: 454 Throttling failure: Daily "
        "message quota exceeded; Postfix: 450 4.7.1 Error: too much mail from; Exchange Online: "
        "432 4.3.2 Concurrent connections limit exceeded; cPanel: 550 Domain has exceeded the max "
        "defers and failures per hour; SendGrid: 451 Maximum credits exceeded",
        enhanced=r"|[45]\.[03-9]\.\d+",
        words=(
            "too many (new |concurrent )*(e-?mails|mails|messages|requests|sessions)",
            "too many (concurrent )?(smtp )?connections",
            "too many recipients from",
            "too much mail",
            "throttl",
            "rate[- ]?limit",
            "(sending|messages?|e-?mails?) (rate|quota|limits?)",
            "(daily|hourly|monthly) [a-z ]*(limit|quota)",
            "(messages|e-?mails?|mails) per (second|minute|hour|day)",
            "exceeded the max",
            "(send|messaging|thread|concurrent connections?) limits?",
            "credits exceeded",
        ),
    ),
    Rule(
        ANY,
        "[45]..",
        Meaning.TOO_MUCH,
        "The same, under a code that others use for mailboxes",
        "Gmail: 450 4.2.1 Peak SMTP relay limit exceeded for customer; Exchange Online: 5.2.2 "
        "Submission quota exceeded, 554 5.2.0 STOREDRV.Submission: SubmissionQuotaExceeded",
        words=("relay limit", "submission ?quota"),
    ),
    Rule(
        ANY,
        "421|530|534|535|538",
        Meaning.UNAVAILABLE,
        "The server closes, or wants a login that we did not give",
        "RFC 5321 §3.8 (421); RFC 4954 §6 (530, 534, 535, 538)",
    ),
    Rule(
        (MAIL,),
        "[45]..",
        Meaning.UNAVAILABLE,
        "It is about our own address, or about this client: no recipient has been named yet",
        "RFC 5321 §3.3; Postfix: 452 4.3.1 Insufficient system storage",
    ),
    Rule(
        HEARD,
        "4..",
        Meaning.DEFERRED,
        "Greylisting, of whatever it speaks",
        "RFC 6647; Postfix with postgrey: 450 4.7.1 Client host rejected: Greylisted",
        words=("gr[ea]y[- ]?list",),
    ),
    Rule(
        HEARD,
        "[45]..",
        Meaning.SUSPECT,
        "The address that is wrong is the sender's: ours",
        "RFC 3463 §3.2 (X.1.7, X.1.8); Exchange Online: 5.2.252 SendAsDenied",
        enhanced=r"[45]\.1\.[78]|5\.2\.252",
    ),
    Rule(
        HEARD,
        "[45]..",
        Meaning.SUSPECT,
        "The same, in words, under a code that others use for recipients",
        "Postfix, smtpd_reject_unlisted_sender: 550 5.1.0 Sender address rejected: User unknown in "
        "virtual mailbox table; Exchange: 554 5.1.0 Sender denied; Exchange Online: 554 5.2.0 "
        "STOREDRV.Submission.Exception:SendAsDeniedException, OutboundSpamException",
        words=("sender (address )?(rejected|denied)", r"storedrv\.(client)?submi"),
    ),
    Rule(
        HEARD,
        "4..|55[0134]",
        Meaning.SUSPECT,
        "Relaying, the sender, the client or its login is refused, whatever the code",
        "Postfix, which says all of that at RCPT: 454 4.7.1 Relay access denied, 553 5.7.1 Sender "
        "address rejected: not owned by user; Exim: 550 relay not permitted; qmail: 553 sorry, "
        "that domain isn't in my list of allowed rcpthosts (#5.7.1)",
        enhanced=r"|[45]\.[034579]\.\d+",
        words=(
            "relaying",
            "relay (access )?(denied|not|is not)",
            "(to|not) relay",
            "rcpthosts",
            "sender (verif|is not|not)",
            "(client host|helo command) rejected",
            "not (authenticated|verified)",
            "authenticat(e|ion) (is )?(required|first)",
            "(your|client|sending) (ip|host|server)",
            "(black|block)(list|ed using)",
            "prohibit",
            "(?<!rejected: )access denied",
        ),
    ),
    Rule(
        HEARD,
        "4..",
        Meaning.DEFERRED,
        "Not now: a full mailbox, a busy server",
        "RFC 5321 §4.2.1, §4.5.4.1",
    ),
    Rule(
        HEARD,
        "5..",
        Meaning.REJECTED,
        "This address, this mailbox, the size of this message, or its form",
        "RFC 3463 §3.2, §3.3 (X.1.z, X.2.z), §3.4 (X.3.4), §3.7 (X.6.z)",
        enhanced=r"5\.1\.\d+|5\.2\.\d+|5\.3\.4|5\.6\.\d+",
    ),
    Rule(
        (RCPT,),
        "5..",
        Meaning.REJECTED,
        "No way leads to the recipient's domain, or its directory does not know the address",
        "RFC 3463 §3.5 (X.4.4); Exchange Online: 550 5.4.1 Recipient address rejected",
        enhanced=r"5\.4\.[14]",
    ),
    Rule(
        HEARD,
        "552",
        Meaning.REJECTED,
        "A full mailbox, by a server that says no enhanced codes",
        "RFC 5321 §4.2.3",
        enhanced="",
        words=("mailbox", "storage", "full"),
    ),
    Rule(
        (RCPT,),
        "550|551|553",
        Meaning.SUSPECT,
        "The sender or the client is refused, by a server that says no enhanced codes",
        "Exim's configure.default: 550 rejected because 192.0.2.1 is in a black list at; SendGrid: "
        "550 Unauthenticated senders not allowed; Exim, cPanel: 550 AUTH is required, Bad HELO",
        enhanced="",
        words=(
            "senders?",
            "(un)?auth",
            "(helo|ehlo)",
            "(black|block)[- ]?list",
            "(dnsbl|rbl|spamhaus|spam)",
            "listed (at|in|by|on)",
            "blocked (at|by|using|-)",
            "(reverse dns|rdns|ptr)",
            "(spf|dkim|dmarc)",
            "(allowed|permitted) to (send|use)",
            "(policy|reputation)",
        ),
    ),
    Rule(
        (RCPT,),
        "550|551|553",
        Meaning.REJECTED,
        "No such mailbox, by a server that says no enhanced codes",
        "RFC 5321 §4.2.3",
        enhanced="",
    ),
    Rule(
        HEARD,
        "5..",
        Meaning.SUSPECT,
        "Policy, reputation, an account that may not send, and whatever does not say whom it means",
        "RFC 3463 §3.8 (X.7.z); Amazon SES: 554 Message rejected: Email address is not verified",
    ),
)


def meaning_of(stage: str, reply: Reply, rules: Sequence[Rule] = RULES) -> Meaning | None:
    """Say what a refusal at ``stage`` means; None of a reply that is no refusal (not 4yz, 5yz)."""
    rule = rule_of(stage, reply, rules)
    return None if rule is None else rule.meaning


def rule_of(stage: str, reply: Reply, rules: Sequence[Rule] = RULES) -> Rule | None:
    """Find the rule that decides what a refusal at ``stage`` means."""
    code, text = reply
    found = ENHANCED.match(text) or HASHED.search(text)
    enhanced = (found[1] if found and found.re is HASHED else found[0]) if found else ""
    return next((rule for rule in rules if rule.fits(stage, code, enhanced, text)), None)
