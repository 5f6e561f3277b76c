"""How Postgres keeps the tables that change most; indexes of who has confirmed, and who has not.

Room for a row's next version, and vacuum in time.

An UPDATE that touches no indexed column writes nothing into any index if its row's page has room
(a *heap-only tuple*): an idempotency key is claimed and given its response in one transaction, so
half of each page is left free for that. A message's lease and its outcome change what it is found
by, so there a page's room is for inserts alone.

By default a table is vacuumed when a fifth of its rows are dead, and analysed when a tenth are new:
of a million messages that is late. Counters are few rows that are replaced all the time.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.migrations import steps

revision = "0010"
down_revision = "0009"

#: After so many rows, and so large a share of the table's, autovacuum takes it up.
SOON: dict[str, float] = {
    "autovacuum_vacuum_threshold": 1000,
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_insert_scale_factor": 0.05,
    "autovacuum_analyze_threshold": 500,
    "autovacuum_analyze_scale_factor": 0.02,
}
#: However large it was once: what counts is how many dead rows a look goes through.
AT_ONCE: dict[str, float] = {
    "autovacuum_vacuum_threshold": 1000,
    "autovacuum_vacuum_scale_factor": 0,
}
STORAGE: dict[str, dict[str, float]] = {
    "people": SOON,
    "messages": SOON,
    "attempts": SOON,
    "idempotency_keys": {"fillfactor": 50, **SOON},
    "counters": AT_ONCE,
    "link_requests": AT_ONCE,
}


#: By name, which people each index has.
INDEXES = {
    "ix_people_confirmed": "confirmed_at IS NOT NULL",
    "ix_people_unconfirmed": "confirmed_at IS NULL",
}


def upgrade() -> None:
    """Each can be done again. The settings wait for a vacuum under way, and for nobody else."""
    if steps.is_sqlite():
        kept = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.execute(sa.insert(kept).values([("people", name, "500000 1") for name in INDEXES]))
    else:
        for table, parameters in STORAGE.items():
            given = ", ".join(f"{name} = {value}" for name, value in parameters.items())
            op.execute(f"ALTER TABLE {table} SET ({given})")
    for name, where in INDEXES.items():
        steps.add_index(name, "people", ["id"], where=where)
