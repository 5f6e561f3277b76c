"""Bounces that are no delivery status notification: known by their headers, read in their words.

qmail, Exim before 4.86, Sendmail before 8.9, Domino, and gateways write those.
"""

import re

from reach.reports.addresses import all_in, one_in, readable
from reach.reports.dsn import Group, judged
from reach.reports.model import Verdict
from reach.reports.parts import Mail, first, words
from reach.reports.texts import for_people

FAILED = "x-failed-recipients"
DAEMON = re.compile(
    r"mailer[-_]?daemon|postmaster|mail[-_ ]?daemon|mdaemon|mail ?delivery|mail administrator"
    r"|delivery (?:sub)?system",
    re.IGNORECASE,
)
SUBJECT = re.compile(
    r"undeliver|not deliver|failure notice|mail(?: delivery)? fail|"
    r"delivery (?:status )?(?:notif|fail|"
    r"report|problem|error|delay)|returned (?:mail|to sender)|return(?:ing|"
    r"ed) (?:message|mail) to sender"
    r"|mail (?:system )?error|delivery has failed|non[- ]?deliver|message (?:could not|cannot|not)|"
    r"nondeliverable|mail not delivered|could ?n.t be delivered|delayed|warning: |mail returned|"
    r"unzustellbar|zustellung|non remis|non recapit|no se puede entregar|onbestelbaar|"
    r"n[ãa]o (?:é poss[íi]vel entregar|entregue)|niedostarcz|bounce|rejected",
    re.IGNORECASE,
)
TEXT = re.compile(
    r"qmail-send|could ?(?:not|n't) be (?:delivered|sent)|un(?:able to )?deliver|"
    r"delivery .{0,40}fail|"
    r"fail.{0,40}deliver|returned to (?:the )?sender|fatal errors?|did not reach|"
    r"(?:was|were|has been|wasn't|not) ?(?:not )?(?:been )?delivered|cannot (?:be )?deliver|"
    r"^\s*(?:[45]\d\d[ -]|<[^<>\s]{3,200}>:)|still being retried|(?:not yet|yet) been delivered",
    re.IGNORECASE | re.MULTILINE,
)
DELAYED = re.compile(
    r"still (?:being retried|trying)|will (?:be retried|keep trying|continue|try again|retry)|"
    r"warning (?:message )?only|delivery .{0,30}delay|(?:message|mail|delivery) .{0,30}delayed|"
    r"not yet been delivered|temporary failure report|do not need to resend",
    re.IGNORECASE,
)
LINE = re.compile(
    r"^[ \t]*<?([^<>\s@:]{1,128}@[^<>\s@:,;]{1,255})>?[ \t]*(?::|\.\.\.|$)", re.MULTILINE
)
RECIPIENTS = 20


def is_certain(mail: Mail, text: str) -> bool:
    """Whether it is a mail server's, not what somebody's program answers."""
    if first(mail.headers, FAILED) is not None or mail.report_type == "delivery-status":
        return True
    has_words = SUBJECT.search(_subject(mail)) or TEXT.search(text[:8000])
    return has_words is not None and _is_from_daemon(mail)


def is_bounce(mail: Mail, text: str) -> bool:
    """Whether a mail server says that it gave an email up, or cannot deliver it yet."""
    if is_certain(mail, text):
        return True
    is_null = (first(mail.headers, "return-path") or "").strip() == "<>"
    has_words = SUBJECT.search(_subject(mail)) and TEXT.search(text[:8000])
    return is_null and has_words is not None


def verdicts(mail: Mail, text: str, returned_to: str | None) -> tuple[Verdict, ...]:
    """Judge each recipient that is named; one without a name, if nobody is."""
    told = readable(for_people(text))
    is_late = DELAYED.search(f"{_subject(mail)}\n{told[:8000]}") is not None
    action = "delayed" if is_late else "failed"
    groups = [
        Group({"action": [action], **({"final-recipient": [f"rfc822;{one}"]} if one else {})})
        for one in _recipients(mail, told, returned_to)
    ]
    return judged(groups, told)


def _recipients(mail: Mail, told: str, returned_to: str | None) -> list[str | None]:
    listed = first(mail.headers, FAILED)
    if listed and (named := all_in(readable(listed))):
        return [*named[:RECIPIENTS]]
    own = {
        address.casefold()
        for name in ("to", "from", "delivered-to", "x-original-to")
        if (address := one_in(first(mail.headers, name) or ""))
    }
    named = [one for one in all_in(told) if one.casefold() not in own and not DAEMON.match(one)]
    heads = {one.casefold() for one in LINE.findall(told)}
    alone = [one for one in named if one.casefold() in heads]
    if alone:
        return [*alone[:RECIPIENTS]]
    if returned_to and (not named or returned_to.casefold() in {one.casefold() for one in named}):
        return [returned_to]
    return [*named[:1]] or [returned_to]


def _is_from_daemon(mail: Mail) -> bool:
    sender = words(first(mail.headers, "from") or "")
    return not sender.strip() or sender.strip() == "<>" or DAEMON.search(sender) is not None


def _subject(mail: Mail) -> str:
    return words(first(mail.headers, "subject") or "")
