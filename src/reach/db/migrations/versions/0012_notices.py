"""Notices for the maker: what they were told of, messages about nobody, and who was only added.

A notice about several people is nobody's, so ``messages.person_id`` may be NULL. SQLite cannot
alter a column; to copy the table would take minutes with ten million rows. What is stored does not
change by it, so the schema alone is written, as https://sqlite.org/lang_altertable.html#otheralter
says: that takes the same time however many rows there are.

``sign_ups`` counts everybody who came. Those whom an operator added are counted beside it, as
``added``: a trigger on Postgres goes row by row, so a stranger's sign-up pays nothing for it.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.migrations import steps
from reach.db.types import Document, Instant, Key

revision = "0012"
down_revision = "0011"

HOUR = "NEW.created_at / 3600000000 * 3600000000"
SQLITE = f"""
    CREATE TRIGGER count_people_added_only AFTER INSERT ON people
    WHEN NEW.email <> '' AND NEW.typed_version IS NULL BEGIN
        INSERT INTO counters (name, hour, count) SELECT 'added', {HOUR}, 0
        WHERE NOT EXISTS (SELECT 1 FROM counters WHERE name = 'added' AND hour = {HOUR});
        UPDATE counters SET count = count + 1 WHERE name = 'added' AND hour = {HOUR};
    END
"""
NEEDED, NOT_NEEDED = "person_id TEXT NOT NULL", "person_id TEXT"
MESSAGES = "FROM sqlite_schema WHERE type = 'table' AND name = 'messages'"


def upgrade() -> None:
    """Add, and need less; the locks on people and messages are held for a moment."""
    op.create_table(
        "notices",
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("told", Document, nullable=False),
        sa.Column("told_at", Instant, nullable=False),
        sa.Column("unnamed_since", Instant, nullable=False),
        sa.Column("message_id", Key),
        sa.PrimaryKeyConstraint("address", name="pk_notices"),
    )
    if steps.is_sqlite():
        op.execute(SQLITE)
        _need_no_person_on_sqlite()
    else:
        op.alter_column("messages", "person_id", nullable=True)
        _count_added_on_postgres()


def _need_no_person_on_sqlite() -> None:
    """Raises RuntimeError if the schema is not as it was made: then nothing is changed."""
    bind = op.get_bind()
    made = str(bind.exec_driver_sql(f"SELECT sql {MESSAGES}").scalar_one())
    if made.count(NEEDED) != 1:
        raise RuntimeError("the table of messages is not as Reach has made it")
    version = int(bind.exec_driver_sql("PRAGMA schema_version").scalar_one())
    bind.exec_driver_sql("PRAGMA writable_schema=ON")
    bind.exec_driver_sql(
        "UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = 'messages'",
        (made.replace(NEEDED, NOT_NEEDED),),
    )
    # Other connections, and this one, read the schema again.
    bind.exec_driver_sql(f"PRAGMA schema_version={version + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema=RESET")
    columns = bind.exec_driver_sql("PRAGMA table_info(messages)").mappings()
    if any(column["name"] == "person_id" and column["notnull"] for column in columns):
        raise RuntimeError("this build of SQLite does not let its schema be changed")


def _count_added_on_postgres() -> None:
    """The function names the schema, and has the migrating role's rights: as those of 0008."""
    bind = op.get_bind()
    schema = bind.dialect.identifier_preparer.quote(bind.scalar(sa.text("SELECT current_schema()")))
    name = f"{schema}.count_people_added_only"
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
        "SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN "
        f"INSERT INTO {schema}.counters (name, hour, count) "
        "VALUES ('added', date_trunc('hour', NEW.created_at, 'UTC'), 1); RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER count_people_added_only AFTER INSERT ON people FOR EACH ROW "
        "WHEN (NEW.email <> '' AND NEW.typed_version IS NULL) "
        f"EXECUTE FUNCTION {name}()"
    )
