"""All tables, as they were before the words of 0009; no older database is known.

Tallies are counted as rows change, by the database itself: by triggers, so that nothing can forget
it, no cascade and no operator's own SQL. SQLite has one writer at a time, whose triggers change a
tally's one row. On Postgres all writers would wait for each other at that row: there each
statement adds rows of its own, by how much it changed what, and ``counters.fold`` adds them up.

``people.typed_version`` is the version of a record that a stranger's sign-up made. Any other change
counts ``version`` up, and so takes the record out of strangers' hands.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.types import EPOCH, Document, Instant, Key, OrderedText

revision = "0008"
down_revision = None

STATES = ("queued", "sent", "failed", "cancelled")

#: SQLite guesses that any index narrows a search to ten rows, unless it has statistics. These are
#: a large outbox's, fixed, so that every installation has the same plans. Table, index, and
#: https://sqlite.org/fileformat2.html#stat1tab: how many rows there are, then how many share a
#: value of the index's first column, then of its first two.
STATISTICS = (
    ("people", "sqlite_autoindex_people_1", "1000000 1"),
    ("people", "uq_people_email_key", "1000000 1"),
    ("messages", "sqlite_autoindex_messages_1", "2000000 1"),
    ("messages", "ix_messages_due", "10000 2"),
    ("messages", "ix_messages_person_id", "2000000 2 1"),
    ("messages", "ix_messages_state", "2000000 500000 1"),
    ("messages", "ix_messages_template", "2000000 500000 1"),
    ("messages", "ix_messages_sweep", "10000 2"),
    ("attempts", "sqlite_autoindex_attempts_1", "2000000 1"),
    ("attempts", "ix_attempts_message_id", "2000000 2 1"),
    ("idempotency_keys", "sqlite_autoindex_idempotency_keys_1", "100000 1000 1000 1"),
    ("idempotency_keys", "ix_idempotency_keys_person_id", "100000 2"),
    ("idempotency_keys", "ix_idempotency_keys_created_at", "100000 2"),
    ("proofs", "sqlite_autoindex_proofs_1", "100000 1"),
    ("proofs", "ix_proofs_used_at", "100000 2"),
    ("link_requests", "sqlite_autoindex_link_requests_1", "10000 1"),
    ("link_requests", "ix_link_requests_email_key", "10000 2"),
    ("tallies", "ix_tallies_hour", "1000 10 1"),
)

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
#: What TRUNCATE makes void. A fold meanwhile is waited for, or it would write it again.
POSTGRES_EMPTIED = {"people": ("people", "confirmed"), "messages": STATES}


def upgrade() -> None:
    """Make the tables, and have the database keep its tallies true."""
    for make in (_people, _messages, _attempts, _api_keys, _idempotency_keys, _others, _tallies):
        make()
    if op.get_bind().dialect.name == "sqlite":
        _make_sqlite_triggers()
        op.execute("ANALYZE sqlite_schema")  # it makes the table, and reads nothing else
        op.execute("DELETE FROM sqlite_stat1")
        kept = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.execute(sa.insert(kept).values(STATISTICS))
    else:
        _make_postgres_triggers()


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", Key, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", OrderedText, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("confirmed_at", Instant),
        sa.Column("links_version", sa.Integer, nullable=False),
        sa.Column("language", sa.Text),
        sa.Column("greeted_at", Instant),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("typed_version", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
    )
    op.create_index("uq_people_email_key", "people", ["email_key"], unique=True)


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", Key, nullable=False),
        sa.Column("person_id", Key, nullable=False),
        sa.Column("template", sa.Text, nullable=False),
        sa.Column("data", Document, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("due_at", Instant, nullable=False),
        sa.Column("lease", sa.Integer, nullable=False),
        sa.Column("settled_lease", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("first_failed_at", Instant),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("settled_at", Instant),
        sa.Column("last_error", sa.Text),
        sa.Column("trace_context", sa.Text),
        sa.Column("suspected_at", Instant),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name="fk_messages_person_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint(f"state IN {STATES}", name="ck_messages_state"),
    )
    op.create_index("ix_messages_person_id", "messages", ["person_id", "id"])
    op.create_index("ix_messages_state", "messages", ["state", "id"])
    op.create_index("ix_messages_template", "messages", ["template", "id"])
    for name, column, where in (
        ("ix_messages_due", "due_at", sa.text("state = 'queued'")),
        ("ix_messages_sweep", "settled_at", sa.text("template <> 'welcome'")),
    ):
        op.create_index(name, "messages", [column], postgresql_where=where, sqlite_where=where)


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", Key, nullable=False),
        sa.Column("message_id", Key, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("finished_at", Instant, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("smtp_code", sa.SmallInteger),
        sa.Column("enhanced_code", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_attempts_message_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_attempts_message_id", "attempts", ["message_id", "id"])


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", Key, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("scopes", Document, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant),
        sa.Column("revoked_at", Instant),
        sa.Column("last_used_at", Instant),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
    )


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("person_id", Key),
        sa.Column("status", sa.SmallInteger),
        sa.Column("headers", Document),
        sa.Column("body", sa.Text),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("caller", "route", "key", name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people.id"],
            name="fk_idempotency_keys_person_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_idempotency_keys_person_id", "idempotency_keys", ["person_id"])
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def _others() -> None:
    """Make the tables of proofs of work that were used, and of requests for a link."""
    op.create_table(
        "proofs",
        sa.Column("nonce", sa.Text, nullable=False),
        sa.Column("used_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("nonce", name="pk_proofs"),
    )
    op.create_index("ix_proofs_used_at", "proofs", ["used_at"])
    op.create_table(
        "link_requests",
        sa.Column("id", Key, nullable=False),
        sa.Column("email_key", OrderedText, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("trace_context", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_link_requests"),
    )
    op.create_index("ix_link_requests_email_key", "link_requests", ["email_key"])


def _tallies() -> None:
    """Make their table; each level begins with 0."""
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
    kept = sa.table("tallies", sa.column("name"), sa.column("hour", Instant), sa.column("count"))
    levels = ("people", "confirmed", *STATES)
    op.execute(sa.insert(kept).values([(name, EPOCH, 0) for name in levels]))


def _make_sqlite_triggers() -> None:
    for trigger, change in SQLITE.items():
        op.execute(f"CREATE TRIGGER tally_{trigger} BEGIN {change} END")


def _make_postgres_triggers() -> None:
    """Make each with its function, which names the schema: others may look elsewhere by default."""
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
        """
        event = f"TRUNCATE ON {table} FOR EACH STATEMENT"
        _make_postgres_trigger(f"tally_{table}_emptied", forget, event, schema)


def _make_postgres_trigger(name: str, body: str, event: str, schema: str) -> None:
    op.execute(
        f"CREATE FUNCTION {schema}.{name}() RETURNS trigger LANGUAGE plpgsql "
        # With the rights of the role that migrates: another may change people, and not the tallies.
        "SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS "
        f"$$ BEGIN {body}; RETURN NULL; END $$"
    )
    when, _, rest = event.partition(" ON ")
    op.execute(f"CREATE TRIGGER {name} AFTER {when} ON {rest} EXECUTE FUNCTION {schema}.{name}()")
