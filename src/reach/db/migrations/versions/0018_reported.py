"""What may become of a message after it was sent, and without being sent.

``bounced`` and ``complained`` come after ``sent``; ``suppressed`` is one that was not sent because
nothing is sent to its address. What was handed to the mail server stays counted as a delivery.

SQLite cannot alter a constraint: the schema alone is written, as in 0012.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.migrations import steps
from reach.db.types import EPOCH, Instant

revision = "0018"
down_revision = "0017"

WERE = ("queued", "sent", "failed", "cancelled")
NEW = ("bounced", "complained", "suppressed")
SENT = "('sent', 'bounced', 'complained')"
MESSAGES = "FROM sqlite_schema WHERE type = 'table' AND name = 'messages'"
#: By name, on SQLite: when each fires, and what it does to an hourly count.
SQLITE = {
    "count_deliveries": (
        f"WHEN NEW.state = 'sent' AND OLD.state NOT IN {SENT} AND NEW.finished_at IS NOT NULL",
        "NEW",
        1,
    ),
    "count_taken_back": (
        f"WHEN OLD.state IN {SENT} AND NEW.state NOT IN {SENT} AND OLD.finished_at IS NOT NULL",
        "OLD",
        -1,
    ),
}
POSTGRES = f"""
    SELECT state, 'epoch'::timestamptz, sum(n) FROM (
        SELECT state, 1 AS n FROM added WHERE recipient <> '' UNION ALL
        SELECT state, -1 FROM removed WHERE recipient <> ''
    ) AS net GROUP BY state HAVING sum(n) <> 0 UNION ALL
    SELECT 'deliveries', date_trunc('hour', finished_at, 'UTC'), sum(n) FROM (
        SELECT finished_at, 1 AS n FROM added WHERE state IN {SENT} UNION ALL
        SELECT finished_at, -1 FROM removed WHERE state IN {SENT}
    ) AS net WHERE finished_at IS NOT NULL GROUP BY 2 HAVING sum(n) <> 0
"""


def upgrade() -> None:
    """Let a message be these too; the lock on messages is for a moment."""
    if steps.is_sqlite():
        _widen_on_sqlite()
        for name, (when, row, by) in SQLITE.items():
            op.execute(f"DROP TRIGGER {name}")
            op.execute(
                f"CREATE TRIGGER {name} AFTER UPDATE OF state ON messages {when} BEGIN "
                f"{_count(f'{row}.finished_at / 3600000000 * 3600000000', by)} END"
            )
        kept = sa.table(
            "counters", sa.column("name"), sa.column("hour", Instant), sa.column("count")
        )
        op.execute(sa.insert(kept).values([(name, EPOCH, 0) for name in NEW]))
        return
    given = f"CHECK (state IN {(*WERE, *NEW)})"
    op.execute(
        "ALTER TABLE messages DROP CONSTRAINT ck_messages_ck_messages_state, "
        f"ADD CONSTRAINT ck_messages_ck_messages_state {given} NOT VALID"
    )
    _count_on_postgres()
    steps.validate("ck_messages_ck_messages_state", "messages")


def _count(hour: str, by: int) -> str:
    """SQLite's triggers take no upsert: see 0008."""
    return f"""
        INSERT INTO counters (name, hour, count) SELECT 'deliveries', {hour}, 0
        WHERE NOT EXISTS (SELECT 1 FROM counters WHERE name = 'deliveries' AND hour = {hour});
        UPDATE counters SET count = count + {by} WHERE name = 'deliveries' AND hour = {hour};
    """


def _widen_on_sqlite() -> None:
    """Raises RuntimeError if the schema is not as it was made: then nothing is changed."""
    bind = op.get_bind()
    made = str(bind.exec_driver_sql(f"SELECT sql {MESSAGES}").scalar_one())
    if made.count(str(WERE)) != 1:
        raise RuntimeError("the table of messages is not as Reach has made it")
    version = int(bind.exec_driver_sql("PRAGMA schema_version").scalar_one())
    bind.exec_driver_sql("PRAGMA writable_schema=ON")
    bind.exec_driver_sql(
        "UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = 'messages'",
        (made.replace(str(WERE), str((*WERE, *NEW))),),
    )
    # Other connections, and this one, read the schema again.
    bind.exec_driver_sql(f"PRAGMA schema_version={version + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema=RESET")
    changed = str(bind.exec_driver_sql(f"SELECT sql {MESSAGES}").scalar_one())
    if NEW[0] not in changed:
        raise RuntimeError("this build of SQLite does not let its schema be changed")


def _count_on_postgres() -> None:
    """Put other bodies into functions of 0008, which name the schema and keep their rights."""
    bind = op.get_bind()
    schema = bind.dialect.identifier_preparer.quote(bind.scalar(sa.text("SELECT current_schema()")))
    names = ", ".join(f"'{name}'" for name in (*WERE, *NEW))
    emptied = (
        f"LOCK TABLE {schema}.counters IN EXCLUSIVE MODE; DELETE FROM {schema}.counters "
        f"WHERE hour = 'epoch'::timestamptz AND name IN ({names})"
    )
    bodies = {
        "count_messages_changed": f"INSERT INTO {schema}.counters (name, hour, count) {POSTGRES}",
        "count_messages_emptied": emptied,
    }
    for name, body in bodies.items():
        op.execute(
            f"CREATE OR REPLACE FUNCTION {schema}.{name}() RETURNS trigger LANGUAGE plpgsql "
            "SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS "
            f"$$ BEGIN {body}; RETURN NULL; END $$"
        )
