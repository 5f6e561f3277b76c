"""Tallies: what would take long to count, counted as it changes, by the database itself.

By triggers, so that nothing can forget it: no cascade, no older version of Reach that still runs,
no operator's own SQL. SQLite has one writer at a time, whose triggers change a tally's one row.
On Postgres all writers would wait for each other at that row: there each statement adds rows of
its own, by how much it changed what, and ``tallies.fold`` adds them up later.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.migrations import steps
from reach.db.types import EPOCH, Instant, now

revision = "0006"
down_revision = "0005"

STATES = ("queued", "sent", "failed", "cancelled")
#: Flows are swept after so many days.
KEPT_SECONDS = 14 * 86_400

STATISTICS = (("tallies", "ix_tallies_hour", "1000 10 1"),)

#: One row of a level changes; SQLite's triggers take no upsert (the statement that fires them
#: decides what a conflict does), so a flow's row is added first where there is none.
SQLITE_LEVEL = "UPDATE tallies SET count = count + {by} WHERE name = {name} AND hour = 0;"
SQLITE_FLOW = """
    INSERT INTO tallies (name, hour, count) SELECT '{name}', {at} / 3600000000 * 3600000000, 0
    WHERE NOT EXISTS (
        SELECT 1 FROM tallies WHERE name = '{name}' AND hour = {at} / 3600000000 * 3600000000
    );
    UPDATE tallies SET count = count + {by}
    WHERE name = '{name}' AND hour = {at} / 3600000000 * 3600000000;
