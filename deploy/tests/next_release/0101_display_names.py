"""What a release would do that renames a column: both are kept in step while two versions run.

Postgres alone: what it shows is how a database in use is migrated.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.schema import names
from reach.db.types import Instant, Key

revision = "0101"
down_revision = max(name[:4] for name in names() if name[:4] < revision)

#: Who writes one form gets the other; who writes both is left alone.
IN_STEP = """
    CREATE FUNCTION people_in_step() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            NEW.display_name := COALESCE(NEW.display_name, NEW.name);
        ELSIF NEW.name <> OLD.name AND NEW.display_name IS NOT DISTINCT FROM OLD.display_name THEN
            NEW.display_name := NEW.name;
        ELSIF NEW.display_name <> OLD.display_name AND NEW.name = OLD.name THEN
            NEW.name := NEW.display_name;
        END IF;
        RETURN NEW;
    END $$
"""


def upgrade() -> None:
    """Expand."""
    op.add_column("people", sa.Column("display_name", sa.Text))
    op.add_column(
        "people", sa.Column("came_by", sa.Text, nullable=False, server_default=sa.text("'form'"))
    )
    op.execute(
        "ALTER TABLE people ADD CONSTRAINT ck_people_display_name "
        "CHECK (display_name <> '') NOT VALID"
    )
    op.execute(IN_STEP)
    op.execute(
        "CREATE TRIGGER people_in_step BEFORE INSERT OR UPDATE ON people "
        "FOR EACH ROW EXECUTE FUNCTION people_in_step()"
    )
    op.create_table(
        "notes",
        sa.Column("id", Key, nullable=False),
        sa.Column("person_id", Key, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notes"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name="fk_notes_person_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_notes_person_id", "notes", ["person_id", "id"])
