"""Tokens and their keys, images and objects, and the audit trail."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE media (
        media_id uuid CONSTRAINT media_pkey PRIMARY KEY,
        account_id uuid NOT NULL,
        kind text NOT NULL,
        content_type text NOT NULL,
        size integer NOT NULL,
        sha256 bytea NOT NULL,
        meta jsonb NOT NULL,
        create_time timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE token_keys (
        key_id uuid CONSTRAINT token_keys_pkey PRIMARY KEY,
        secret bytea NOT NULL,
        create_time timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE tokens (
        token_id uuid CONSTRAINT tokens_pkey PRIMARY KEY,
        account_id uuid NOT NULL
            CONSTRAINT tokens_account_id_fkey REFERENCES accounts ON DELETE CASCADE,
        description text NOT NULL DEFAULT '',
        expiration_time timestamptz,
        permissions jsonb NOT NULL,
        visibility_area text NOT NULL,
        key_id uuid NOT NULL CONSTRAINT tokens_key_id_fkey REFERENCES token_keys,
        revision uuid NOT NULL,
        create_time timestamptz NOT NULL,
        last_update_time timestamptz NOT NULL
    )
    """,
    "CREATE INDEX tokens_newest_idx ON tokens (account_id, create_time DESC, token_id)",
    "CREATE INDEX tokens_key_id_idx ON tokens (key_id)",
    """
    CREATE TABLE audit (
        entry_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_pkey PRIMARY KEY,
        time timestamptz NOT NULL,
        account_id uuid,
        token_id uuid,
        method text NOT NULL,
        objects uuid[] NOT NULL,
        address text NOT NULL,
        request_id text NOT NULL
    )
    """,
    "CREATE INDEX audit_account_idx ON audit (account_id, entry_id DESC)",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Remove them."""
    for table in ("audit", "tokens", "token_keys", "media"):
        op.execute(f"DROP TABLE {table}")