"""

#: Each trigger, and what it does. Somebody of no address stands in for somebody unknown, and
#: messages to nobody are theirs, for the time of a transaction: neither counts.
SQLITE = {
    "people_added AFTER INSERT ON people WHEN NEW.email <> ''": (
        SQLITE_LEVEL.format(name="'people'", by=1)
        + SQLITE_FLOW.format(name="sign_ups", at="NEW.created_at", by=1)
    ),
    "people_removed AFTER DELETE ON people WHEN OLD.email <> ''": (
        SQLITE_LEVEL.format(name="'people'", by=-1)
    ),
    "confirmed_added AFTER INSERT ON people WHEN NEW.confirmed_at IS NOT NULL": (
        SQLITE_LEVEL.format(name="'confirmed'", by=1)
    ),
    "confirmed_removed AFTER DELETE ON people WHEN OLD.confirmed_at IS NOT NULL": (
        SQLITE_LEVEL.format(name="'confirmed'", by=-1)
    ),
    "confirmed AFTER UPDATE OF confirmed_at ON people": SQLITE_LEVEL.format(
        name="'confirmed'", by="(NEW.confirmed_at IS NOT NULL) - (OLD.confirmed_at IS NOT NULL)"
    ),
    "messages_added AFTER INSERT ON messages WHEN NEW.recipient <> ''": (
        SQLITE_LEVEL.format(name="NEW.state", by=1)
    ),
    "messages_removed AFTER DELETE ON messages WHEN OLD.recipient <> ''": (
        SQLITE_LEVEL.format(name="OLD.state", by=-1)
    ),
    "messages_changed AFTER UPDATE OF state ON messages "
    "WHEN NEW.state <> OLD.state AND NEW.recipient <> ''": (
        SQLITE_LEVEL.format(name="OLD.state", by=-1) + SQLITE_LEVEL.format(name="NEW.state", by=1)
    ),
    "deliveries AFTER UPDATE OF state ON messages "
    "WHEN NEW.state = 'sent' AND OLD.state <> 'sent' AND NEW.settled_at IS NOT NULL": (
        SQLITE_FLOW.format(name="deliveries", at="NEW.settled_at", by=1)
    ),
    # Nothing of ours does that.
    "taken_back AFTER UPDATE OF state ON messages "
    "WHEN OLD.state = 'sent' AND NEW.state <> 'sent' AND OLD.settled_at IS NOT NULL": (
        SQLITE_FLOW.format(name="deliveries", at="OLD.settled_at", by=-1)
    ),
}

#: What a statement of each kind changed, as rows (name, hour, count). Nothing is joined: with
#: five hundred messages in a statement, a join of old and new rows would take longer than it.
POSTGRES = {
    "people_added": """
        SELECT tally.name, tally.hour, n FROM (
            SELECT date_trunc('hour', created_at, 'UTC') AS hour, count(*) AS n FROM added
            WHERE email <> '' GROUP BY 1
        ) AS those,
        LATERAL (VALUES ('people', EPOCH), ('sign_ups', those.hour)) AS tally (name, hour)
    """,
    "people_removed": """
        SELECT 'people', EPOCH, -count(*) FROM removed WHERE email <> '' HAVING count(*) > 0
    """,
    "confirmed_added": "SELECT 'confirmed', EPOCH, 1",
    "confirmed_removed": "SELECT 'confirmed', EPOCH, -1",
    "confirmed": """
        SELECT 'confirmed', EPOCH, CASE WHEN NEW.confirmed_at IS NULL THEN -1 ELSE 1 END
    """,
    "messages_added": """
        SELECT state, EPOCH, count(*) FROM added WHERE recipient <> '' GROUP BY state
    """,
    "messages_removed": """
        SELECT state, EPOCH, -count(*) FROM removed WHERE recipient <> '' GROUP BY state
    """,
    "messages_changed": """
        SELECT state, EPOCH, sum(n) FROM (
            SELECT state, 1 AS n FROM added WHERE recipient <> '' UNION ALL
            SELECT state, -1 FROM removed WHERE recipient <> ''
        ) AS net GROUP BY state HAVING sum(n) <> 0 UNION ALL
        SELECT 'deliveries', date_trunc('hour', settled_at, 'UTC'), sum(n) FROM (
            SELECT settled_at, 1 AS n FROM added WHERE state = 'sent' UNION ALL
            SELECT settled_at, -1 FROM removed WHERE state = 'sent'
        ) AS net WHERE settled_at IS NOT NULL GROUP BY 2 HAVING sum(n) <> 0
    """,
}
_ADDED, _REMOVED = "NEW TABLE AS added", "OLD TABLE AS removed"
#: Of each: when it fires, and on which rows. What is rare goes row by row: all that changes people
#: and confirms nobody pays nothing for it.
POSTGRES_EVENTS = {
    "people_added": f"INSERT ON people REFERENCING {_ADDED} FOR EACH STATEMENT",
    "people_removed": f"DELETE ON people REFERENCING {_REMOVED} FOR EACH STATEMENT",
    "confirmed_added": "INSERT ON people FOR EACH ROW WHEN (NEW.confirmed_at IS NOT NULL)",
    "confirmed_removed": "DELETE ON people FOR EACH ROW WHEN (OLD.confirmed_at IS NOT NULL)",
    "confirmed": "UPDATE OF confirmed_at ON people FOR EACH ROW "
    "WHEN ((OLD.confirmed_at IS NULL) <> (NEW.confirmed_at IS NULL))",
    "messages_added": f"INSERT ON messages REFERENCING {_ADDED} FOR EACH STATEMENT",
    "messages_removed": f"DELETE ON messages REFERENCING {_REMOVED} FOR EACH STATEMENT",
    "messages_changed": f"UPDATE ON messages REFERENCING {_ADDED} {_REMOVED} FOR EACH STATEMENT",
}
#: What TRUNCATE makes void. Whoever folds meanwhile is waited for, or would write it anew.
POSTGRES_EMPTIED = {"people": ("people", "confirmed"), "messages": STATES}


def upgrade() -> None:
    """Have the database keep them true from now on; and begin with the true counts."""
    if steps.is_sqlite():
        _make_table()
        _count()
        kept = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.execute(sa.insert(kept).values(STATISTICS))
        for trigger, change in SQLITE.items():
            op.execute(f"CREATE TRIGGER tally_{trigger} BEGIN {change} END")
        return
    if op.get_bind().scalar(sa.text("SELECT to_regclass('tallies') IS NULL")):
        op.execute("LOCK TABLE people, messages IN SHARE ROW EXCLUSIVE MODE")
        _make_table()
        _make_postgres_triggers()
    # Those who write wait for the triggers, and not for the counting.
    with op.get_context().autocommit_block():
        _count()


def _make_table() -> None:
    op.create_table(
        "tallies",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), nullable=False
        ),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hour", Instant, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tallies"),
    )
    op.create_index("ix_tallies_hour", "tallies", ["hour", "name"])


def _count() -> None:
    """Count what there is, and add what the tallies lack.

    A statement sees both as they are at one moment, triggers' rows included: so others may write
    meanwhile, and it can be done again.
    """
    people = sa.table("people", *(sa.column(n, Instant) for n in ("created_at", "confirmed_at")))
    messages = sa.table("messages", sa.column("state"), sa.column("settled_at", Instant))
    is_sent = messages.c.state == "sent"
    n = sa.func.count().label("n")
    level = sa.literal(EPOCH, Instant).label("hour")
    levels = [sa.select(_name("people"), level, n).select_from(people)]
    confirmed = sa.func.count(people.c.confirmed_at).label("n")
    levels += [sa.select(_name("confirmed"), level, confirmed)]
    levels += [
        sa.select(_name(state), level, n).where(messages.c.state == state) for state in STATES
    ]
    signed_up, sent = (
        _hour(at).label("hour") for at in (people.c.created_at, messages.c.settled_at)
    )
    since = now(-KEPT_SECONDS)
    flows = [
        sa.select(_name("sign_ups"), signed_up, n)
        .where(people.c.created_at > since)
        .group_by(sa.text("2")),
        sa.select(_name("deliveries"), sent, n)
        .where(is_sent, messages.c.settled_at > since)
        .group_by(sa.text("2")),
    ]
    tallies = sa.table("tallies", *map(sa.column, ("name", "hour", "count")))
    for counted in levels + flows:
        true = counted.subquery()
        told = (
            sa.select(sa.func.coalesce(sa.func.sum(tallies.c.count), 0))
            .where(tallies.c.name == true.c.name, tallies.c.hour == true.c.hour)
            .scalar_subquery()
        )
        lack = sa.select(true.c.name, true.c.hour, true.c.n - told)
        op.execute(sa.insert(tallies).from_select(["name", "hour", "count"], lack))


def _name(name: str) -> sa.Label[str]:
    return sa.literal(name, sa.Text).label("name")


def _hour(at: sa.ColumnElement[object]) -> sa.ColumnElement[object]:
    if op.get_bind().dialect.name == "sqlite":
        return sa.literal_column(f"{at} / 3600000000 * 3600000000")
    return sa.func.date_trunc("hour", at, "UTC")


def _make_postgres_triggers() -> None:
    """Each with its function; it names the schema, for whoever changes rows may look elsewhere."""
    bind = op.get_bind()
    schema = bind.dialect.identifier_preparer.quote(bind.scalar(sa.text("SELECT current_schema()")))
    epoch = "'epoch'::timestamptz"
    for name, rows in POSTGRES.items():
        changes = rows.replace("EPOCH", epoch)
        add = f"INSERT INTO {schema}.tallies (name, hour, count) {changes}"
        _make_postgres_trigger(f"tally_{name}", add, POSTGRES_EVENTS[name], schema)
    for table, names in POSTGRES_EMPTIED.items():
        levels = ", ".join(f"'{name}'" for name in names)
        forget = f"""
            LOCK TABLE {schema}.tallies IN EXCLUSIVE MODE;
            DELETE FROM {schema}.tallies WHERE hour = {epoch} AND name IN ({levels})
        """  # noqa: S608 - ours
        event = f"TRUNCATE ON {table} FOR EACH STATEMENT"
        _make_postgres_trigger(f"tally_{table}_emptied", forget, event, schema)


def _make_postgres_trigger(name: str, body: str, event: str, schema: str) -> None:
    op.execute(
        f"CREATE FUNCTION {schema}.{name}() RETURNS trigger LANGUAGE plpgsql "
        # With the rights of whoever migrates: another role may change people and know no tallies.
        "SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS "
        f"$$ BEGIN {body}; RETURN NULL; END $$"
    )
    when, _, rest = event.partition(" ON ")
    op.execute(f"CREATE TRIGGER {name} AFTER {when} ON {rest} EXECUTE FUNCTION {schema}.{name}()")
