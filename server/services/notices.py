"""Notices: events on their way to those who follow them, as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from luna.notices.v1 import notices_pb2 as pb
from luna.v6 import events_pb2

from server.domain.event_conditions import Column
from server.domain.event_values import EventValues, Held, values_of
from server.domain.events import EventRecord, GeoPosition
from server.services.messages import timestamp

_COLUMNS = {column.value: column for column in Column}


def notice(record: EventRecord, event: events_pb2.GeneratedEvent, request_id: str) -> bytes:
    """The notice of an event, for `NewEvent.notice`.

    Args:
        record: what conditions of subscribers are judged by.
        event: what subscribers are told.
        request_id: id of the request that made the event.
    """
    values = values_of(record)
    message = pb.Notice(
        labels=[match.label for match in record.matches if match.candidates],
        told=events_pb2.EventNotification(
            event=event,
            handler_id=str(record.handler_id),
            event_create_time=timestamp(record.create_time),
            event_end_time=timestamp(record.end_time),
            request_id=request_id,
        ),
    )
    for column, held in values.columns.items():
        _put(message.values, column.value, held)
    if values.meta:
        message.meta = json.dumps(values.meta).encode()
    return message.SerializeToString()


def read(data: bytes) -> pb.Notice:
    """A notice of its bytes.

    Raises:
        DecodeError: they are none.
    """
    return pb.Notice.FromString(data)


def values_from(message: pb.Notice) -> EventValues:
    """What conditions ask of the event of a notice."""
    held = {_COLUMNS[field.name]: _held(value) for field, value in message.values.ListFields()}
    meta: Mapping[str, object] = json.loads(message.meta) if message.meta else {}
    return EventValues(held, meta)


def _put(message: pb.EventValues, name: str, held: Held) -> None:
    match held:
        case UUID():
            setattr(message, name, held.bytes)
        case datetime():
            getattr(message, name).CopyFrom(timestamp(held))
        case GeoPosition(longitude, latitude):
            getattr(message, name).CopyFrom(events_pb2.GeoPosition(longitude=longitude, latitude=latitude))
        case tuple():
            getattr(message, name).extend(held)
        case _:
            setattr(message, name, held)


def _held(value: object) -> Held:
    match value:
        case bytes():
            return UUID(bytes=value)
        case Timestamp():
            return value.ToDatetime(tzinfo=UTC)
        case events_pb2.GeoPosition():
            return GeoPosition(value.longitude, value.latitude)
        case str() | int() | float():
            return value
        case _:
            return tuple(value)  # type: ignore[arg-type] # what is left is a list of texts
