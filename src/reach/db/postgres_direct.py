"""Whether Postgres can be reached without a pooler, for what a pooler cannot do."""

import asyncio
import secrets

from reach.db.errors import DatabaseUnavailable
from reach.db.postgres import unavailable_reason
from reach.db.postgres_connection import FAILURES, Opener, PostgresConnection, Session
from reach.settings import Settings
from reach.settings.database_url import DatabaseUrl

CONNECT_SECONDS = 10
_SESSION = Session("reach check", {})

NOT_NEEDED = "not needed: no pooler is before Postgres"
POLLED = "not set, and the database is behind a pooler"
ADVICE = (
    "It works. With REACH_DATABASE_DIRECT_URL, Postgres's own address, workers would be told of "
    "new messages at once, rather than ask every second."
)
POOLED = (
    "It works, but workers ask every second: REACH_DATABASE_DIRECT_URL should be Postgres's own "
    "address. Some providers' proxies look like a pooler too."
)
ANOTHER = (
    "Both must be of one database: `reach migrate` and workers' LISTEN go to "
    "REACH_DATABASE_DIRECT_URL, all else goes to REACH_DATABASE_URL."
)


async def look(settings: Settings) -> tuple[str, str, str] | None:
    """Say what there is, what to do about it, and what might be better; empty if there is nothing.

    None: the database itself does not answer, so nothing is known.
    """
    is_set = bool(settings.database_direct_url.get_secret_value())
    try:
        usual = await _open(settings.database)
    except (DatabaseUnavailable, *FAILURES):
        return None
    try:
        if not is_set:
            return (POLLED, "", ADVICE) if usual.is_shared else (NOT_NEEDED, "", "")
        return await _compare(usual, settings.direct_database)
    finally:
        usual.terminate()


async def _compare(usual: PostgresConnection, url: DatabaseUrl) -> tuple[str, str, str]:
    try:
        direct = await _open(url)
        try:
            if direct.is_shared:
                return "leads through a pooler", "", POOLED
            async with asyncio.timeout(CONNECT_SECONDS):
                is_one = await _is_one(usual, direct)
        finally:
            direct.terminate()
    except (DatabaseUnavailable, *FAILURES) as error:
        remedy = "Check REACH_DATABASE_DIRECT_URL."
        return f"does not answer. {unavailable_reason(error) or ''}".strip(), remedy, ""
    if not is_one:
        return "is not the database of REACH_DATABASE_URL", ANOTHER, ""
    return "answers, without a pooler", "", ""


async def _open(url: DatabaseUrl) -> PostgresConnection:
    return await Opener(url, _SESSION, seconds=CONNECT_SECONDS).open()


async def _is_one(usual: PostgresConnection, direct: PostgresConnection) -> bool:
    """Whether both are one database, by whatever names: what one locks, the other cannot."""
    lock, number = "SELECT pg_try_advisory_xact_lock($1)", secrets.randbits(62)
    async with usual.transaction(), direct.transaction():
        await usual.fetchval(lock, number)
        return not await direct.fetchval(lock, number)
