"""Values of the domain as messages, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from luna import options_pb2
from luna.v6 import attributes_pb2, errors_pb2, faces_pb2, lists_pb2, matcher_pb2

from server.domain.attributes import (
    AttributeContent,
    BasicAttributes,
    Ethnicity,
    FaceAttribute,
    Gender,
    TemporaryAttribute,
)
from server.domain.descriptors import SPECS, Descriptor, Specs
from server.domain.faces import Face, FaceFilter, FaceList
from server.errors import BadBody, BadQuery, LunaError, MissingField

GENDERS = {attributes_pb2.GENDER_FEMALE: Gender.FEMALE, attributes_pb2.GENDER_MALE: Gender.MALE}
ETHNICITIES = {
    attributes_pb2.ETHNICITY_AFRICAN_AMERICAN: Ethnicity.AFRICAN_AMERICAN,
    attributes_pb2.ETHNICITY_INDIAN: Ethnicity.INDIAN,
    attributes_pb2.ETHNICITY_ASIAN: Ethnicity.ASIAN,
    attributes_pb2.ETHNICITY_CAUCASIAN: Ethnicity.CAUCASIAN,
}
GENDER_OF = {value: key for key, value in GENDERS.items()}
_ETHNICITY_OF = {value: key for key, value in ETHNICITIES.items()}


def timestamp(moment: datetime) -> Timestamp:
    """An aware time as a Timestamp."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def moment(message: Timestamp) -> datetime:
    """A Timestamp as an aware time in UTC; its nanoseconds are cut to microseconds."""
    return message.ToDatetime(tzinfo=UTC)


def optional_uuid(text: str) -> UUID | None:
    """The id in a text; None where it is empty."""
    return UUID(text) if text else None


def uuids(texts: Iterable[str]) -> tuple[UUID, ...]:
    """The ids in texts."""
    return tuple(UUID(text) for text in texts)


def texts(ids: Iterable[UUID]) -> list[str]:
    """Ids as texts."""
    return [str(one) for one in ids]


def error(failure: LunaError | None) -> errors_pb2.Error:
    """An error inside an answer; none is code 0."""
    if failure is None:
        return errors_pb2.Error(error_code=0, desc="Success", detail="Success")
    body = failure.body()
    return errors_pb2.Error(error_code=failure.code, desc=failure.desc, detail=failure.detail, link=str(body["link"]))


def basic_attributes(value: BasicAttributes) -> attributes_pb2.BasicAttributes:
    """Basic attributes."""
    message = attributes_pb2.BasicAttributes()
    if value.age is not None:
        message.age = value.age
    if value.gender is not None:
        message.gender = GENDER_OF[value.gender]
    if value.ethnicity is not None:
        message.ethnicity = _ETHNICITY_OF[value.ethnicity]
    return message


def basic_attributes_from(message: attributes_pb2.BasicAttributes, path: str) -> BasicAttributes:
    """Basic attributes as the caller gave them at a path.

    Raises:
        BadBody: nothing is given.
    """
    value = BasicAttributes(
        age=message.age if message.HasField("age") else None,
        gender=GENDERS.get(message.gender) if message.HasField("gender") else None,
        ethnicity=ETHNICITIES.get(message.ethnicity) if message.HasField("ethnicity") else None,
    )
    if value == BasicAttributes():
        raise BadBody(field=path, message="at least one of age, gender, ethnicity is needed")
    return value


def descriptor_from(message: attributes_pb2.DescriptorInput, path: str, known: Specs = SPECS) -> Descriptor:
    """A descriptor as the caller gave it at a path, raw with its version or as an SDK descriptor.

    Raises:
        BadBody: both forms are given.
        MissingField: a raw one lacks its bytes or its version.
        WrongDescriptorLength, UnknownDescriptorVersion, BadSdkDescriptor: it is not valid.
    """
    if message.sdk_descriptor:
        if message.descriptor or message.HasField("version"):
            raise BadBody(field=path, message="either a raw descriptor or an SDK descriptor is needed")
        return Descriptor.sdk(message.sdk_descriptor, known)
    if not message.descriptor:
        raise MissingField(field=f"{path}.descriptor")
    if not message.HasField("version"):
        raise MissingField(field=f"{path}.version")
    return Descriptor.raw(message.version, message.descriptor, known)


def wanted_version(number: int) -> int | None:
    """The descriptor version that a request asks to see; None where it names none.

    Raises:
        BadQuery: no such version.
    """
    if number and number not in SPECS:
        allowed = ", ".join(map(str, SPECS))
        raise BadQuery(field="descriptor_version", message=f"{number} is no version, allowed are: {allowed}")
    return number or None


