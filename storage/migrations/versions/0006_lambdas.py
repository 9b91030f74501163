"""Lambdas, and what is reported of them."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE lambdas (
        lambda_id uuid CONSTRAINT lambdas_pkey PRIMARY KEY,
        account_id uuid NOT NULL,
        name text NOT NULL,
        description text NOT NULL DEFAULT '',
        lambda_type text NOT NULL,
        commands jsonb NOT NULL,
        pods smallint NOT NULL,
        archive_id uuid NOT NULL,
        token_id uuid NOT NULL,
        create_time timestamptz NOT NULL,
        last_update_time timestamptz NOT NULL,
        version integer NOT NULL DEFAULT 1,
        CONSTRAINT lambdas_account_id_name_key UNIQUE (account_id, name)
    )
    """,
    "CREATE INDEX lambdas_newest_idx ON lambdas (account_id, create_time DESC, lambda_id)",
    """
    CREATE TABLE lambda_states (
        lambda_id uuid CONSTRAINT lambda_states_pkey PRIMARY KEY
            CONSTRAINT lambda_states_lambda_id_fkey REFERENCES lambdas ON DELETE CASCADE,
        version integer NOT NULL,
        status text NOT NULL,
        image_status text NOT NULL,
        base text NOT NULL,
        info jsonb NOT NULL,
        image_logs jsonb NOT NULL,
        documentation text NOT NULL,
        report_time timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Make the tables."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE lambda_states")
    op.execute("DROP TABLE lambdas")
