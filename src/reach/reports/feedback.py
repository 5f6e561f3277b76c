"""Reads feedback reports (RFC 5965): somebody marked an email of ours as spam."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reach.reports.addresses import one_in, typed
from reach.reports.model import Verdict
from reach.reports.parts import Fields, Mail, Part, fields, first

TYPE = "message/feedback-report"
HAS_TYPE = re.compile(r"^Feedback-Type[ \t]*:", re.IGNORECASE | re.MULTILINE)
#: Recipients said that they do not want such an email. What is not listed is no complaint:
#: ``not-spam`` (RFC 6430), ``auth-failure`` (RFC 6591), ``dmarc``.
COMPLAINTS = {"abuse", "fraud", "virus", "other", "spam", "phishing", "opt-out", "opt-out-list"}
#: What stands in the place of an address that the reporter keeps to itself (RFC 6590).
REDACTED = re.compile(
    r"(redacted|removed|hidden|anonymous|undisclosed|unknown|nobody|x+|\*+)@", re.IGNORECASE
)
#: Outlook.com sends the message alone, with this header put in, and such a subject.
OUTLOOK, SUBJECT = (
    "x-hmxmroriginalrecipient",
    re.compile(r"complaint about message from", re.IGNORECASE),
)
RECIPIENTS = 20


@dataclass(frozen=True)
class Complaint:
    """What a feedback report says: no verdict, if it is none; and what leads to the message."""

    verdicts: tuple[Verdict, ...] = ()
    sender: str | None = None
    envelope_ids: Sequence[str] = ()


def found(mail: Mail) -> Complaint | None:
    """Find and read the feedback report in an email; None if there is none."""
    if (report := _report(mail)) is not None:
        return _complaint(report, mail)
    if (recipient := _outlook(mail)) is not None:
        return Complaint((Verdict("complained", recipient=recipient, text="abuse"),))
    return Complaint() if mail.report_type == "feedback-report" else None


def _report(mail: Mail) -> Fields | None:
    """Find its fields: in a part of its type, in one that looks like it, or in the headers."""
    named = (part for part in mail.parts if part.type == TYPE)
    looks = (part for part in mail.parts if part.type == "text/plain" and _looks(part, mail))
    part = next(named, next(looks, None))
    if part is not None:
        text = part.text if HAS_TYPE.search(part.text) else part.raw.decode("utf-8", "replace")
        return fields(text)
    return mail.headers if first(mail.headers, "feedback-type") else None


def _looks(part: Part, mail: Mail) -> bool:
    match = HAS_TYPE.search(part.text)
    is_declared = mail.report_type == "feedback-report"
    return match is not None and (is_declared or not part.text[: match.start()].strip())


def _complaint(report: Fields, mail: Mail) -> Complaint:
    kind = re.match(r"[\w-]*", (first(report, "feedback-type") or "").lower())
    word = kind[0] if kind else ""
    sender = first(report, "original-mail-from")
    envelope = [value for name, value in report if name == "original-envelope-id"]
    path = one_in(sender) if sender else None
    if word not in COMPLAINTS:
        return Complaint((), path, envelope)
    named = _recipients(report) or [_outlook(mail)]
    verdicts = (Verdict("complained", recipient=one, text=word) for one in named[:RECIPIENTS])
    return Complaint(tuple(verdicts), path, envelope)


def _recipients(report: Fields) -> list[str | None]:
    names = {"original-rcpt-to", "original-recipient"}
    every = (typed(value) for name, value in report if name in names)
    return [*dict.fromkeys(one for one in every if one and not REDACTED.match(one))]


def _outlook(mail: Mail) -> str | None:
    subject = first(mail.headers, "subject") or ""
    for part in mail.parts:
        head = part.text.partition("\n\n")[0] if part.type == "message/rfc822" else ""
        value = first(fields(head), OUTLOOK) or first(part.headers, OUTLOOK)
        if value and SUBJECT.search(subject):
            return one_in(value)
    return None