def content_from(
    message: attributes_pb2.CreateAttributeRequest | faces_pb2.FaceAttributeInput, path: str = ""
) -> AttributeContent:
    """The content of an attribute as the caller gave it at a path, which ends with a dot where it is not empty.

    Raises:
        LunaError: a descriptor or the basic attributes are not valid.
    """
    basic = None
    if message.HasField("basic_attributes"):
        basic = basic_attributes_from(message.basic_attributes, f"{path}basic_attributes")
    return AttributeContent(
        descriptors=tuple(
            descriptor_from(one, f"{path}face_descriptors.{position}")
            for position, one in enumerate(message.face_descriptors)
        ),
        descriptor_samples=uuids(message.face_descriptor_samples),
        basic_attributes=basic,
        basic_attributes_samples=uuids(message.basic_attributes_samples),
    )


def attribute(
    value: TemporaryAttribute, version: int, targets: Sequence[attributes_pb2.AttributeField.ValueType]
) -> attributes_pb2.Attribute:
    """A temporary attribute with its descriptor of a version."""
    content = value.content
    message = attributes_pb2.Attribute(
        attribute_id=str(value.attribute_id),
        account_id=str(value.account_id),
        create_time=timestamp(value.create_time),
        face_descriptor_samples=texts(content.descriptor_samples),
        basic_attributes_samples=texts(content.basic_attributes_samples),
        targets=targets,
    )
    if (descriptor := content.descriptor(version)) is not None:
        message.face_descriptor = descriptor.data
    if content.basic_attributes is not None:
        message.basic_attributes.CopyFrom(basic_attributes(content.basic_attributes))
    keep_targets(message)
    if message.HasField("face_descriptor"):
        message.descriptor_version = version
    return message


def face_attribute(
    value: FaceAttribute, version: int, targets: Sequence[faces_pb2.FaceAttributeField.ValueType]
) -> faces_pb2.FaceAttribute:
    """The attribute of a face with its descriptor of a version."""
    content = value.content
    message = faces_pb2.FaceAttribute(
        create_time=timestamp(value.create_time),
        face_descriptor_samples=texts(content.descriptor_samples),
        basic_attributes_samples=texts(content.basic_attributes_samples),
        targets=targets,
    )
    if (descriptor := content.descriptor(version)) is not None:
        message.face_descriptor = descriptor.data
    if content.basic_attributes is not None:
        message.basic_attributes.CopyFrom(basic_attributes(content.basic_attributes))
    keep_targets(message)
    if message.HasField("face_descriptor"):
        message.descriptor_version = version
    return message


def face(value: Face, targets: Sequence[faces_pb2.FaceField.ValueType]) -> faces_pb2.Face:
    """A face."""
    message = faces_pb2.Face(
        face_id=str(value.face_id),
        account_id=str(value.account_id),
        user_data=value.user_data,
        create_time=timestamp(value.create_time),
        external_id=value.external_id,
        avatar=value.avatar,
        lists=texts(value.lists),
        targets=targets,
    )
    if value.event_id is not None:
        message.event_id = str(value.event_id)
    keep_targets(message)
    return message


def keep_targets(message: Message) -> None:
    """Clear the fields of a message that its `targets` do not name, so that gRPC does not carry them either.

    The fields are named like the words of the targets' enum. Without targets all of them stay.
    """
    enum = cast("EnumDescriptor", message.DESCRIPTOR.fields_by_name["targets"].enum_type)
    kept = {word_of(enum, number) for number in getattr(message, "targets")}  # noqa: B009 - the type is known to have it
    for field, _ in message.ListFields() if kept else ():
        if field.name not in kept and field.name != "targets":
            message.ClearField(field.name)


def word_of(enum: EnumDescriptor, number: int) -> str:
    """The word that REST has for a value of an enum."""
    return str(enum.values_by_number[number].GetOptions().Extensions[options_pb2.value].word)


def face_filter(
    message: faces_pb2.ListFacesRequest | faces_pb2.CountFacesRequest | matcher_pb2.FaceCandidates,
) -> FaceFilter:
    """The conditions on faces that a request names; absent and empty ones select everything."""
    return FaceFilter(
        face_ids=uuids(message.face_ids) if message.face_ids else None,
        external_ids=tuple(message.external_ids) if message.external_ids else None,
        event_id=optional_uuid(message.event_id),
        list_id=optional_uuid(message.list_id),
        user_data=message.user_data or None,
        create_time_gte=moment(message.create_time_gte) if message.HasField("create_time_gte") else None,
        create_time_lt=moment(message.create_time_lt) if message.HasField("create_time_lt") else None,
        face_id_gte=optional_uuid(message.face_id_gte),
        face_id_lt=optional_uuid(message.face_id_lt),
    )


def face_list(value: FaceList) -> lists_pb2.List:
    """A list."""
    return lists_pb2.List(
        list_id=str(value.list_id),
        account_id=str(value.account_id),
        user_data=value.user_data,
        create_time=timestamp(value.create_time),
        last_update_time=timestamp(value.last_update_time),
    )
