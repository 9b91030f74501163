"""Tasks, their parts and errors, schedules, and the queue that hands tasks to workers."""

from __future__ import annotations

from alembic import op

from storage import queue_schema

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE schedules (
        schedule_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT schedules_pkey PRIMARY KEY,
        account_id uuid NOT NULL,
        task_type smallint NOT NULL,
        content jsonb NOT NULL,
        description text NOT NULL DEFAULT '',
        cron text NOT NULL,
        timezone text NOT NULL,
        running boolean NOT NULL,
        next_run_time timestamptz,
        create_time timestamptz NOT NULL,
        last_update_time timestamptz NOT NULL
    )
    """,
    "CREATE INDEX schedules_newest_idx ON schedules (account_id, create_time DESC, schedule_id DESC)",
    "CREATE INDEX schedules_due_idx ON schedules (next_run_time) WHERE running",
    """
    CREATE TABLE tasks (
        task_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT tasks_pkey PRIMARY KEY,
        account_id uuid NOT NULL,
        task_type smallint NOT NULL,
        status smallint NOT NULL DEFAULT 0,
        description text NOT NULL DEFAULT '',
        content jsonb NOT NULL,
        create_time timestamptz NOT NULL,
        last_update_time timestamptz NOT NULL,
        end_time timestamptz,
        result_id uuid,
        result_type text NOT NULL DEFAULT '',
        result_name text NOT NULL DEFAULT '',
        parts_done integer NOT NULL DEFAULT 0,
        parts_all integer NOT NULL DEFAULT 0,
        tries smallint NOT NULL DEFAULT 0,
        schedule_id bigint CONSTRAINT tasks_schedule_id_fkey REFERENCES schedules ON DELETE SET NULL
    )
    """,
    "CREATE INDEX tasks_newest_idx ON tasks (account_id, create_time DESC, task_id DESC)",
    "CREATE INDEX tasks_schedule_id_task_id_idx ON tasks (schedule_id, task_id) WHERE schedule_id IS NOT NULL",
    "CREATE INDEX tasks_unfinished_idx ON tasks (status) WHERE status IN (0, 1, 4)",
    """
    CREATE TABLE subtasks (
        subtask_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT subtasks_pkey PRIMARY KEY,
        task_id bigint NOT NULL CONSTRAINT subtasks_task_id_fkey REFERENCES tasks ON DELETE CASCADE,
        number integer NOT NULL,
        status smallint NOT NULL DEFAULT 0,
        content jsonb NOT NULL,
        create_time timestamptz NOT NULL,
        last_update_time timestamptz NOT NULL,
        end_time timestamptz,
        result_id uuid,
        tries smallint NOT NULL DEFAULT 0,
        CONSTRAINT subtasks_task_id_number_key UNIQUE (task_id, number)
    )
    """,
    """
    CREATE TABLE task_errors (
        error_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT task_errors_pkey PRIMARY KEY,
        task_id bigint NOT NULL CONSTRAINT task_errors_task_id_fkey REFERENCES tasks ON DELETE CASCADE,
        account_id uuid NOT NULL,
        task_type smallint NOT NULL,
        code integer NOT NULL,
        status_code smallint NOT NULL,
        time timestamptz NOT NULL,
        description text NOT NULL,
        detail text NOT NULL,
        info text
    )
    """,
    """
    CREATE TABLE task_notes (
        task_id bigint NOT NULL CONSTRAINT task_notes_task_id_fkey REFERENCES tasks ON DELETE CASCADE,
        number integer NOT NULL,
        answer bytea,
        CONSTRAINT task_notes_pkey PRIMARY KEY (task_id, number)
    )
    """,
    "CREATE INDEX task_errors_task_id_idx ON task_errors (task_id, error_id DESC)",
    "CREATE INDEX task_errors_newest_idx ON task_errors (account_id, time DESC, error_id DESC)",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in TABLES:
        op.execute(statement)
    queue_schema.install(op.get_bind())


def downgrade() -> None:
    """Remove everything."""
    queue_schema.remove(op.get_bind())
    for table in ("task_notes", "task_errors", "subtasks", "tasks", "schedules"):
        op.execute(f"DROP TABLE {table}")
