"""Every metric of Reach. What counts imports it from here and does the counting itself.

Names and units follow https://prometheus.io/docs/practices/naming/. No label's values are
without bound: routes are templates, policies and outcomes are words of ours, templates are what
the installation has. Nobody's address, name or token is ever a label.

With several API processes each writes to files, which their parent adds up (see ``multiprocess``);
``multiprocess_mode`` says how a gauge is added up.
"""

import math
import time
from collections.abc import Iterable, Iterator

from prometheus_client import Counter, Gauge, Histogram, Metric

from reach.telemetry.multiprocess import SolidDict, known

SolidDict.use()  # before the first metric

#: Anyone who has not looked for so long (every 5 s is usual) does not know any more.
STALE_SECONDS = 20.0


class Known(Gauge):
    """A gauge of what somebody else knows, who may not answer: NaN is not exposed.

    Nor is what was last looked at long ago (``seen_at``, on the monotonic clock): the event loop
    that looks may hang, while threads go on answering Prometheus.
    """

    seen_at = -math.inf

    def collect(self) -> Iterable[Metric]:
        """Give the samples that are known."""
        found = known(super().collect())
        if time.monotonic() - Known.seen_at < STALE_SECONDS:
            return found
        return _without_samples(found)


def _without_samples(found: Iterable[Metric]) -> Iterator[Metric]:
    for metric in found:
        metric.samples = []
        yield metric


# HTTP

#: A sign-up takes milliseconds; a database that is unavailable is given up after some seconds.
REQUEST_SECONDS = Histogram(
    "reach_http_request_duration_seconds",
    "Time from a request's arrival to the end of its answer, by route, method and status.",
    ("route", "method", "status"),
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUESTS_IN_PROGRESS = Gauge(
    "reach_http_requests_in_progress",
    "Requests that are being answered.",
    multiprocess_mode="livesum",
)

UNREADABLE_REQUESTS = Counter(
    "reach_http_unreadable_requests_total",
    "What callers sent that is no HTTP, or too long, or too slow to come. Each was answered (400, "
    "408, 431, 501, 503, 505) and hung up on.",
)
CUT_CONNECTIONS = Counter(
    "reach_http_cut_connections_total",
    "Connections that were ended because their callers took more than a share, by reason: too-many "
    "(connections; it had waited longest), too-many-queued (requests on it), answer-not-taken, "
    "body-not-ended.",
    ("reason",),
)
for _reason in ("too-many", "too-many-queued", "answer-not-taken", "body-not-ended"):
    CUT_CONNECTIONS.labels(_reason)

# People

SIGN_UPS = Counter(
    "reach_signups_total",
    "Sign-ups, by result: new, known (the address was there already), spam, invalid, "
    "limited (429), failed (5xx).",
    ("result",),
)
PEOPLE = Known(
    "reach_people",
    "People who are signed up, by whether they have confirmed their address. From the database.",
    ("confirmed",),
    multiprocess_mode="mostrecent",
)

# The outbox: what the database holds, anyone who is asked. Gone while the database is unavailable.

OUTBOX_MESSAGES = Known(
    "reach_outbox_messages",
    "Messages in the outbox, by state. From the database.",
    ("state",),
    multiprocess_mode="mostrecent",
)
OUTBOX_OLDEST_DUE = Known(
    "reach_outbox_oldest_due_age_seconds",
    "How long the longest due message has been due, or the oldest request for a link has waited; "
    "0 if there is none. From the database.",
    (),
    multiprocess_mode="mostrecent",
)
OUTBOX_OVERDUE = Known(
    "reach_outbox_overdue_messages",
    "Queued messages that were promised more than 60 s ago, up to 10,000. From the database.",
    (),
    multiprocess_mode="mostrecent",
)
# A 0 that nobody has looked up would look as if all were well.
OUTBOX_OLDEST_DUE.set(math.nan)
OUTBOX_OVERDUE.set(math.nan)

# Delivery, by this process's worker

ATTEMPTS = Counter(
    "reach_delivery_attempts_total",
    "Attempts at delivering a message, by outcome (sent, deferred, rejected, unknown, "
    "unavailable) and class of the mail server's last reply (2xx, 4xx, 5xx, none).",
    ("outcome", "smtp_class"),
)
ATTEMPT_SECONDS = Histogram(
    "reach_delivery_attempt_duration_seconds",
    "Time that an attempt took, composing included.",
    (),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600),
)
FINISHED = Counter(
    "reach_messages_finished_total",
    "Messages that were brought to their end, by state: sent, failed, suppressed.",
    ("state",),
)
#: 60 s is what the objective "mailed within 60 s" counts by.
SENT_SECONDS = Histogram(
    "reach_promised_to_sent_seconds",
    "Time from the promise of a message (the sign-up, say) to the mail server's acceptance. Not of "
    "one that was tried, and then retried by an operator: it was late or failed before.",
    ("template",),
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400),
)
REPORTS = Counter(
    "reach_reports_total",
    "What was reported of messages after they were sent: who said so, its kind, whose fault.",
    ("source", "kind", "category"),
)


def expect_reports(source: str) -> None:
    """Count what is reported by this source from 0: a first rise from nothing is not seen."""
    for category in ("permanent", "transient", "sender", "undetermined"):
        REPORTS.labels(source, "bounced", category)
    REPORTS.labels(source, "complained", "none")


for _source in ("dsn", "bounce", "feedback-report"):
    expect_reports(_source)
