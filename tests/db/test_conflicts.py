"""Postgres alone: deadlocks, and a COMMIT of which nobody knows what became."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import text

from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.errors import OUTCOME_UNKNOWN, DatabaseUnavailable
from reach.db.transaction import Transaction
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import (
    ask,
    fetch,
    hang_commits,
    hanging_commits,
    is_awaited,
    let_commits_go,
)
from tests.support.servers.postgres import Postgres

COUNT_UP = "UPDATE numbers SET count = count + 1 WHERE name = :name"


@pytest.fixture
def settings(make_settings: Callable[..., Settings], postgres: str) -> Settings:
    """Settings for Postgres."""
    return make_settings(database_url=postgres)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """Open a database with two rows to quarrel over."""
    database = open_database(settings)

    def make(tx: Transaction) -> None:
        tx.execute(text("DROP TABLE IF EXISTS numbers"))
        tx.execute(text("CREATE TABLE numbers (name varchar(20) PRIMARY KEY, count integer)"))
        tx.execute(text("INSERT INTO numbers VALUES ('a', 0), ('b', 0)"))
        tx.execute(text("DROP SEQUENCE IF EXISTS tries"))
        tx.execute(text("CREATE SEQUENCE tries"))

    try:
        await database.write(make)
        yield database
    finally:
        await database.close()


class CountUp:
    """A function for groups; it notes each of its runs."""

    def __init__(self) -> None:
        """Begin with none."""
        self.runs: list[list[str]] = []

    def all(self, tx: Transaction, names: Sequence[str]) -> Sequence[str]:
        """Count up the rows of these names, in the order they are given."""
        self.runs.append(list(names))
        for name in names:
            tx.execute(text(COUNT_UP), {"name": name})
        return names


@pytest.mark.parametrize("way", ["group", "write"])
async def test_a_lost_deadlock_is_tried_again_whole(settings: Settings, way: str) -> None:
    """Locks taken the other way round: Postgres ends our transaction, and we run it again."""
    count_up = CountUp()
    async with opened(settings) as database:
        other = await asyncpg.connect(settings.database_url.get_secret_value())
        await other.execute("SET deadlock_timeout = '30s'")  # so that it is ours that loses
        await other.execute("BEGIN; UPDATE numbers SET count = 10 WHERE name = 'b'")
        if way == "group":
            add = database.group(count_up.all)
            ours = asyncio.ensure_future(asyncio.gather(add("a"), add("b")))
        else:
            ours = asyncio.ensure_future(database.write(count_up.all, ["a", "b"]))  # type: ignore[arg-type]
        await eventually(lambda: is_awaited(settings, "UPDATE"))
        await other.execute("UPDATE numbers SET count = 10 WHERE name = 'a'; COMMIT")
        assert list(await ours) == ["a", "b"]
        await other.close()
        # More than twice if it took "a" again before the other did: each time, it was whole.
        assert len(count_up.runs) >= 2
        assert count_up.runs == [["a", "b"]] * len(count_up.runs)
        assert await fetch(settings, "SELECT min(count) + max(count) FROM numbers") == 22


def conflict(tx: Transaction, *, times: int) -> int:
    """Fail as a serialisation conflict does, so many times; a sequence is never rolled back."""
    count: int = tx.execute(text("SELECT nextval('tries')")).scalar_one()
    if count <= times:
        tx.execute(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))
    return count


async def test_a_conflict_is_tried_again(settings: Settings) -> None:
    """As often as is any use; then it is a 503, and the connection is as good as before."""
    async with opened(settings) as database:
        assert await database.write(conflict, times=4) == 5
        with pytest.raises(DatabaseUnavailable):
            await database.write(conflict, times=100)
        assert await database.write(conflict, times=0) == 11


ALONE = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()"


@pytest.mark.parametrize("way", ["group", "write"])
@pytest.mark.parametrize("end", [Postgres.kill, Postgres.pause], ids=["killed", "silent"])
async def test_an_unknown_commit_is_not_repeated(
    make_settings: Callable[..., Settings],
    private_postgres: Postgres,
    end: Callable[[Postgres], None],
    way: str,
) -> None:
    """The server ends in the middle of COMMIT: a 503 that says so, and one run only."""
    settings = make_settings(database_url=private_postgres.url, database_seconds=3)
    count_up = CountUp()
    async with opened(settings) as database:
        await hang_commits(private_postgres.url)
        if way == "group":
            ours = asyncio.ensure_future(database.group(count_up.all)("a"))
        else:
            ours = asyncio.ensure_future(database.write(count_up.all, ["a"]))  # type: ignore[arg-type]
        await eventually(lambda: hanging_commits(private_postgres.url))
        end(private_postgres)
        with pytest.raises(DatabaseUnavailable) as refusal:
            await ours
        assert refusal.value.detail == OUTCOME_UNKNOWN
        if end is Postgres.kill:
            private_postgres.start()
        else:
            private_postgres.resume()
        await let_commits_go(private_postgres.url)
        await eventually(lambda: ask(private_postgres.url, ALONE))
        assert await ask(private_postgres.url, "SELECT count FROM numbers WHERE name = 'a'") == 1
        assert len(count_up.runs) == 1
        await database.write(count_up.all, ["b"])
