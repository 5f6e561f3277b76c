"""What a bounce is about: words decide, then codes; what is about us is never permanent."""

from typing import get_args

import pytest

from reach.reports.classify import category, rule_of
from reach.reports.enhanced_codes import REGISTRY, category_of
from reach.reports.model import Category
from reach.reports.rules import RULES

PERMANENT, TRANSIENT, SENDER, UNDETERMINED = get_args(Category)

#: Code, enhanced code, words, category. Each rule has some; made up after what servers write.
SAID: tuple[tuple[int | None, str, str, Category], ...] = (
    (450, "4.7.1", "Greylisted, see http://postgrey.example/help", TRANSIENT),
    (451, "", "gray-listing in effect", TRANSIENT),
    (550, "5.1.0", "Sender address rejected: User unknown in virtual mailbox table", SENDER),
    (550, "5.1.8", "Access denied, bad outbound sender", SENDER),
    (550, "5.7.1", "Your account has been suspended for sending spam", SENDER),
    (554, "5.2.0", "STOREDRV.Submission.Exception:SendAsDeniedException", SENDER),
    (554, "5.7.1", "Client host [192.0.2.1] blocked using zen.lists.example", SENDER),
    (550, "5.1.1", "Mail from 192.0.2.1 is on our blacklist", SENDER),
    (421, "4.7.0", "[TSS04] temporarily deferred", SENDER),
    (550, "", "Your IP address 192.0.2.1 has a poor reputation", SENDER),
    (
        550,
        "5.7.26",
        "Unauthenticated email is not accepted due to the domain's DMARC policy",
        SENDER,
    ),
    (554, "", "Bad DNS PTR resource record", SENDER),
    (530, "5.7.0", "Must issue a STARTTLS command first", SENDER),
    (421, "4.7.28", "unusual rate of mail originating from your SPF domain", SENDER),
    (550, "5.4.5", "Daily user sending limit exceeded", SENDER),
    (552, "5.3.4", "Message size exceeds fixed maximum message size", SENDER),
    (550, "5.2.3", "message too large for this recipient", SENDER),
    (552, "", "mailbox size limit exceeded", TRANSIENT),
    (550, "5.0.0", "mailbox for user is full", TRANSIENT),
    (552, "5.2.2", "user is over quota", TRANSIENT),
    (554, "5.2.2", "Message would exceed quota", TRANSIENT),
    (450, "4.2.1", "The user you are trying to contact is receiving mail too quickly", TRANSIENT),
    (550, "5.2.1", "mailbox temporarily disabled", TRANSIENT),
    (550, "5.1.1", "User unknown", PERMANENT),
    (554, "5.7.1", "user unknown in relay recipient table", PERMANENT),
    (550, "", "No such user here", PERMANENT),
    (550, "", "sorry, no mailbox here by that name", PERMANENT),
    (550, "5.0.0", "Invalid Recipient", PERMANENT),
    (550, "", "Requested action not taken: mailbox unavailable", PERMANENT),
    (450, "", "Requested action not taken: mailbox unavailable", TRANSIENT),
    (450, "4.1.1", "unverified address: user unknown", TRANSIENT),
    (550, "", "unrouteable address", PERMANENT),
    (550, "5.4.1", "Recipient address rejected: Access denied", PERMANENT),
    (554, "5.7.1", "Recipient address rejected: Access denied", SENDER),
    (550, "5.2.1", "The email account that you tried to reach is inactive", PERMANENT),
    (None, "5.4.4", "Host or domain name not found. type=A: Host not found", PERMANENT),
    (
        None,
        "4.4.3",
        "Name service error for name=example.net: Host not found, try again",
        TRANSIENT,
    ),
    (550, "5.4.7", "Delivery time expired", TRANSIENT),
    (None, "5.0.0", "retry timeout exceeded", TRANSIENT),
    (None, "", "connect to mx: Connection timed out", TRANSIENT),
    (554, "5.4.6", "mail loop: too many hops", TRANSIENT),
    (550, "5.7.1", "This message looks like spam", SENDER),
    (554, "", "rejected for policy reasons", SENDER),
    (550, "", "relaying denied", SENDER),
    (550, "5.5.0", "please try again later", TRANSIENT),
    # What only looks as if it were about the recipient.
    (550, "5.6.0", "Email header is invalid", SENDER),
    (550, "5.7.1", "IP address 192.0.2.1 is not found in the directory", SENDER),
    (550, "5.4.7", "to address [192.0.2.1]: message expired; connection closed", TRANSIENT),
    (554, "5.3.0", "user agent: unknown error", UNDETERMINED),
    # Words that no rule knows.
    (451, "", "no", TRANSIENT),
    (451, "5.1.1", "no", TRANSIENT),
    (550, "5.1.1", "no", PERMANENT),
    (550, "5.7.999", "no", SENDER),
    (550, "5.4.999", "no", TRANSIENT),
    (550, "5.1.999", "no", UNDETERMINED),
    (556, "", "no", PERMANENT),
    (552, "", "no", TRANSIENT),
    (571, "", "no", SENDER),
    (550, "", "no", UNDETERMINED),
    (None, "", "", UNDETERMINED),
    # Names are no words.
    (550, "5.1.1", "<spam@blacklist.policy.example>: no", PERMANENT),
    (550, "5.1.1", "see https://example.org/full/mailbox-is-full", PERMANENT),
)


@pytest.mark.parametrize(("code", "enhanced", "text", "expected"), SAID)
def test_what_was_said_is_about(
    code: int | None, enhanced: str, text: str, expected: Category
) -> None:
    """Its category, in any case of its letters."""
    for one in (text, text.upper() if "@" not in text and "://" not in text else text):
        assert category(code, one, enhanced) == expected, rule_of(code, enhanced, one)


def test_every_rule_is_needed() -> None:
    """Each decides about something that is said above."""
    used = {id(rule_of(code, enhanced, text)) for code, enhanced, text, _ in SAID}
    assert [rule.reason for rule in RULES if id(rule) not in used] == []
    assert all(rule.reason and rule.source for rule in RULES)


def test_the_second_code_counts_where_the_first_says_nothing() -> None:
    """``Status`` beside a reply that says 5.0.0; never above one that says something."""
    assert category(550, "no", "5.0.0", "5.1.1") == PERMANENT
    assert category(550, "no", "5.7.1", "5.1.1") == SENDER
    assert category(550, "no", None, "5.2.2") == TRANSIENT


def test_the_registry_is_whole_and_never_blames_the_recipient_for_us() -> None:
    """Of security and content only what tells of another owner is permanent."""
    counts = {subject: sum(c.startswith(f"{subject}.") for c in REGISTRY) for subject in range(8)}
    assert counts == {0: 1, 1: 11, 2: 5, 3: 7, 4: 8, 5: 7, 6: 11, 7: 31}
    ours = [code for code in REGISTRY if code[0] in "67" and category_of(f"5.{code}") != SENDER]
    assert ours == ["7.17", "7.18"]
    assert {category_of(f"4.{code}") for code in REGISTRY} == {TRANSIENT, SENDER}
    assert category_of("2.1.5") == UNDETERMINED