LEASES_HELD = Gauge(
    "reach_leases_held", "Messages that workers hold.", (), multiprocess_mode="livesum"
)
LEASES_RECLAIMED = Counter(
    "reach_leases_reclaimed_total",
    "Messages leased again after a worker vanished while it held them.",
)
CIRCUIT_BREAKER_OPEN = Gauge(
    "reach_circuit_breaker_open",
    "1 while the circuit breaker is open or half-open: nothing is sent, or one message "
    "at a time; else 0. Of several mail servers: those of all.",
    (),
    multiprocess_mode="livemax",
)
SERVER_CIRCUIT_BREAKER_OPEN = Gauge(
    "reach_server_circuit_breaker_open",
    "1 while the circuit breaker before one mail server is open or half-open; else 0. `server` is "
    "its place in `REACH_SMTP_URLS`, from 1.",
    ("server",),
    multiprocess_mode="livemax",
)
CIRCUIT_BREAKER_OPENINGS = Counter(
    "reach_circuit_breaker_openings_total", "Times that the circuit breaker opened."
)
SLOTS = Gauge(
    "reach_worker_slots",
    "Attempts that workers can make at the same time.",
    (),
    multiprocess_mode="livesum",
)
SLOTS_BUSY = Gauge(
    "reach_worker_slots_busy",
    "Attempts under way.",
    (),
    multiprocess_mode="livesum",
)

# Webhooks

WEBHOOK_ATTEMPTS = Counter(
    "reach_webhook_attempts_total",
    "Attempts at telling a webhook, by outcome: delivered (2xx), refused (another answer), gone "
    "(410), unreachable (no answer), forbidden (it leads where nothing may be sent).",
    ("outcome",),
)
WEBHOOK_SECONDS = Histogram(
    "reach_webhook_attempt_duration_seconds",
    "Time that an attempt at telling a webhook took.",
    (),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)
WEBHOOKS_DISABLED = Counter(
    "reach_webhooks_disabled_total",
    "Webhooks that were turned off by themselves, by reason: gone (410), failing (nothing but "
    "failures for five days), secret (no key opens it).",
    ("reason",),
)
for _reason in ("gone", "failing", "secret"):
    WEBHOOKS_DISABLED.labels(_reason)
# Reports that come in as email (`reach inbound`)

INBOUND_MAILS = Counter(
    "reach_inbound_mails_total",
    "Mails that came in, by sort: dsn (RFC 3464), feedback-report (RFC 5965), bounce (without "
    "either), autoreply, other. The last two are no reports, and were dropped.",
    ("sort",),
)
INBOUND_ANSWERS = Counter(
    "reach_inbound_answers_total",
    "What mail servers that brought mail were answered, for each recipient: 250 (taken), 451 (try "
    "again: it could not be recorded), 550 (the address is none of ours), 552 (too long).",
    ("code",),
)
for _sort in ("dsn", "feedback-report", "bounce", "autoreply", "other"):
    INBOUND_MAILS.labels(_sort)
for _code in ("250", "451", "550", "552"):
    INBOUND_ANSWERS.labels(_code)
BOUNCE_MAILBOX_UNAVAILABLE = Gauge(
    "reach_bounce_mailbox_unavailable",
    "1 while the mailbox of reports (REACH_BOUNCE_MAILBOX_URL) cannot be read, else 0.",
    (),
    multiprocess_mode="livemax",
)

# Limits

LIMITER_DECISIONS = Counter(
    "reach_limiter_decisions_total",
    "Decisions of the limiter, by policy (signups, api, failed_keys, failed_links) and what was "
    "decided (admitted, refused).",
    ("policy", "decision"),
)
LIMITER_FALLBACKS = Counter(
    "reach_limiter_fallbacks_total",
    "Decisions that a process took alone because Redis was unavailable.",
)
REDIS_UNAVAILABLE = Gauge(
    "reach_redis_unavailable",
    "1 while Redis is unavailable and processes count for themselves.",
    (),
    multiprocess_mode="livemax",
)
#: Redis has 50 ms; then it counts as unavailable.
REDIS_SECONDS = Histogram(
    "reach_redis_request_duration_seconds",
    "Time that Redis took to answer.",
    (),
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1),
)

# The database

TRANSACTION_SECONDS = Histogram(
    "reach_database_transaction_duration_seconds",
    "Time that a transaction took, waiting for its turn included, by kind (read, write) and result "
    "(ok; refused: nothing was changed, on purpose; unavailable; failed).",
    ("kind", "result"),
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
GROUP_MEMBERS = Histogram(
    "reach_group_commit_members",
    "Callers that shared a commit.",
    (),
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
GROUP_SECONDS = Histogram(
    "reach_group_commit_duration_seconds",
    "Time that a shared commit took.",
    (),
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
POOL_CONNECTIONS = Gauge(
    "reach_database_pool_connections",
    "Connections to the database that a process may have (SQLite: its writer and readers).",
    (),
    multiprocess_mode="livesum",
)
POOL_BUSY = Gauge(
    "reach_database_pool_busy",
    "Transactions under way or waiting for a connection.",
    (),
    multiprocess_mode="livesum",
)

# The process

LINES_DROPPED = Counter(
    "reach_log_lines_dropped_total",
    "Lines of the log that were dropped because the program that reads it does not keep up.",
)
BUILD_INFO = Gauge(
    "reach_build_info",
    "1, for this version of Reach, on this version of Python, with this database.",
    ("version", "python", "database"),
    multiprocess_mode="livemax",
)
