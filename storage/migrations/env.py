"""What Alembic runs: the migrations, on the connection that `storage.migrate` hands over."""

from __future__ import annotations

from alembic import context

from storage.schema import Xid8, metadata

connection = context.config.attributes["connection"]
connection.dialect.ischema_names["xid8"] = Xid8
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
