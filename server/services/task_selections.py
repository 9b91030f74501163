"""Which objects a task is about, and where an estimator's images are: messages as values."""

from __future__ import annotations

from typing import assert_never

from luna.v6 import event_filters_pb2
from luna.v6 import tasks_pb2 as pb

from server.domain.policies import EventCandidates, TimeBound
from server.domain.task_contents import (
    AttributeSelection,
    DiskSource,
    EventSelection,
    FaceSelection,
    FtpSource,
    Objects,
    S3Source,
    SambaSource,
    Source,
    ZipSource,
)
from server.errors import BadBody, LunaError
from server.services.event_filters import time_bounds, timeless_conditions
from server.services.messages import optional_uuid, uuids


def faces_from(message: pb.FaceFilters) -> FaceSelection:
    """Faces; `account_id` is left to whoever checks that it is the caller's own."""
    return FaceSelection(
        face_ids=uuids(message.face_ids) or None,
        external_ids=tuple(message.external_ids) or None,
        list_id=optional_uuid(message.list_id),
        no_list=message.HasField("list_id") and not message.list_id,
        user_data=message.user_data or None,
        create_time_gte=_bound(message.create_time_gte),
        create_time_lt=_bound(message.create_time_lt),
        face_id_gte=optional_uuid(message.face_id_gte),
        face_id_lt=optional_uuid(message.face_id_lt),
    )


def events_from(message: event_filters_pb2.EventFilters, path: str) -> EventSelection:
    """Events by filters that stand at a path.

    Raises:
        BadBody: half a position is given, or a condition on `meta` is none.
    """

    def refuse(field: str, text: str) -> LunaError:
        return BadBody(field=f"{path}.{field}", message=text)

    bounds = time_bounds(message)
    return EventSelection(
        EventCandidates(
            conditions=timeless_conditions(message, refuse),
            create_time_gte=bounds["create_time_gte"],
            create_time_lt=bounds["create_time_lt"],
            end_time_gte=bounds["end_time_gte"],
            end_time_lt=bounds["end_time_lt"],
        )
    )


def attributes_from(message: pb.AttributeFilters) -> AttributeSelection:
    """Temporary attributes."""
    return AttributeSelection(uuids(message.attribute_ids))


def objects_from(
    message: pb.ClusteringContent | pb.ExporterContent | pb.LinkerContent | pb.GcContent | pb.AdditionalExtractContent,
    path: str,
) -> Objects:
    """Faces or events, whichever the content at a path names.

    Raises:
        BadBody: as for `events_from`.
    """
    if message.WhichOneof("filters") == "faces":
        return faces_from(message.faces)
    return events_from(message.events, f"{path}.filters")


def source_from(message: pb.EstimatorContent) -> Source:
    """Where an estimator's images are."""
    match message.WhichOneof("source"):
        case "zip":
            return _zip(message.zip)
        case "s3":
            return _s3(message.s3)
        case "network_disk":
            disk = message.network_disk
            return DiskSource(disk.path, disk.recursive, disk.follow_links, disk.prefix, disk.postfix)
        case "ftp":
            return _ftp(message.ftp)
        case "samba":
            return _samba(message.samba)
        case None:
            raise BadBody(field="content.source", message="one source is needed")
        case other:
            assert_never(other)


def _zip(message: pb.ZipSource) -> ZipSource:
    return ZipSource(message.reference, message.authorization.password, message.prefix, message.postfix)


def _s3(message: pb.S3Source) -> S3Source:
    return S3Source(
        bucket=message.bucket_name,
        endpoint=message.endpoint,
        region=message.region,
        prefix=message.prefix,
        recursive=message.recursive,
        save_origin=message.save_origin,
        access_key=message.authorization.public_access_key,
        secret_key=message.authorization.secret_access_key,
        signature=message.authorization.signature_version or "s3v4",
    )


def _ftp(message: pb.FtpSource) -> FtpSource:
    return FtpSource(
        host=message.host,
        port=message.port,
        sessions=message.max_sessions,
        path=message.path,
        recursive=message.recursive,
        prefix=message.prefix,
        postfix=message.postfix,
        user=message.authorization.user,
        password=message.authorization.password,
    )


def _samba(message: pb.SambaSource) -> SambaSource:
    return SambaSource(
        host=message.host,
        path=message.path,
        port=message.port,
        recursive=message.recursive,
        prefix=message.prefix,
        postfix=message.postfix,
        user=message.authorization.user,
        password=message.authorization.password,
    )


def _bound(text: str) -> TimeBound | None:
    return TimeBound(text) if text else None
