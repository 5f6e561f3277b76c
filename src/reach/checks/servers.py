"""Whether the servers that the settings name answer, and let us do what we need."""

import asyncio

from redis.exceptions import RedisError

from reach.checks.finding import Finding
from reach.db.connect import open_database
from reach.db.errors import DatabaseUnavailable, HalfCopied, NoDatabase, ReadOnlyDatabase
from reach.db.migrate import newest, require_database, revision
from reach.limits.limiter import require_one_count
from reach.limits.redis import Line, reason_of
from reach.messages.outcome import Unavailable
from reach.people import stats
from reach.problems import ServiceUnavailable
from reach.settings import BadSettings, Settings
from reach.settings.urls import parse_mailbox
from reach.smtp.sender import Sender
from reach.smtp.session import MAIL

PROBE_SECONDS = 10
#: Beyond it a window of a minute is no minute.
MOST_SKEW_SECONDS = 1.0
#: A worker that runs and a mail server that answers leave nothing due for this long.
MOST_DUE_SECONDS = 300
NO_WRITES = (
    "Every sign-up is answered 503 until it does. Of a standby: name the primary in "
    "REACH_DATABASE_URL, or all servers (?host=a:5432&host=b:5432): the one that takes writes is "
    "found. Else look at default_transaction_read_only, and for room on the disk."
)
LATE = "Is a worker running (`reach worker`)? If one is, its log says what keeps it: a paused lane?"
FAILED = (
    "GET /v1/messages?state=failed shows why they failed; POST /v1/messages/{id}/retry tries one "
    "again, POST /v1/messages/retry all of them."
)


async def check_database(settings: Settings) -> Finding:
    """Whether the database answers, with which schema, and takes writes."""
    database = open_database(settings)
    try:
        await database.read(require_database)
        found = await database.read(revision)
        if (found or "") >= newest():
            await database.require_writes()
    except ReadOnlyDatabase as refused:
        return Finding("database", f"answers, but takes no writes. {refused.reason}", NO_WRITES)
    except NoDatabase as missing:
        words, remedy = missing.told(settings), missing.remedy(settings)
        return Finding("database", words, remedy, is_misconfigured=True)
    except HalfCopied as half:
        return Finding("database", f"{half.title}.", half.detail or "")
    except DatabaseUnavailable as away:
        remedy = "Is it up, and reached from here? Then check REACH_DATABASE_URL."
        return Finding("database", f"does not answer. {away.detail or ''}".strip(), remedy)
    finally:
        await database.close()
    if (found or "") < newest():
        return Finding("database", f"schema {found}", "Run `reach migrate`.")
    return Finding("database", f"answers, takes writes, schema {found}")


async def check_direct_database(settings: Settings) -> Finding:
    """Whether what goes to Postgres itself gets there, if the database is behind a pooler."""
    if settings.database.is_sqlite:
        return Finding("direct database", "not needed: a file has no pooler")
    from reach.db import postgres_direct  # noqa: PLC0415 - one driver is enough

    found = await postgres_direct.look(settings)
    if found is None:  # check_database says so
        return Finding("direct database", "not known", is_well=False)
    return Finding("direct database", *found)


async def check_outbox(settings: Settings) -> Finding:
    """Whether messages leave; and how many there are of what."""
    database = open_database(settings)
    try:
        found = await database.read(stats.read, settings)
    except ServiceUnavailable:  # check_database says so
        return Finding("outbox", "not known", is_well=False)
    finally:
        await database.close()
    by_state, due_seconds = found.messages, int(found.oldest_due_seconds)
    since = f", longest due for {due_seconds} s" if due_seconds else ""
    words = f"{by_state['queued']} queued{since}; {by_state['failed']} failed; "
    words += f"{by_state['sent']} sent; {found.people} people"
    remedy = LATE if due_seconds > MOST_DUE_SECONDS else ""
    return Finding("outbox", words, remedy, FAILED if by_state["failed"] else "")


async def check_redis(settings: Settings) -> Finding:
    """Whether processes can count together: Redis answers, runs scripts, and has our time."""
    try:
        require_one_count(settings)
    except BadSettings as error:
        return Finding("redis", "not set", str(error))
    if settings.redis is None:
        return Finding("redis", "not set: an API process counts for itself")
    line = Line(settings.redis)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await line.probe()
            ahead = await line.seconds_ahead()
    except (RedisError, OSError) as error:
        remedy = f"Check REACH_REDIS_URL, and that {settings.redis} takes scripts that write."
        return Finding("redis", f"cannot be used: {reason_of(error)}", remedy)
    finally:
        await line.close()
    words = f"answers, takes scripts, its clock differs by {ahead * 1000:+.0f} ms"
    if abs(ahead) > MOST_SKEW_SECONDS:
        return Finding("redis", words, "Let NTP set the clocks: windows are reckoned by them.")
    return Finding("redis", words)


async def check_smtp(settings: Settings) -> Finding:
    """Whether the mail server lets us send: connect, TLS, EHLO, AUTH, MAIL FROM, RSET, QUIT."""
    if settings.smtp is None:
        return Finding("smtp", "the embedded mailbox of `reach up`")
    seconds = min(PROBE_SECONDS, settings.smtp_greeting_seconds)
    quick = settings.model_copy(
        update={
            "smtp_greeting_seconds": seconds,
            "smtp_mail_seconds": min(PROBE_SECONDS, settings.smtp_mail_seconds),
        }
    )
    where = f"{settings.smtp.host}:{settings.smtp.port} ({settings.smtp.security})"
    try:
        paused = await Sender(quick, settings.smtp).probe()
    except BadSettings as error:
        return Finding("smtp", f"{where}: not asked", str(error))
    if paused is not None:
        return Finding("smtp", f"{where}: {paused.words}", remedy_of(paused, settings))
    return Finding("smtp", f"{where} lets us in, and takes mail from REACH_MAIL_FROM")


def remedy_of(paused: Unavailable, settings: Settings) -> str:
    """Say what to look at if the mail server does not let us in, or does not take our sender."""
    if not paused.text.startswith(MAIL.name):
        return "Check REACH_SMTP_URL (scheme, port, user, password) and REACH_SMTP_CA_FILE."
    sender = parse_mailbox(settings.mail_from).addr_spec
    return (
        f"It lets us in, and takes nothing from {sender}: check REACH_MAIL_FROM, and what your "
        "mail provider lets this login send as."
    )
