"""Handlers, verifiers, events by month with their descriptors and their changes, and the outbox of notifications."""

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
    "CREATE INDEX events_create_time_idx ON events (create_time DESC, event_id DESC)",
    "CREATE INDEX events_top_similar_object_id_idx ON events (top_similar_object_id) "
    "WHERE top_similar_object_id IS NOT NULL",
    "CREATE INDEX events_top_similar_external_id_idx ON events (top_similar_external_id) "
    "WHERE top_similar_external_id <> ''",
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
    # an event that an index has to look at again; or, without an id, a time of which every event was dropped
    """
    CREATE UNLOGGED TABLE event_changes (
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        event_id uuid,
        create_time timestamptz NOT NULL,
        dropped_until timestamptz,
        CONSTRAINT event_changes_kind_check CHECK ((event_id IS NULL) = (dropped_until IS NOT NULL))
    )
    """,
    "CREATE INDEX event_changes_xid_idx ON event_changes (xid)",
)

FUNCTIONS = (
    # Nobody is notified: that would let only one transaction commit at a time, and events come by the thousand.
    """
    CREATE FUNCTION luna_log_event_changes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO event_changes (event_id, create_time) SELECT DISTINCT event_id, create_time FROM changed;
        RETURN NULL;
    END $$
    """,
    # A trigger with transition tables cannot be limited to columns, so this one compares.
    """
    CREATE FUNCTION luna_log_updated_events() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO event_changes (event_id, create_time)
            SELECT event_id, create_time FROM (
                SELECT event_id, create_time, account_id, external_id FROM now
                EXCEPT SELECT event_id, create_time, account_id, external_id FROM before
            ) AS come
            UNION
            SELECT event_id, create_time FROM (
                SELECT event_id, create_time, account_id, external_id FROM before
                EXCEPT SELECT event_id, create_time, account_id, external_id FROM now
            ) AS gone;
        RETURN NULL;
    END $$
    """,
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
    # asks the catalogue and not a cache of it: another process may have made the month a moment ago
    """
    CREATE FUNCTION luna_has_event_month(suffix text) RETURNS boolean LANGUAGE sql VOLATILE AS $$
        SELECT EXISTS (
            SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE inhparent = 'events'::regclass AND relname = 'events_' || suffix
        )
    $$
    """,
    # The month that a day is in gets partitions of its own, with what is in the default ones of it already. Writers are
    # kept out of the tables meanwhile: one that has found the default partition would be refused by it afterwards.
    # Nobody waits long for a lock: whoever calls this tries again (storage/event_months.py).
    """
    CREATE FUNCTION luna_make_event_month(day date) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
    DECLARE
        since timestamptz := date_trunc('month', day::timestamp) AT TIME ZONE 'UTC';
        until timestamptz := (date_trunc('month', day::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
        suffix text := to_char(day, 'YYYY_MM');
        parent text;
    BEGIN
        IF luna_has_event_month(suffix) THEN
            RETURN false;
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('luna_event_months'));
        IF luna_has_event_month(suffix) THEN
            RETURN false;
        END IF;
        LOCK TABLE events, event_descriptors IN SHARE ROW EXCLUSIVE MODE;
        FOREACH parent IN ARRAY ARRAY['events', 'event_descriptors'] LOOP
            EXECUTE format('CREATE TABLE %1$s_%2$s (LIKE %1$s INCLUDING ALL)', parent, suffix);
            EXECUTE format(
                'WITH moved AS (DELETE FROM %1$s_other WHERE create_time >= $1 AND create_time < $2 RETURNING *) '
                'INSERT INTO %1$s_%2$s SELECT * FROM moved', parent, suffix
            ) USING since, until;
            EXECUTE format(
                'ALTER TABLE %1$s ATTACH PARTITION %1$s_%2$s FOR VALUES FROM (%3$L) TO (%4$L)',
                parent, suffix, since, until
            );
        END LOOP;
        RETURN true;
    END $$
    """,
    # Everything of a month goes at once, without a look at its rows. Whoever follows the events is told of the time.
    """
    CREATE FUNCTION luna_drop_event_month(day date) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
    DECLARE
        since timestamptz := date_trunc('month', day::timestamp) AT TIME ZONE 'UTC';
        until timestamptz := (date_trunc('month', day::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
        suffix text := to_char(day, 'YYYY_MM');
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('luna_event_months'));
        IF NOT luna_has_event_month(suffix) THEN
            RETURN false;
        END IF;
        EXECUTE format('DROP TABLE events_%1$s, event_descriptors_%1$s', suffix);
        INSERT INTO event_changes (create_time, dropped_until) VALUES (since, until);
        RETURN true;
    END $$
    """,
)

LOGGED = (
    ("event_descriptors", "INSERT", "NEW"),
    ("event_descriptors", "UPDATE", "NEW"),
    ("event_descriptors", "DELETE", "OLD"),
)
"""An event without descriptors is nothing to an index, so making one is no change."""


def upgrade() -> None:
    """Make the tables, what keeps them together, and what notes their changes."""
    for statement in (*TABLES, *FUNCTIONS):
        op.execute(statement)
    for table, event, rows in LOGGED:
        op.execute(
            f"CREATE TRIGGER {table}_{event.lower()} AFTER {event} ON {table} REFERENCING {rows} TABLE AS changed "
            "FOR EACH STATEMENT EXECUTE FUNCTION luna_log_event_changes()"
        )
    op.execute(
        "CREATE TRIGGER events_update AFTER UPDATE ON events REFERENCING OLD TABLE AS before NEW TABLE AS now "
        "FOR EACH STATEMENT EXECUTE FUNCTION luna_log_updated_events()"
    )
    for table in ("events", "event_descriptors"):
        op.execute(
            f"CREATE TRIGGER {table}_truncate AFTER TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION luna_reset_index()"
        )


def downgrade() -> None:
    """Remove everything."""
    for table in ("event_changes", "event_outbox", "event_descriptors", "events", "verifiers", "handlers"):
        op.execute(f"DROP TABLE {table}")
    functions = (
        "luna_drop_event_month(date)",
        "luna_make_event_month(date)",
        "luna_has_event_month(text)",
        "luna_erase_event_descriptors()",
        "luna_tell_notices()",
        "luna_log_updated_events()",
        "luna_log_event_changes()",
    )
    for function in functions:
        op.execute(f"DROP FUNCTION {function}")
