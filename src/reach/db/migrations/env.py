"""How Alembic runs our migrations: in the transaction that ``db.migrate`` opened."""

from alembic import context

from reach.db.columns import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=False,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
