"""Every line that Reach itself writes to its log. A test holds the calls against this list."""

import re
from dataclasses import dataclass
from typing import Literal

Level = Literal["debug", "info", "warning", "error", "critical"]


@dataclass(frozen=True, slots=True)
class Event:
    """A kind of line: which logger writes it, how loud, with which keywords, and what it means."""

    logger: str
    level: Level
    words: str
    fields: tuple[str, ...] = ()


def action_of(message: str) -> str:
    """Name an event as ``event.action`` does: ``worker-started`` for "worker started"."""
    return re.sub(r"[^a-z0-9]+", "-", message.lower())


_ERROR = ("error_type", "frames", "cause_type", "sqlstate")
_REQUEST = ("request_id", "method", "route", "status", "nanoseconds", "reason")
_MESSAGE = ("reach_message_id", "message_id")
_ATTEMPT = (*_MESSAGE, "outcome", "smtp_code", "enhanced_code", "nanoseconds")
_TELLING = ("reach_webhook_id", "reach_event_id", "outcome", "status", "nanoseconds")

#: By the line's message, which never changes.
EVENTS = {
    # HTTP
    "request": Event("reach.app", "info", "A request was answered.", _REQUEST),
    "request crashed": Event(
        "reach.app",
        "error",
        "A request met a fault of ours; it got a 500.",
        ("request_id", *_ERROR),
    ),
    "refused by a rate limit": Event(
        "reach.limits", "info", "So many were refused (429) in the last second.", ("count",)
    ),
    "taken for spam": Event(
        "reach.people", "info", "A form was filled in as spam is: a 202, and no email.", ("rule",)
    ),
    "asked to send again": Event(
        "reach.people",
        "info",
        "A form was not sent as people send it, but may be a person's: a 422 that says why.",
        ("rule",),
    ),
    "the last use of a key was not noted": Event(
        "reach.auth", "warning", "The database would not take it; the key works.", ("reason",)
    ),
    "an operator's sign-in failed": Event(
        "reach.console", "info", "By OpenID Connect; the page says so too.", ("reason",)
    ),
    "the OpenID provider cannot be used": Event(
        "reach.console",
        "warning",
        "It does not answer, or not as it must; API keys still sign in. `reach check` tries it.",
        ("reason",),
    ),
    "a form names an address that nobody is led to": Event(
        "reach.pages",
        "warning",
        "Its `next` is not in `REACH_RETURN_URLS`, letter by letter; whom it signed up saw a page "
        "of ours. Said once in 10 minutes.",
    ),
    "a subscription at Amazon SNS was confirmed": Event(
        "reach.reports",
        "info",
        "A topic of `REACH_BOUNCES_AMAZON_SES_TOPICS` asked whether it may send to "
        "`/v1/bounces/amazon-ses`: from now on it does.",
    ),
    # The database
    "the database file is lost": Event(
        "reach.db",
        "error",
        "SQLite: it is gone, replaced or written over; nothing is written until it is back.",
        ("reason",),
    ),
    "the database file is back": Event("reach.db", "info", "What was missing is there again."),
    "write-ahead log removed": Event(
        "reach.db", "warning", "SQLite: somebody removed -wal or -shm. Nothing is lost."
    ),
    "the database takes no writes": Event(
        "reach.db",
        "warning",
        "It can be read, and every sign-up gets a 503. Said once, until it is over.",
        ("reason",),
    ),
    "the database takes writes again": Event("reach.db", "info", "Sign-ups are stored again."),
    "no listening through a pooler": Event(
        "reach.db",
        "info",
        "The worker asks every second; `REACH_DATABASE_DIRECT_URL` would have it told at once.",
    ),
    # The network
    "an address does not answer": Event(
        "reach.network",
        "warning",
        "One address of a server's name is dead, and is tried last for ten minutes.",
        ("reason",),
    ),
    "an address answers again": Event(
        "reach.network", "info", "It is no longer tried last.", ("reason",)
    ),
    "a server cannot be reached": Event(
        "reach.network",
        "warning",
        "No address of the database, Redis or the mail server; each is named. Told once.",
        ("reason",),
    ),
    "a server is reached again": Event("reach.network", "info", "It was not before.", ("reason",)),
    # Limits
    "redis is unavailable: each process counts for itself": Event(
        "reach.limits",
        "warning",
        "Limits hold for each process alone until it is back.",
        ("reason",),
    ),
    "redis is back": Event(
        "reach.limits", "info", "Processes count together again.", ("local_decisions",)
    ),
    "redis refused, and went away": Event(
        "reach.limits", "debug", "Redis went away while it was asked why it refused.", ("reason",)
    ),
    # Delivery
    "worker started": Event("reach.worker", "info", "A worker begins.", ("worker",)),
    "worker stopped": Event("reach.worker", "info", "A worker has finished.", ("worker",)),
    "sent": Event("reach.worker", "info", "The mail server accepted a message.", _ATTEMPT),
    "not sent": Event(
        "reach.worker", "info", "An attempt failed; what follows is in the outcome.", _ATTEMPT
    ),
    "message failed": Event(
        "reach.worker", "warning", "A message is given up; an operator can retry it.", _ATTEMPT
    ),
    "messages suppressed": Event(
        "reach.worker", "info", "They were not sent: nothing is sent to their address.", ("count",)
    ),
    # What comes back
    "report recorded": Event(
        "reach.reports",
        "info",
        "A mail server, or a provider, told what became of a message after it was sent.",
        ("reach_message_id", "source", "kind", "category", "smtp_code", "enhanced_code"),
    ),
    "message cannot be composed": Event(
        "reach.worker",
        "warning",
        "Its template is broken, or may not go to this person yet: it fails at once.",
        ("reach_message_id", "reason", "template_file", "template_line", "error_type"),
    ),
    "attempt crashed": Event(
        "reach.worker", "error", "An attempt met a fault of ours.", ("reach_message_id", *_ERROR)
    ),
    "outcome recorded too late": Event(
        "reach.worker",
        "warning",
        "The lease was over: the message is another worker's, or was removed.",
        ("reach_message_id", "outcome"),
    ),
    "circuit breaker open": Event(
        "reach.worker",
        "warning",
        "A mail server is unavailable: it is given nothing until it lets us in.",
        ("server", "smtp_code"),
    ),
    "circuit breaker half-open": Event(
        "reach.worker", "info", "A mail server lets us in again.", ("server",)
    ),
    "cannot tell of the circuit breaker": Event(
        "reach.worker",
        "warning",
        "Operators see in the console a while later whether it is open.",
        ("reason",),
    ),
    "cannot lease": Event("reach.worker", "warning", "The database did not answer.", ("reason",)),
    "cannot release": Event(
        "reach.worker", "warning", "Leases run out by themselves.", ("reason",)
    ),
    "cannot renew leases": Event(
        "reach.worker", "warning", "The database did not answer.", ("reason",)
    ),
    "cannot record the outcome yet": Event(
        "reach.worker", "warning", "It is tried again until it is noted.", ("reason",)
    ),
    "cannot recall": Event("reach.worker", "warning", "It is tried again soon.", ("reason",)),
    "messages recalled": Event(
        "reach.worker",
        "warning",
        "They waited for a time that no rule sets, as of a clock that was ahead: they are due.",
        ("count",),
    ),
    "not swept": Event(
        "reach.worker",
        "warning",
        "The clock was set, or all is old: it is looked at again in an hour.",
    ),
    "cannot sweep": Event("reach.worker", "warning", "The next sweep takes it.", ("reason",)),
    "cannot fold": Event(
        "reach.worker", "warning", "Counters are right; the next fold adds them up.", ("reason",)
    ),
    "cannot keep the index of people": Event(
        "reach.worker",
        "warning",
        "People are found all the same; the next look goes on.",
        ("reason",),
    ),
    "event delivered": Event("reach.worker", "info", "A webhook was told.", _TELLING),
    "event not delivered": Event(
        "reach.worker", "info", "A webhook was not told; it is told later.", _TELLING
    ),
    "event failed": Event(
        "reach.worker", "warning", "An event is given up; an operator can replay it.", _TELLING
    ),
    "webhook disabled": Event(
        "reach.worker",
        "error",
        "A webhook was turned off: gone (410), failing (for five days), secret (no key opens it).",
        ("reach_webhook_id", "reason"),
    ),
    "webhook attempt crashed": Event(
        "reach.worker",
        "error",
        "Telling a webhook met a fault of ours.",
        ("reach_event_id", *_ERROR),
    ),
    "cannot deliver to webhooks": Event(
        "reach.worker", "warning", "The database did not answer; events wait.", ("reason",)
    ),
    "cannot tell of sign-ups": Event(
        "reach.worker", "warning", "The database did not answer; the next look tells.", ("reason",)
    ),
    "cannot answer link requests": Event(
        "reach.worker", "warning", "The database did not answer; they wait.", ("reason",)
    ),
    # The embedded mailbox
    "mailbox not written": Event(
        "reach.mailbox", "warning", "Not for want of room: see the code.", ("sqlstate",)
    ),
    "mailbox full": Event("reach.mailbox", "warning", "The disk took no more mail.", ("sqlstate",)),
    "mailbox not trimmed": Event(
        "reach.mailbox", "warning", "Old mail could not be removed.", ("sqlstate",)
    ),
    "mailbox failed": Event(
        "reach.mailbox", "error", "The mailbox met a fault of ours.", ("error_type",)
    ),
    "mailbox caller hung up": Event(
        "reach.mailbox", "debug", "A sender left in the middle.", ("error_type",)
    ),
    "mail unreadable": Event(
        "reach.mailbox", "info", "A mail is shown as it came: it cannot be parsed.", ("error_type",)
    ),
    # Reports that come in as email
    "inbound started": Event(
        "reach.inbound", "info", "Mail servers can hand over reports.", ("port",)
    ),
    "inbound stopped": Event("reach.inbound", "info", "Every mail that came is answered."),
    "a report was not recorded": Event(
        "reach.inbound",
        "warning",
        "The database is unavailable; who brought it was asked to come again.",
        ("reason",),
    ),
    "inbound failed": Event(
        "reach.inbound", "error", "A mail met a fault of ours; it is to come again.", _ERROR
    ),
    "inbound caller hung up": Event(
        "reach.inbound", "debug", "A mail server left in the middle.", ("error_type",)
    ),
    "the bounce mailbox cannot be read": Event(
        "reach.inbound",
        "warning",
        "It is tried again, less and less often. Told once, until it is over.",
        ("reason",),
    ),
    "the bounce mailbox is read again": Event("reach.inbound", "info", "It was not before."),
    "the bounce mailbox was read": Event(
        "reach.inbound", "info", "So many mails were new in it.", ("count",)
    ),
    # Starting, stopping, files
    "api started": Event("reach", "info", "The API takes requests.", ("port",)),
    "api stopped": Event("reach", "info", "The API has finished."),
    "metrics served": Event("reach", "info", "Metrics can be scraped.", ("port",)),
    "scrape failed": Event("reach", "error", "A request for metrics met a fault.", _ERROR),
    "no room for what is counted": Event(
        "reach",
        "warning",
        "The disk of temporary files is full: this process's numbers are missing in `/metrics`.",
        ("path",),
    ),
    "starting without the database": Event(
        "reach", "warning", "It is unavailable; it may come later.", ("reason",)
    ),
    "waiting for the database": Event(
        "reach", "warning", "The process begins when it answers.", ("reason",)
    ),
    "event loop stuck": Event(
        "reach",
        "critical",
        "It stood still for 10 s: this process of several ends, and is replaced.",
    ),
    "process silent": Event(
        "reach",
        "critical",
        "One of several processes answers its parent no more, or ends too late: it is ended.",
        ("child_pid",),
    ),
    "process replaced": Event(
        "reach", "warning", "One of several processes ended: another one starts.", ("child_pid",)
    ),
    "crashed": Event("reach", "critical", "The process ends by a fault of ours.", _ERROR),
    "traces are not taken": Event(
        "reach.traces",
        "warning",
        "The collector is unavailable, or refuses: spans are lost, no mail.",
    ),
    "traces are taken again": Event("reach.traces", "info", "The collector takes spans again."),
    "lines dropped": Event(
        "reach.logs",
        "warning",
        "So many lines were lost: the log's reader was too slow.",
        ("count",),
    ),
    "what was deleted stays in the write-ahead log until it can be emptied": Event(
        "reach.db", "warning", "A reader is in the way; it is tried again."
    ),
    "data directory is open to others": Event(
        "reach.runtime.data_dir", "warning", "Others can read what is stored.", ("path", "remedy")
    ),
    "key file was open to others": Event(
        "reach.runtime.data_dir", "warning", "Others could have read the key.", ("path", "remedy")
    ),
}
