"""Sessions, on both databases: begun, found, noted as used, and over when they should be."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, update

from reach.auth import actions, keys
from reach.auth.audit import Actor, ActorKind, Filter
from reach.console import sessions
from reach.console.sessions import Session
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import now
from tests.support.trail import trail

IDLE_SECONDS = 600.0
COMMAND = Actor("command", "0", "cli")


async def begun(database: Database, *scopes: str, seconds: float = 3600) -> tuple[str, UUID]:
    """Begin a session with a new key; give its token, and the key's id."""

    def begin(tx: Transaction) -> tuple[str, UUID]:
        key = keys.add(tx, keys.generate(), "laptop", scopes or keys.SCOPES)
        token = sessions.start(
            tx,
            actor_kind="key",
            actor_id=str(key.id),
            scopes=key.scopes,
            key_id=key.id,
            seconds=seconds,
        )
        return token, key.id

    return await database.write(begin)


async def found(database: Database, token: str) -> Session | None:
    """Find a session as the console does."""
    return await database.read(sessions.find, token, idle_seconds=IDLE_SECONDS)


async def test_a_session_is_found_by_its_token_alone(database: Database) -> None:
    """It has the key's name and scopes; of the token nothing is stored that opens anything."""
    token, key_id = await begun(database, "people:read")
    session = await found(database, token)
    assert session is not None
    assert session.name == "laptop"
    assert session.scopes == {"people:read"}
    assert session.actor == Actor("key", str(key_id), "console")
    rows = await database.read(lambda tx: tx.execute(select(sessions.sessions)).all())
    assert token not in str(rows)
    assert session.proof not in str(rows)
    for wrong in (token[:-1], f"{token}x", "", str(session.id), rows[0].digest):
        assert await found(database, wrong) is None


async def test_a_session_is_over_with_its_key(database: Database) -> None:
    """Revoked, by whatever way, or expired: at once."""
    for end in ("revoke", "expire"):
        token, key_id = await begun(database)
        assert await found(database, token)
        if end == "revoke":
            await database.write(actions.revoke_key, COMMAND, key_id)
        else:
            table = keys.api_keys
            expire = update(table).where(table.c.id == key_id).values(expires_at=now(-1))
            await database.write(Transaction.execute, expire)
        assert await found(database, token) is None


async def test_a_session_may_do_no_more_than_its_key(database: Database) -> None:
    """A scope that was taken from the key meanwhile is the session's no longer."""
    token, key_id = await begun(database, "people:read", "keys:write")
    table = keys.api_keys
    fewer = update(table).where(table.c.id == key_id).values(scopes=["audit:read", "people:read"])
    await database.write(Transaction.execute, fewer)
    session = await found(database, token)
    assert session
    assert session.scopes == {"people:read"}


async def test_a_session_ends_when_its_time_is_up(database: Database) -> None:
    """After its whole time, used or not; and after a while in which nobody used it."""
    token, _ = await begun(database, seconds=-1)
    assert await found(database, token) is None
    token, _ = await begun(database)
    table = sessions.sessions

    async def last_seen(seconds: float) -> Session | None:
        statement = update(table).values(seen_at=now(-seconds))
        await database.write(lambda tx: tx.execute(statement))
        return await found(database, token)

    assert await last_seen(IDLE_SECONDS - 60)
    assert await last_seen(IDLE_SECONDS + 1) is None
    session = await last_seen(IDLE_SECONDS - 60)
    assert session
    await database.write(sessions.touch, session.id)
    again = await found(database, token)
    assert again
    assert again.last_used_at
    assert session.last_used_at
    assert again.last_used_at - session.last_used_at > timedelta(seconds=IDLE_SECONDS - 120)


async def test_what_is_over_is_deleted_by_the_next(database: Database) -> None:
    """The table does not grow with what nobody can use."""
    for _ in range(3):
        await begun(database, seconds=-1)
    token, _ = await begun(database)
    rows = await database.read(lambda tx: tx.execute(select(sessions.sessions)).all())
    assert len(rows) == 1
    assert await found(database, token)


async def test_sign_out_here_and_everywhere(database: Database) -> None:
    """One session ends, or all of the same operator; another's go on. The audit trail tells."""
    token, key_id = await begun(database)
    others, _ = await begun(database)

    def again(tx: Transaction, kind: ActorKind, key: UUID | None) -> str:
        return sessions.start(
            tx,
            actor_kind=kind,
            actor_id=str(key_id),
            scopes=frozenset(keys.SCOPES),
            key_id=key,
            seconds=60,
        )

    second, third = [await database.write(again, "key", key_id) for _ in range(2)]
    namesake = await database.write(again, "oidc", None)
    session = await found(database, token)
    assert session
    await database.write(sessions.end, session)
    assert [bool(await found(database, one)) for one in (token, second, third)] == [0, 1, 1]
    session = await found(database, second)
    assert session
    assert await database.write(sessions.end_all, session) == 2
    assert await database.write(sessions.end_all, session) == 0  # nor is that noted
    over, going_on = (second, third), (others, namesake)
    assert [bool(await found(database, one)) for one in (*over, *going_on)] == [0, 0, 1, 1]
    told = await trail(database, Filter(actor=str(key_id)))
    assert [(entry.action, entry.count) for entry in told] == [
        ("session.end", 2),
        ("session.end", 1),
        *[("session.start", 1)] * 4,
    ]
    assert {entry.actor.via for entry in told} == {"console"}


async def test_a_session_without_a_key_has_a_name_of_its_own(database: Database) -> None:
    """Who comes by an identity provider is called what that says."""
    token = await database.write(
        sessions.start,
        actor_kind="oidc",
        actor_id="ada@example.org",
        scopes=frozenset({"people:read"}),
        key_id=None,
        seconds=60,
    )
    session = await found(database, token)
    assert session
    assert (session.name, session.actor.kind) == ("ada@example.org", "oidc")
    await database.write(sessions.touch, session.id)
