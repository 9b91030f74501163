"""Entries of the audit trail that are written ahead of their change say so."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Every entry so far was written after its change."""
    op.execute("ALTER TABLE audit ADD COLUMN done boolean NOT NULL DEFAULT true")


def downgrade() -> None:
    """Remove it."""
    op.execute("ALTER TABLE audit DROP COLUMN done")
