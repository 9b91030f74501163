"""Handlers, verifiers, events by month with their descriptors, and the outbox of notifications."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE handlers (
        handler_id uuid CONSTRAINT handlers_pkey PRIMARY KEY,
        account_id uuid NOT NULL,
        handler_type smallint NOT NULL,
        description text NOT NULL DEFAULT '',
        policies jsonb,
        lambda_id uuid,
        create_time timestamptz NOT NULL,
        last_update_time timestamptz NOT NULL,
        version integer NOT NULL DEFAULT 1
    )
    """,
    "CREATE INDEX handlers_newest_idx ON handlers (account_id, create_time DESC, handler_id)",
    """
    CREATE TABLE verifiers (
        verifier_id uuid CONSTRAINT verifiers_pkey PRIMARY KEY,
        account_id uuid NOT NULL,
        description text NOT NULL DEFAULT '',
        policies jsonb NOT NULL,
        create_time timestamptz NOT NULL,
        last_update_time timestamptz NOT NULL,
        version integer NOT NULL DEFAULT 1
    )
    """,
    "CREATE INDEX verifiers_newest_idx ON verifiers (account_id, create_time DESC, verifier_id)",
    # Partitions of a month each are made ahead of time by luna_make_event_month(); what is in no such month, because
    # its time was given by the caller, is in events_other. So no time is refused, and an old month is dropped at once.
    """
    CREATE TABLE events (
        event_id uuid NOT NULL,
        account_id uuid NOT NULL,
        handler_id uuid NOT NULL,
        create_time timestamptz NOT NULL,
        end_time timestamptz NOT NULL,
        external_id text NOT NULL DEFAULT '',
        user_data text NOT NULL DEFAULT '',
        source text,
        stream_id uuid,
        track_id text,
        face_id uuid,
        tags text[] NOT NULL DEFAULT '{}',
        city text,
        area text,
        district text,
        street text,
        house_number text,
        longitude double precision,
        latitude double precision,
        gender smallint,
        age smallint,
        emotion smallint,
        mask smallint,
        ethnic_group smallint,
        liveness smallint,
        apparent_gender smallint,
        apparent_age smallint,
        headwear_state smallint,
        headwear_apparent_color text,
        sleeve_length text,
        upper_clothing_colors text[],
        lower_garment_type text,
        lower_garment_colors text[],
        shoes_apparent_color text,
        backpack_state smallint,
        top_matching_candidates_label text,
        top_similar_object_id uuid,
        top_similar_external_id text,
        top_similar_object_similarity double precision,
        matches jsonb,
        face_detections jsonb,
        body_detections jsonb,
        attach_result uuid[] NOT NULL DEFAULT '{}',
        meta jsonb,
        CONSTRAINT events_pkey PRIMARY KEY (event_id, create_time)
    ) PARTITION BY RANGE (create_time)
    """,
    "CREATE TABLE events_other PARTITION OF events DEFAULT",
    "CREATE INDEX events_newest_idx ON events (account_id, create_time DESC, event_id DESC)",
    "CREATE INDEX events_external_id_idx ON events (external_id) WHERE external_id <> ''",
    "CREATE INDEX events_track_id_idx ON events (track_id) WHERE track_id IS NOT NULL",
    "CREATE INDEX events_face_id_idx ON events (face_id) WHERE face_id IS NOT NULL",
    "CREATE INDEX events_source_idx ON events (source, create_time DESC) WHERE source IS NOT NULL",
    "CREATE INDEX events_tags_idx ON events USING gin (tags) WHERE tags <> '{}'",
    "CREATE INDEX events_meta_idx ON events USING gin (meta jsonb_path_ops) WHERE meta IS NOT NULL",
    # the descriptors of an event go where the event goes; vectors do not compress, and trying costs time
    """
    CREATE TABLE event_descriptors (
        event_id uuid NOT NULL,
        create_time timestamptz NOT NULL,
        kind text NOT NULL,
        version integer NOT NULL,
        data bytea NOT NULL,
        score real,
        CONSTRAINT event_descriptors_pkey PRIMARY KEY (event_id, version, create_time)
    ) PARTITION BY RANGE (create_time)
    """,
    "ALTER TABLE event_descriptors ALTER COLUMN data SET STORAGE EXTERNAL",
    "CREATE TABLE event_descriptors_other PARTITION OF event_descriptors DEFAULT",
    # what subscribers are to be told: written with the event, taken away once it is in the stream of notifications
    """
    CREATE TABLE event_outbox (
        position bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT event_outbox_pkey PRIMARY KEY,
        account_id uuid NOT NULL,
        notice bytea NOT NULL
    )
    """,
)

FUNCTIONS = (
    # whoever fills the stream of notifications is woken by the commit, however the row came in
    """
    CREATE FUNCTION luna_tell_notices() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('luna_notices', '');
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER event_outbox_insert AFTER INSERT ON event_outbox
        FOR EACH STATEMENT EXECUTE FUNCTION luna_tell_notices()
    """,
    # an event and its descriptors go together; the key of a partitioned table holds its time too
    """
    CREATE FUNCTION luna_erase_event_descriptors() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM event_descriptors AS one USING gone
            WHERE one.event_id = gone.event_id AND one.create_time = gone.create_time;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER events_delete AFTER DELETE ON events REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION luna_erase_event_descriptors()
    """,
)


def upgrade() -> None:
    """Make the tables, and what keeps them together."""
    for statement in (*TABLES, *FUNCTIONS):
        op.execute(statement)


def downgrade() -> None:
    """Remove everything."""
    for table in ("event_outbox", "event_descriptors", "events", "verifiers", "handlers"):
        op.execute(f"DROP TABLE {table}")
    for function in ("luna_erase_event_descriptors()", "luna_tell_notices()"):
        op.execute(f"DROP FUNCTION {function}")
