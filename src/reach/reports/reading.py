"""Reads an email that came back: what it is, and what it says of which message.

    read(mail)
    ├── a part that is a delivery status notification    dsn              dsn.py
    ├── a part that is a feedback report                 feedback-report  feedback.py
    ├── a mail server's failure in words alone           bounce           bounces.py
    ├── somebody's absence, or that it was read          autoreply        autoreplies.py
    └── anything else                                    other

Nothing of the email is kept but what a ``Report`` holds. It never raises, whatever the bytes are,
and looks at so many parts, and so much of each, as a report has (``parts.py``).
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from reach.reports import bounces, dsn, feedback
from reach.reports.addresses import return_path
from reach.reports.autoreplies import is_autoreply
from reach.reports.ids import Returned, ids_of, returned_in
from reach.reports.model import Clues, Report, Verdict
from reach.reports.parts import Mail, split
from reach.reports.texts import text_of

Sort = Literal["dsn", "feedback-report", "bounce", "autoreply", "other"]
SORTS: tuple[Sort, ...] = get_args(Sort)


@dataclass(frozen=True, slots=True)
class Reading:
    """What an email is, and what it reports; None if it reports nothing that we act on."""

    sort: Sort
    report: Report | None = field(default=None, repr=False)


def read(mail: bytes, recipient: str | None = None) -> Reading:
    """Read an email; ``recipient`` is to whom it was sent, if that is known."""
    parted = split(mail)
    text = text_of(parted)
    if (part := dsn.status_part(parted)) is not None:
        own, envelope = dsn.envelope_ids(part)
        clues = _clues(parted, text, recipient, own=own, envelope=envelope)
        verdicts = dsn.verdicts(part, text) or bounces.verdicts(parted, text, None)
        return _reading("dsn", clues, verdicts)
    if (complaint := feedback.found(parted)) is not None:
        returned = returned_in(parted, "")
        path = (complaint.sender, recipient, returned.return_path)
        ids = ids_of(parted, returned, envelope=complaint.envelope_ids)
        clues = Clues(return_path(parted.headers, *path), ids)
        return _reading("feedback-report", clues, complaint.verdicts)
    if is_autoreply(parted) and not bounces.is_certain(parted, text):
        return Reading("autoreply")
    if bounces.is_bounce(parted, text):
        clues = _clues(parted, text, recipient)
        returned = returned_in(parted, text)
        return _reading("bounce", clues, bounces.verdicts(parted, text, returned.recipient))
    return Reading("other")


def _reading(sort: Sort, clues: Clues, verdicts: tuple[Verdict, ...]) -> Reading:
    return Reading(sort, Report(sort, clues, verdicts) if verdicts else None)


def _clues(
    mail: Mail,
    text: str,
    recipient: str | None,
    *,
    own: list[str] | None = None,
    envelope: list[str] | None = None,
) -> Clues:
    """Gather what says which message it is about."""
    returned: Returned = returned_in(mail, text)
    path = return_path(mail.headers, recipient, returned.return_path)
    return Clues(path, ids_of(mail, returned, own=own or (), envelope=envelope or ()))
