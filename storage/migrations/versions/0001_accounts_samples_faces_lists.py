"""Accounts, samples, faces, lists, and the changes that search indexes follow."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE accounts (
        account_id uuid CONSTRAINT accounts_pkey PRIMARY KEY,
        login text NOT NULL CONSTRAINT accounts_login_key UNIQUE,
        password_hash text NOT NULL,
        account_type text NOT NULL,
        description text NOT NULL DEFAULT '',
        create_time timestamptz NOT NULL,
        last_update_time timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE samples (
        sample_id uuid CONSTRAINT samples_pkey PRIMARY KEY,
        account_id uuid NOT NULL,
        sample_type text NOT NULL,
        size integer NOT NULL,
        sha256 bytea NOT NULL,
        create_time timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE faces (
        face_id uuid CONSTRAINT faces_pkey PRIMARY KEY,
        account_id uuid NOT NULL,
        event_id uuid,
        user_data text NOT NULL DEFAULT '',
        external_id text NOT NULL DEFAULT '',
        avatar text NOT NULL DEFAULT '',
        create_time timestamptz NOT NULL,
        CONSTRAINT faces_account_id_face_id_key UNIQUE (account_id, face_id)
    )
    """,
    "CREATE INDEX faces_newest_idx ON faces (account_id, create_time DESC, face_id)",
    "CREATE INDEX faces_external_id_idx ON faces (external_id)",
    "CREATE INDEX faces_event_id_idx ON faces (event_id) WHERE event_id IS NOT NULL",
    """
    CREATE TABLE face_attributes (
        face_id uuid CONSTRAINT face_attributes_pkey PRIMARY KEY
            CONSTRAINT face_attributes_face_id_fkey REFERENCES faces ON DELETE CASCADE,
        attribute_id uuid CONSTRAINT face_attributes_attribute_id_key UNIQUE,
        create_time timestamptz NOT NULL,
        has_basic_attributes boolean NOT NULL,
        age smallint,
        gender smallint,
        ethnicity smallint,
        basic_attributes_samples uuid[] NOT NULL,
        face_descriptor_samples uuid[] NOT NULL,
        CONSTRAINT face_attributes_basic_attributes_check
            CHECK (has_basic_attributes OR (age IS NULL AND gender IS NULL AND ethnicity IS NULL))
    )
    """,
    """
    CREATE TABLE face_descriptors (
        face_id uuid CONSTRAINT face_descriptors_face_id_fkey REFERENCES faces ON DELETE CASCADE,
        version integer,
        data bytea STORAGE EXTERNAL NOT NULL,
        CONSTRAINT face_descriptors_pkey PRIMARY KEY (face_id, version)
    )
    """,
    """
    CREATE TABLE lists (
        list_id uuid CONSTRAINT lists_pkey PRIMARY KEY,
        account_id uuid NOT NULL,
        user_data text NOT NULL DEFAULT '',
        create_time timestamptz NOT NULL,
        last_update_time timestamptz NOT NULL,
        CONSTRAINT lists_account_id_list_id_key UNIQUE (account_id, list_id)
    )
    """,
    "CREATE INDEX lists_newest_idx ON lists (account_id, create_time DESC, list_id)",
    """
    CREATE TABLE list_faces (
        account_id uuid NOT NULL,
        list_id uuid,
        face_id uuid,
        CONSTRAINT list_faces_pkey PRIMARY KEY (list_id, face_id),
        CONSTRAINT list_faces_account_id_list_id_fkey FOREIGN KEY (account_id, list_id)
            REFERENCES lists (account_id, list_id) ON DELETE CASCADE,
        CONSTRAINT list_faces_account_id_face_id_fkey FOREIGN KEY (account_id, face_id)
            REFERENCES faces (account_id, face_id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX list_faces_face_id_list_id_idx ON list_faces (face_id, list_id)",
    """
    CREATE UNLOGGED TABLE index_changes (
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        face_id uuid NOT NULL
    )
    """,
    "CREATE INDEX index_changes_xid_idx ON index_changes (xid)",
    """
    CREATE UNLOGGED TABLE index_floor (
        single boolean CONSTRAINT index_floor_pkey PRIMARY KEY DEFAULT true
            CONSTRAINT index_floor_single_check CHECK (single),
        epoch uuid NOT NULL,
        origin text NOT NULL,
        floor xid8 NOT NULL,
        mark xid8 NOT NULL,
        marked_at timestamptz NOT NULL
    )
    """,
)

FUNCTIONS = (
    # The cluster and the database: transaction ids of one mean nothing in another, where a copy of the tables may come.
    """
    CREATE FUNCTION luna_origin() RETURNS text LANGUAGE sql STABLE AS $$
        SELECT (SELECT system_identifier FROM pg_control_system()) || '/' ||
               (SELECT oid FROM pg_database WHERE datname = current_database())
    $$
    """,
    """
    CREATE FUNCTION luna_log_changes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO index_changes (face_id) SELECT DISTINCT face_id FROM changed;
        IF found THEN
            PERFORM pg_notify('luna_index', '');
        END IF;
        RETURN NULL;
    END $$
    """,
    # A trigger with transition tables cannot be limited to columns, so this one compares.
    """
    CREATE FUNCTION luna_log_updated_faces() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO index_changes (face_id)
            SELECT now.face_id FROM now JOIN before USING (face_id)
            WHERE (now.account_id, now.create_time, now.external_id, now.event_id)
                IS DISTINCT FROM (before.account_id, before.create_time, before.external_id, before.event_id);
        IF found THEN
            PERFORM pg_notify('luna_index', '');
        END IF;
        RETURN NULL;
    END $$
    """,
    # TRUNCATE names no rows: a new epoch makes every follower read everything again.
    """
    CREATE FUNCTION luna_reset_index() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE index_floor SET epoch = gen_random_uuid();
        PERFORM pg_notify('luna_index', '');
        RETURN NULL;
    END $$
    """,
)

LOGGED = (
    ("face_descriptors", "INSERT", "NEW"),
    ("face_descriptors", "UPDATE", "NEW"),
    ("face_descriptors", "DELETE", "OLD"),
    ("list_faces", "INSERT", "NEW"),
    ("list_faces", "DELETE", "OLD"),
)


def upgrade() -> None:
    """Make everything in an empty database."""
    for statement in (*TABLES, *FUNCTIONS):
        op.execute(statement)
    for table, event, rows in LOGGED:
        op.execute(
            f"CREATE TRIGGER {table}_{event.lower()} AFTER {event} ON {table} REFERENCING {rows} TABLE AS changed "
            "FOR EACH STATEMENT EXECUTE FUNCTION luna_log_changes()"
        )
    op.execute(
        "CREATE TRIGGER faces_update AFTER UPDATE ON faces REFERENCING OLD TABLE AS before NEW TABLE AS now "
        "FOR EACH STATEMENT EXECUTE FUNCTION luna_log_updated_faces()"
    )
    for table in ("faces", "face_descriptors", "list_faces"):
        op.execute(
            f"CREATE TRIGGER {table}_truncate AFTER TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION luna_reset_index()"
        )
