"""How Alembic runs our migrations: over the connection that ``db.migrate`` opened."""

from alembic import context

from reach.db.types import metadata

given = context.config.attributes
context.configure(
    connection=given["connection"],
    target_metadata=metadata,
    render_as_batch=False,
    # On SQLite all are one transaction, begun before: then this means nothing.
    transaction_per_migration=True,
    on_version_apply=given.get("on_version_apply", ()),
)
with context.begin_transaction():
    context.run_migrations()
