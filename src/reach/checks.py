"""`reach check`: the effective configuration, and whether what it names answers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import SecretStr
from redis.exceptions import RedisError

from reach.db.away import DatabaseAway
from reach.db.engine import open_database
from reach.db.migrate import newest, revision
from reach.limits.limiter import require_one_count
from reach.limits.line import Line
from reach.limits.shared import reason_of
from reach.messages.compose import Composer
from reach.messages.render import Templates
from reach.messages.smtp import Sender
from reach.people import stats
from reach.people.disposable import DisposableDomains
from reach.problems import Unavailable
from reach.settings import BadSettings, Settings, unknown_variables
from reach.telemetry import traces
from reach.urls import MASK
from reach.variables import PREFIX

PROBE_SECONDS = 10
#: Beyond it a window of a minute is no minute.
MOST_SKEW_SECONDS = 1.0
#: A worker that runs and a mail server that answers leave nothing due for this long.
MOST_DUE_SECONDS = 300
LATE = "Is a worker running (`reach worker`)? If one is, its log says what keeps it: a paused lane?"
FAILED = (
    "GET /v1/messages?state=failed shows why they failed; POST /v1/messages/{id}/retry tries again."
)
#: What counts where the setting itself is empty, or shows too much.
EFFECTIVE: dict[str, Callable[[Settings], str]] = {
    "database_url": lambda settings: str(settings.database),
    "redis_url": lambda settings: str(settings.redis or ""),
    "smtp_url": lambda settings: str(settings.smtp or ""),
    "public_url": lambda settings: settings.origin,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``remedy`` is empty if all is well; ``advice`` is for who cares."""

    subject: str
    words: str
    remedy: str = ""
    advice: str = ""


async def check_all(settings: Settings, print_line: Callable[[str], None]) -> bool:
    """Print the configuration and every finding; returns whether all is well."""
    for line in configuration(settings):
        print_line(line)
    is_well = True
    checks: tuple[Callable[[Settings], Awaitable[Finding]], ...] = (
        check_variables,
        check_exposure,
        check_templates,
        check_domains,
        check_database,
        check_outbox,
        check_redis,
        check_smtp,
        check_traces,
    )
    for check in checks:
        finding = await check(settings)
        mark = "!!" if finding.remedy else "ok"
        print_line(f"{mark} {finding.subject}: {finding.words}")
        if finding.remedy:
            print_line(f"   {finding.remedy}")
            is_well = False
        if finding.advice:
            print_line(f"   {finding.advice}")
    return is_well


def configuration(settings: Settings) -> list[str]:
    """Each variable with its value, secrets masked; ``*`` marks those that are set."""
    lines = []
    for name in sorted(type(settings).model_fields):
        mark = "*" if name in settings.model_fields_set else " "
        lines.append(f"{mark} {PREFIX}{name.upper()}={shown(settings, name)}")
    return lines


def shown(settings: Settings, name: str) -> str:
    """What is used for a setting, what is secret in it masked; of a URL, its credentials alone."""
    if name in EFFECTIVE:
        return EFFECTIVE[name](settings)
    value = getattr(settings, name)
    if not isinstance(value, SecretStr):
        return "" if value is None else str(value)
    if not value.get_secret_value():
        return ""
    return MASK


async def check_variables(_: Settings) -> Finding:
    """Variables that nothing reads are misspelt, most likely."""
    unknown = unknown_variables()
    if unknown:
        return Finding("variables", f"not known: {', '.join(unknown)}", "Correct or remove them.")
    return Finding("variables", "all known")


async def check_exposure(settings: Settings) -> Finding:
    """Whether Reach would start with these settings."""
    try:
        settings.require_safe_exposure()
    except BadSettings as error:
        return Finding("exposure", "not safe in the open", str(error).replace("\n", "\n   "))
    words = "may be reached from outside" if settings.is_exposed else "this machine only"
    return Finding("exposure", words)


async def check_templates(settings: Settings) -> Finding:
    """Whether every template can be read and makes sense."""
    try:
        names = Composer(settings).templates
        faults = Templates(settings.templates_dir).faults()
    except BadSettings as error:
        return Finding("templates", "cannot be used", str(error))
    except OSError as error:
        remedy = f"REACH_TEMPLATES_DIR must be a folder that Reach may read ({error.strerror})."
        return Finding("templates", "cannot be read", remedy)
    if faults:
        remedy = f"Correct it in {settings.templates_dir}: until then its emails fail."
        return Finding("templates", "; ".join(faults), remedy)
    return Finding("templates", ", ".join(sorted(names)))


async def check_domains(settings: Settings) -> Finding:
    """Whether the file of disposable domains can be used."""
    try:
        found = DisposableDomains.read(settings.disposable_domains_file)
    except BadSettings as error:
        return Finding("domains", "cannot be used", str(error))
    return Finding("domains", f"{len(found)} whose addresses cannot sign up")


async def check_database(settings: Settings) -> Finding:
    """Whether the database answers, and with which schema."""
    database = open_database(settings)
    try:
        found = await database.read(revision)
    except DatabaseAway as away:
        remedy = "Check REACH_DATABASE_URL; `reach migrate` makes a new SQLite file."
        return Finding("database", f"does not answer. {away.detail or ''}".strip(), remedy)
    finally:
        await database.close()
    if (found or "") < newest():
        return Finding("database", f"schema {found or 'missing'}", "Run `reach migrate`.")
    return Finding("database", f"answers, schema {found}")


async def check_outbox(settings: Settings) -> Finding:
    """Whether messages leave; and how many there are of what."""
    database = open_database(settings)
    try:
        found = await database.read(stats.read)
    except Unavailable:  # check_database says so
        return Finding("outbox", "not known")
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
    """Whether the mail server lets us in: connect, TLS, EHLO, AUTH, QUIT."""
    if settings.smtp is None:
        return Finding("smtp", "the embedded mailbox of `reach up`")
    seconds = min(PROBE_SECONDS, settings.smtp_greeting_seconds)
    quick = settings.model_copy(update={"smtp_greeting_seconds": seconds})
    where = f"{settings.smtp.host}:{settings.smtp.port} ({settings.smtp.security})"
    try:
        paused = await Sender(quick, settings.smtp).probe()
    except BadSettings as error:
        return Finding("smtp", f"{where}: not asked", str(error))
    if paused is not None:
        remedy = "Check REACH_SMTP_URL (scheme, port, user, password) and REACH_SMTP_CA_FILE."
        return Finding("smtp", f"{where}: {paused.text}", remedy)
    return Finding("smtp", f"{where} lets us in")


async def check_traces(_: Settings) -> Finding:
    """Whether traces can be begun, and where they go; nothing is sent there."""
    try:
        traces.configure()
        where = traces.endpoint()
    except BadSettings as error:
        return Finding("traces", "cannot be used", str(error))
    finally:
        traces.stop()
    return Finding("traces", "off" if where is None else f"on, to {where}")
