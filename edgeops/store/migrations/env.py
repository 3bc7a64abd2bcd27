"""Run by alembic: applies the steps on the connection that ``upgrade`` handed over."""

from alembic import context

from edgeops.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
