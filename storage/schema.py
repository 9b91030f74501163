"""The tables as they are now. How they came to be is in `migrations`; a test holds the two together."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType

CHANNEL: Final = "luna_index"
"""Notified whenever a transaction that changed an indexed face commits."""

SCHEDULED: Final = "luna_schedules"
"""Notified whenever a transaction commits that may have moved the time at which the next schedule is due."""

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id: it grows and never wraps around."""

    cache_ok = True

    def get_col_spec(self, **_kw: object) -> str:
        """The type's name."""
        return "xid8"


def _time(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


accounts: Final = Table(
    "accounts",
    metadata,
    Column("account_id", Uuid, primary_key=True),
    Column("login", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("account_type", Text, nullable=False),
    _text("description"),
    _time("create_time"),
    _time("last_update_time"),
)

samples: Final = Table(
    "samples",
    metadata,
    Column("sample_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("sample_type", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    _time("create_time"),
)

media: Final = Table(
    "media",
    metadata,
    Column("media_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("meta", JSONB, nullable=False),
    _time("create_time"),
)

token_keys: Final = Table(
    "token_keys",
    metadata,
    Column("key_id", Uuid, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    _time("create_time"),
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("token_id", Uuid, primary_key=True),
    Column("account_id", Uuid, ForeignKey("accounts.account_id", ondelete="CASCADE"), nullable=False),
    _text("description"),
    Column("expiration_time", DateTime(timezone=True)),
    Column("permissions", JSONB, nullable=False),
    Column("visibility_area", Text, nullable=False),
    Column("key_id", Uuid, ForeignKey("token_keys.key_id"), nullable=False),
    Column("revision", Uuid, nullable=False),
    _time("create_time"),
    _time("last_update_time"),
    Index("tokens_newest_idx", "account_id", text("create_time DESC"), "token_id"),
    Index(None, "key_id"),
)

audit: Final = Table(
    "audit",
    metadata,
    Column("entry_id", BigInteger, Identity(always=True), primary_key=True),
    _time("time"),
    Column("account_id", Uuid),
    Column("token_id", Uuid),
    Column("method", Text, nullable=False),
    Column("objects", ARRAY(Uuid), nullable=False),
    Column("address", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("done", Boolean, nullable=False, server_default=text("true")),
    Index("audit_account_idx", "account_id", text("entry_id DESC")),
)

faces: Final = Table(
    "faces",
    metadata,
    Column("face_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("event_id", Uuid),
    _text("user_data"),
    _text("external_id"),
    _text("avatar"),
    _time("create_time"),
    UniqueConstraint("account_id", "face_id"),
    Index("faces_newest_idx", "account_id", text("create_time DESC"), "face_id"),
    Index(None, "external_id"),
    Index(None, "event_id", postgresql_where=text("event_id IS NOT NULL")),
)

face_attributes: Final = Table(
    "face_attributes",
    metadata,
    Column("face_id", Uuid, ForeignKey("faces.face_id", ondelete="CASCADE"), primary_key=True),
    Column("attribute_id", Uuid, unique=True),
    _time("create_time"),
    Column("has_basic_attributes", Boolean, nullable=False),
    Column("age", SmallInteger),
    Column("gender", SmallInteger),
    Column("ethnicity", SmallInteger),
    Column("basic_attributes_samples", ARRAY(Uuid), nullable=False),
    Column("face_descriptor_samples", ARRAY(Uuid), nullable=False),
    CheckConstraint(
        "has_basic_attributes OR (age IS NULL AND gender IS NULL AND ethnicity IS NULL)", name="basic_attributes"
    ),
)

#: `data` is stored plain (STORAGE EXTERNAL): vectors do not compress, and trying costs time.
face_descriptors: Final = Table(
    "face_descriptors",
    metadata,
    Column("face_id", Uuid, ForeignKey("faces.face_id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("face_id", "version"),
)

lists: Final = Table(
    "lists",
    metadata,
    Column("list_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    _text("user_data"),
    _time("create_time"),
    _time("last_update_time"),
    UniqueConstraint("account_id", "list_id"),
    Index("lists_newest_idx", "account_id", text("create_time DESC"), "list_id"),
)

#: Both foreign keys carry the account, so that the schema itself keeps a face out of another account's list.
list_faces: Final = Table(
    "list_faces",
    metadata,
    Column("account_id", Uuid, nullable=False),
    Column("list_id", Uuid, nullable=False),
    Column("face_id", Uuid, nullable=False),
    PrimaryKeyConstraint("list_id", "face_id"),
    ForeignKeyConstraint(["account_id", "list_id"], ["lists.account_id", "lists.list_id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["account_id", "face_id"], ["faces.account_id", "faces.face_id"], ondelete="CASCADE"),
    Index(None, "face_id", "list_id"),
)

#: One row for each indexed face that a statement changed, written by triggers; `xid` tells when it becomes visible.
#: Unlogged on purpose: what a crash loses here, `index_floor` (unlogged too) tells by having lost its row.
index_changes: Final = Table(
    "index_changes",
    metadata,
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("face_id", Uuid, nullable=False),
    Index(None, "xid"),
    prefixes=["UNLOGGED"],
)

#: One row. Changes of transactions below `floor` are pruned. `epoch` names an unbroken history of transaction ids:
#: it is lost in a crash and made anew when `origin` (cluster and database) shows a restored copy.
index_floor: Final = Table(
    "index_floor",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    Column("epoch", Uuid, nullable=False),
    Column("origin", Text, nullable=False),
    Column("floor", Xid8, nullable=False),
    Column("mark", Xid8, nullable=False),
    Column("marked_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("single", name="single"),
    prefixes=["UNLOGGED"],
)

handlers: Final = Table(
    "handlers",
    metadata,
    Column("handler_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("handler_type", SmallInteger, nullable=False),
    _text("description"),
    Column("policies", JSONB(none_as_null=True)),
    Column("lambda_id", Uuid),
    _time("create_time"),
    _time("last_update_time"),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Index("handlers_newest_idx", "account_id", text("create_time DESC"), "handler_id"),
)

lambdas: Final = Table(
    "lambdas",
    metadata,
    Column("lambda_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    _text("description"),
    Column("lambda_type", Text, nullable=False),
    Column("commands", JSONB, nullable=False),
    Column("pods", SmallInteger, nullable=False),
    Column("archive_id", Uuid, nullable=False),
    Column("token_id", Uuid, nullable=False),
    _time("create_time"),
    _time("last_update_time"),
    Column("version", Integer, nullable=False, server_default=text("1")),
    UniqueConstraint("account_id", "name"),
    Index("lambdas_newest_idx", "account_id", text("create_time DESC"), "lambda_id"),
)

#: What a runner reports of lambdas. It is not the truth about anything, so it is no change that the trail remembers.
lambda_states: Final = Table(
    "lambda_states",
    metadata,
    Column("lambda_id", Uuid, ForeignKey("lambdas.lambda_id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("image_status", Text, nullable=False),
    Column("base", Text, nullable=False),
    Column("info", JSONB, nullable=False),
    Column("image_logs", JSONB, nullable=False),
    Column("documentation", Text, nullable=False),
    _time("report_time"),
)

verifiers: Final = Table(
    "verifiers",
    metadata,
    Column("verifier_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    _text("description"),
    Column("policies", JSONB, nullable=False),
    _time("create_time"),
    _time("last_update_time"),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Index("verifiers_newest_idx", "account_id", text("create_time DESC"), "verifier_id"),
)

#: Partitioned by month; `storage.event_months` makes the partitions.
events: Final = Table(
    "events",
    metadata,
    Column("event_id", Uuid, nullable=False),
    Column("account_id", Uuid, nullable=False),
    Column("handler_id", Uuid, nullable=False),
    _time("create_time"),
    _time("end_time"),
    _text("external_id"),
    _text("user_data"),
    Column("source", Text),
    Column("stream_id", Uuid),
    Column("track_id", Text),
    Column("face_id", Uuid),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("city", Text),
    Column("area", Text),
    Column("district", Text),
    Column("street", Text),
    Column("house_number", Text),
    Column("longitude", Double),
    Column("latitude", Double),
    Column("gender", SmallInteger),
    Column("age", SmallInteger),
    Column("emotion", SmallInteger),
    Column("mask", SmallInteger),
    Column("ethnic_group", SmallInteger),
    Column("liveness", SmallInteger),
    Column("apparent_gender", SmallInteger),
    Column("apparent_age", SmallInteger),
    Column("headwear_state", SmallInteger),
    Column("headwear_apparent_color", Text),
    Column("sleeve_length", Text),
    Column("upper_clothing_colors", ARRAY(Text)),
    Column("lower_garment_type", Text),
    Column("lower_garment_colors", ARRAY(Text)),
    Column("shoes_apparent_color", Text),
    Column("backpack_state", SmallInteger),
    Column("top_matching_candidates_label", Text),
    Column("top_similar_object_id", Uuid),
    Column("top_similar_external_id", Text),
    Column("top_similar_object_similarity", Double),
    Column("matches", JSONB(none_as_null=True)),
    Column("face_detections", JSONB(none_as_null=True)),
    Column("body_detections", JSONB(none_as_null=True)),
    Column("attach_result", ARRAY(Uuid), nullable=False, server_default=text("'{}'")),
    Column("meta", JSONB(none_as_null=True)),
    PrimaryKeyConstraint("event_id", "create_time"),
    Index("events_newest_idx", "account_id", text("create_time DESC"), text("event_id DESC")),
    Index("events_create_time_idx", text("create_time DESC"), text("event_id DESC")),
    Index(None, "top_similar_object_id", postgresql_where=text("top_similar_object_id IS NOT NULL")),
    Index(None, "top_similar_external_id", postgresql_where=text("top_similar_external_id <> ''")),
    Index(None, "external_id", postgresql_where=text("external_id <> ''")),
    Index(None, "track_id", postgresql_where=text("track_id IS NOT NULL")),
    Index(None, "face_id", postgresql_where=text("face_id IS NOT NULL")),
    Index("events_source_idx", "source", text("create_time DESC"), postgresql_where=text("source IS NOT NULL")),
    Index(None, "tags", postgresql_using="gin", postgresql_where=text("tags <> '{}'")),
    Index(
        None,
        "meta",
        postgresql_using="gin",
        postgresql_ops={"meta": "jsonb_path_ops"},
        postgresql_where=text("meta IS NOT NULL"),
    ),
    postgresql_partition_by="RANGE (create_time)",
)

#: Partitioned as `events` are; a descriptor carries the time of its event.
event_descriptors: Final = Table(
    "event_descriptors",
    metadata,
    Column("event_id", Uuid, nullable=False),
    _time("create_time"),
    Column("kind", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("score", REAL),
    PrimaryKeyConstraint("event_id", "version", "create_time"),
    postgresql_partition_by="RANGE (create_time)",
)

#: One row for each event that a statement changed, for indexes, as `index_changes` for faces. A row without an id tells
#: that every event that was created from `create_time` on and before `dropped_until` is gone.
event_changes: Final = Table(
    "event_changes",
    metadata,
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("event_id", Uuid),
    _time("create_time"),
    Column("dropped_until", DateTime(timezone=True)),
    CheckConstraint("(event_id IS NULL) = (dropped_until IS NOT NULL)", name="kind"),
    Index(None, "xid"),
    prefixes=["UNLOGGED"],
)

#: What subscribers are to be told, until it is in the stream of notifications.
event_outbox: Final = Table(
    "event_outbox",
    metadata,
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("notice", LargeBinary, nullable=False),
)

schedules: Final = Table(
    "schedules",
    metadata,
    Column("schedule_id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("task_type", SmallInteger, nullable=False),
    Column("content", JSONB, nullable=False),
    _text("description"),
    Column("cron", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("running", Boolean, nullable=False),
    Column("next_run_time", DateTime(timezone=True)),
    _time("create_time"),
    _time("last_update_time"),
    Index("schedules_newest_idx", "account_id", text("create_time DESC"), text("schedule_id DESC")),
    Index("schedules_due_idx", "next_run_time", postgresql_where=text("running")),
)

tasks: Final = Table(
    "tasks",
    metadata,
    Column("task_id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("task_type", SmallInteger, nullable=False),
    Column("status", SmallInteger, nullable=False, server_default=text("0")),
    _text("description"),
    Column("content", JSONB, nullable=False),
    _time("create_time"),
    _time("last_update_time"),
    Column("end_time", DateTime(timezone=True)),
    Column("result_id", Uuid),
    #: Type of the result's bytes, and a name for a file of them.
    _text("result_type"),
    _text("result_name"),
    Column("parts_done", Integer, nullable=False, server_default=text("0")),
    Column("parts_all", Integer, nullable=False, server_default=text("0")),
    #: How often the plan or the collecting failed without an error of Luna.
    Column("tries", SmallInteger, nullable=False, server_default=text("0")),
    Column("schedule_id", BigInteger, ForeignKey("schedules.schedule_id", ondelete="SET NULL")),
    Index("tasks_newest_idx", "account_id", text("create_time DESC"), text("task_id DESC")),
    Index(None, "schedule_id", "task_id", postgresql_where=text("schedule_id IS NOT NULL")),
    Index("tasks_unfinished_idx", "status", postgresql_where=text("status IN (0, 1, 4)")),
)

subtasks: Final = Table(
    "subtasks",
    metadata,
    Column("subtask_id", BigInteger, Identity(always=True), primary_key=True),
    Column("task_id", BigInteger, ForeignKey("tasks.task_id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("status", SmallInteger, nullable=False, server_default=text("0")),
    Column("content", JSONB, nullable=False),
    _time("create_time"),
    _time("last_update_time"),
    Column("end_time", DateTime(timezone=True)),
    Column("result_id", Uuid),
    Column("tries", SmallInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("task_id", "number"),
)

#: What came of items of tasks: written with what was done for them. The answer goes when the result is collected.
task_notes: Final = Table(
    "task_notes",
    metadata,
    Column("task_id", BigInteger, ForeignKey("tasks.task_id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("answer", LargeBinary),
)

task_errors: Final = Table(
    "task_errors",
    metadata,
    Column("error_id", BigInteger, Identity(always=True), primary_key=True),
    Column("task_id", BigInteger, ForeignKey("tasks.task_id", ondelete="CASCADE"), nullable=False),
    Column("account_id", Uuid, nullable=False),
    Column("task_type", SmallInteger, nullable=False),
    Column("code", Integer, nullable=False),
    Column("status_code", SmallInteger, nullable=False),
    _time("time"),
    Column("description", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("info", Text),
    Index(None, "task_id", text("error_id DESC")),
    Index("task_errors_newest_idx", "account_id", text("time DESC"), text("error_id DESC")),
)
