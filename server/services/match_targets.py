"""What may be asked of a face or of a temporary attribute that was found."""

from __future__ import annotations

from collections.abc import Mapping

from luna.v6 import attributes_pb2, faces_pb2

SIMILARITY = "similarity"
FACE_TARGETS: Mapping[str, faces_pb2.FaceField.ValueType] = {
    "face_id": faces_pb2.FACE_FIELD_FACE_ID,
    "account_id": faces_pb2.FACE_FIELD_ACCOUNT_ID,
    "event_id": faces_pb2.FACE_FIELD_EVENT_ID,
    "user_data": faces_pb2.FACE_FIELD_USER_DATA,
    "create_time": faces_pb2.FACE_FIELD_CREATE_TIME,
    "external_id": faces_pb2.FACE_FIELD_EXTERNAL_ID,
    "avatar": faces_pb2.FACE_FIELD_AVATAR,
    "lists": faces_pb2.FACE_FIELD_LISTS,
}
ATTRIBUTE_TARGETS: Mapping[str, attributes_pb2.AttributeField.ValueType] = {
    "attribute_id": attributes_pb2.ATTRIBUTE_FIELD_ATTRIBUTE_ID,
    "account_id": attributes_pb2.ATTRIBUTE_FIELD_ACCOUNT_ID,
    "create_time": attributes_pb2.ATTRIBUTE_FIELD_CREATE_TIME,
}
