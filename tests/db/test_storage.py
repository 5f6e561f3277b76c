"""How Postgres keeps rows that change: next to what they were, with no index written again."""

from collections.abc import Callable

from sqlalchemy import text

from reach.db.transaction import Transaction
from reach.idempotency import stored
from reach.idempotency.stored import IdempotencyKey, StoredResponse
from reach.runtime.process import opened
from reach.settings import Settings

COUNT, AT_ONCE = 500, 20
UPDATED = text(
    "SELECT pg_stat_get_xact_tuples_updated(oid), pg_stat_get_xact_tuples_hot_updated(oid) "
    "FROM pg_class WHERE oid = 'idempotency_keys'::regclass"
)


async def test_a_response_is_stored_beside_its_claim(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """As a heap-only tuple, but where a page has just come to its end."""

    def claim_and_keep(tx: Transaction) -> tuple[int, int]:
        for first in range(0, COUNT, AT_ONCE):
            names = [("me", "/v1/people", f"key {n}") for n in range(first, first + AT_ONCE)]
            assert stored.claim(tx, [IdempotencyKey((name,), ("f",)) for name in names]) == {}
            stored.keep(tx, dict.fromkeys(names, StoredResponse(202, "{}")))
        updated, hot = tx.execute(UPDATED).one()
        return updated, hot

    async with opened(make_settings(database_url=postgres)) as database:
        updated, hot = await database.write(claim_and_keep)
    assert updated == COUNT
    assert hot > 0.9 * COUNT
