"""Prepared statements: what SQLAlchemy would give, given by the driver."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Executable, bindparam, insert, select

from reach.auth import keys
from reach.auth.keys import api_keys
from reach.db.prepared import Prepared
from reach.db.transaction import Transaction
from reach.db.types import Key, new_id
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.database.stored import addresses, sign_up, statements

AT = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
EVERY_TYPE = Prepared(
    lambda _: (
        select(
            api_keys.c.id,
            api_keys.c.scopes,
            api_keys.c.expires_at,
            api_keys.c.revoked_at,
            api_keys.c.name,
        )
        .where(api_keys.c.id >= bindparam("first", type_=Key), api_keys.c.expires_at <= AT)
        .order_by(api_keys.c.id)
    )
)


async def test_values_are_converted_both_ways(settings: Settings) -> None:
    """Ids, times, documents, NULL: the driver's rows are those that SQLAlchemy gives."""
    async with opened(settings) as database:
        ids = [new_id() for _ in range(3)]

        def add(tx: Transaction) -> None:
            for id_, ends in zip(ids, (AT, None, AT), strict=True):
                values = {"id": id_, "prefix": str(id_), "scopes": ["people:read"], "name": "é"}
                others = {"digest": "", "created_at": AT, "expires_at": ends}
                tx.execute(insert(api_keys).values(**values, **others))

        def both(tx: Transaction) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
            mine = [tuple(row) for row in EVERY_TYPE.rows(tx, {"first": ids[0]})]
            with statements() as seen:
                theirs = [tuple(row) for row in EVERY_TYPE.rows(tx, {"first": ids[0]})]
            assert len(seen) == 1, "SQLAlchemy did not run what is watched"
            return mine, theirs

        await database.write(add)
        mine, theirs = await database.read(both)
        row = ("people:read",)
        wanted = [(id_, list(row), AT, None, "é") for id_ in (ids[0], ids[2])]
        assert mine == theirs == wanted
        assert isinstance(mine[0][0], UUID)


async def test_a_statement_that_gives_no_rows(settings: Settings) -> None:
    """An INSERT without RETURNING: nothing is given, and it is done."""

    def make(_: str) -> Executable:
        return insert(api_keys).values(
            id=bindparam("key"), prefix="p", name="n", digest="", scopes=[], created_at=AT
        )

    prepared = Prepared(make)
    async with opened(settings) as database:
        assert list(await database.write(prepared.rows, {"key": new_id()})) == []
        (found,) = await database.read(keys.all_keys)
        assert found.prefix == "p"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_sqlite_prepares_them_once(settings: Settings) -> None:
    """Not at each execution: it does where a parameter is compared with a partial index's column.

    It counts that itself, where it is compiled with SQLITE_ENABLE_STMTVTAB.
    """
    asked = "SELECT sql, reprep FROM sqlite_stmt WHERE run > 2 AND sql NOT LIKE '%sqlite_stmt%'"
    options = "SELECT 1 FROM pragma_compile_options WHERE compile_options = 'ENABLE_STMTVTAB'"
    async with opened(settings) as database:
        if not await database.read(lambda tx: tx.exec_driver_sql(options).all()):
            pytest.skip("this SQLite does not count how often it prepares a statement")
        for number in range(4):
            await sign_up(database, settings, *addresses(number + 1))
        found = await database.write(lambda tx: tx.exec_driver_sql(asked).all())
    assert any("INSERT INTO messages" in sql for sql, _ in found), found
    assert [sql for sql, times in found if times] == []
