"""What a migration does to a Postgres database in use, a step at a time.

See docs/guides/writing-a-migration.md.

Each can be interrupted and done again. But on Postgres each commits what came before it in its
migration, so that must be fit to be done again as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op

#: How many rows a batch changes: who wants to change one of them waits for so many.
BATCH_ROWS = 500
#: An index waits for every transaction that is older, but nobody waits for it meanwhile.
INDEX_SECONDS = 600
#: Rows that somebody holds are come back to; more often than this it is the migration's fault.
MOST_PASSES = 1000

#: Where a batch's statement says which rows it takes.
CHOSEN = "-- chosen"

_IS_VALID = sa.text(
    "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(quote_ident(:name))"
)


def is_sqlite() -> bool:
    """Whether this is SQLite: there a migration is one transaction, and nobody is served."""
    return op.get_bind().dialect.name == "sqlite"


def add_index(
    name: str,
    table: str,
    columns: Sequence[str | sa.TextClause],
    *,
    unique: bool = False,
    where: str | None = None,
) -> None:
    """Build an index while its table is written to; what is left of an interrupted one goes."""
    chosen = None if where is None else sa.text(where)
    if is_sqlite():
        op.create_index(name, table, list(columns), unique=unique, sqlite_where=chosen)
        return
    with op.get_context().autocommit_block(), _waiting_for_locks(INDEX_SECONDS):
        if op.get_bind().scalar(_IS_VALID, {"name": name}) is False:
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(
            name,
            table,
            list(columns),
            unique=unique,
            postgresql_where=chosen,
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def drop_index(name: str, table: str) -> None:
    """Remove an index that no version which still runs has need of."""
    if is_sqlite():
        op.drop_index(name, table, if_exists=True)
        return
    with op.get_context().autocommit_block(), _waiting_for_locks(INDEX_SECONDS):
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _waiting_for_locks(seconds: int) -> Iterator[None]:
    """Have statements outside a transaction wait so long for a lock.

    Through a pooler the server's own limits hold: what is set there would be somebody else's next.
    """
    driver = op.get_bind().connection.driver_connection
    if getattr(driver, "is_shared", False):
        yield
        return
    usual = getattr(driver, "parameters", {}).get("lock_timeout")
    op.execute(f"SET lock_timeout = '{seconds}s'")
    try:
        yield
    finally:
        op.execute("RESET lock_timeout" if usual is None else f"SET lock_timeout = '{usual}'")


def validate(constraint: str, table: str) -> None:
    """Look whether all rows fit a constraint that was added NOT VALID, while they change."""
    if not is_sqlite():
        with op.get_context().autocommit_block():
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}")


def fill(table: str, values: Mapping[str, str], where: str, key: str = "id") -> None:
    """Set columns (to SQL expressions) in every row of which ``where`` is true, in batches.

    Once they are set it must be true no longer: each batch commits, so an interrupted filling
    goes on where it was.
    """
    changes = ", ".join(f"{column} = {expression}" for column, expression in values.items())
    if is_sqlite():
        op.execute(f"UPDATE {table} SET {changes} WHERE {where}")
        return
    batches = _Batches(table, changes, where, key)
    with op.get_context().autocommit_block():
        for _ in range(MOST_PASSES):
            if not batches.is_any_left():
                return
            batches.fill_free()
            batches.fill_one()
    raise RuntimeError(f"rows of {table} still need to be set when they have been")


class _Batches:
    """Rows to be filled, of a table that others change."""

    def __init__(self, table: str, changes: str, where: str, key: str) -> None:
        self._bind = op.get_bind()
        self._statement = f"""
            WITH batch AS MATERIALIZED (
                SELECT {key} AS taken FROM {table} WHERE ({where}) {CHOSEN}
            ), done AS (
                UPDATE {table} SET {changes} FROM batch WHERE {key} = taken RETURNING taken
            )
            SELECT taken FROM done ORDER BY taken DESC LIMIT 1
        """
        self._order = f"ORDER BY {key} LIMIT {{}} FOR NO KEY UPDATE"
        self._after = f"AND {key} > :last"
        self._left = f"SELECT EXISTS (SELECT FROM {table} WHERE {where})"

    def is_any_left(self) -> bool:
        return bool(self._bind.scalar(sa.text(self._left)))

    def fill_free(self) -> None:
        """Fill all that nobody holds: who waits with hundreds in hand may wait in a circle."""
        order = f"{self._order.format(BATCH_ROWS)} SKIP LOCKED"
        last = self._fill(order)
        while last is not None:
            last = self._fill(f"{self._after} {order}", {"last": last})

    def fill_one(self) -> None:
        """Wait for one that somebody holds, if any is left: as long as a lock may be waited for."""
        self._fill(self._order.format(1))

    def _fill(self, chosen: str, given: Mapping[str, Any] | None = None) -> Any:
        return self._bind.scalar(sa.text(self._statement.replace(CHOSEN, chosen)), given or {})
