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

#: Whoever runs lambdas looks at the rows at once; what a statement changed does not matter, they are few.
TELLING = (
    """
    CREATE FUNCTION luna_tell_lambdas() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('luna_lambdas', '');
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER lambdas_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lambdas
        FOR EACH STATEMENT EXECUTE FUNCTION luna_tell_lambdas()
    """,
)


def upgrade() -> None:
    """Make the tables, and what tells of changes."""
    for statement in (*TABLES, *TELLING):
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE lambda_states")
    op.execute("DROP TABLE lambdas")
    op.execute("DROP FUNCTION luna_tell_lambdas")
