"""The attribute of a face as rows: one of `face_attributes`, and one of `face_descriptors` for each descriptor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.attributes import AttributeContent, BasicAttributes, Ethnicity, FaceAttribute, Gender
from server.domain.descriptors import Descriptor
from storage.database import Rows
from storage.schema import face_attributes, face_descriptors, faces


async def add_attributes(connection: AsyncConnection, new: Sequence[tuple[UUID, FaceAttribute]]) -> None:
    """Write the attributes of faces that have none yet.

    Raises:
        IntegrityError: another face has taken one of the temporary attributes.
    """
    if new:
        rows = [{"face_id": face_id, **_columns(attribute)} for face_id, attribute in new]
        await connection.execute(insert(face_attributes), rows)
    if vectors := [row for face_id, attribute in new for row in _vectors(face_id, attribute)]:
        await connection.execute(insert(face_descriptors), vectors)


async def write_attribute(connection: AsyncConnection, face_id: UUID, attribute: FaceAttribute) -> None:
    """Write the attribute of a face over what there may be. Other descriptors of the face are left alone.

    Raises:
        IntegrityError: another face has taken the same temporary attribute.
    """
    upsert = insert(face_attributes).values(face_id=face_id, **_columns(attribute))
    replaced = {name: upsert.excluded[name] for name in _columns(attribute)}
    await connection.execute(upsert.on_conflict_do_update(index_elements=["face_id"], set_=replaced))
    if rows := _vectors(face_id, attribute):
        vectors = insert(face_descriptors).values(rows)
        overwrite = {"data": vectors.excluded.data}
        await connection.execute(vectors.on_conflict_do_update(index_elements=["face_id", "version"], set_=overwrite))


async def erase_attribute(connection: AsyncConnection, face_id: UUID) -> None:
    """Delete the attribute of a face and all its descriptors."""
    await connection.execute(delete(face_descriptors).where(face_descriptors.c.face_id == face_id))
    await connection.execute(delete(face_attributes).where(face_attributes.c.face_id == face_id))


async def erase_other_descriptors(connection: AsyncConnection, face_id: UUID, content: AttributeContent) -> None:
    """Delete the descriptors of a face whose version a new content lacks."""
    kept = [descriptor.version for descriptor in content.descriptors]
    condition = face_descriptors.c.version.not_in(kept)
    await connection.execute(delete(face_descriptors).where(face_descriptors.c.face_id == face_id, condition))


def attribute_query() -> Select[*tuple[Any, ...]]:
    """Attributes of faces, to be narrowed by conditions on `faces`: one row for each descriptor, or one without."""
    return (
        select(face_attributes, face_descriptors.c.version, face_descriptors.c.data)
        .join_from(face_attributes, faces)
        .outerjoin(face_descriptors, face_descriptors.c.face_id == face_attributes.c.face_id)
        .order_by(face_descriptors.c.version)
    )


def read_attribute(rows: Rows) -> FaceAttribute | None:
    """The attribute of one face from the rows of `attribute_query`, descriptors by ascending version."""
    if not rows:
        return None
    first = rows[0]
    return FaceAttribute(
        create_time=first.create_time,
        attribute_id=first.attribute_id,
        content=AttributeContent(
            descriptors=tuple(Descriptor(row.version, row.data) for row in rows if row.version is not None),
            descriptor_samples=tuple(first.face_descriptor_samples),
            basic_attributes=_basic(first) if first.has_basic_attributes else None,
            basic_attributes_samples=tuple(first.basic_attributes_samples),
        ),
    )


def _vectors(face_id: UUID, attribute: FaceAttribute) -> list[dict[str, object]]:
    return [{"face_id": face_id, "version": d.version, "data": d.data} for d in attribute.content.descriptors]


def _columns(attribute: FaceAttribute) -> dict[str, object]:
    content = attribute.content
    basic = content.basic_attributes or BasicAttributes()
    return {
        "attribute_id": attribute.attribute_id,
        "create_time": attribute.create_time,
        "has_basic_attributes": content.basic_attributes is not None,
        "age": basic.age,
        "gender": None if basic.gender is None else basic.gender.value,
        "ethnicity": None if basic.ethnicity is None else basic.ethnicity.value,
        "basic_attributes_samples": list(content.basic_attributes_samples),
        "face_descriptor_samples": list(content.descriptor_samples),
    }


def _basic(row: Row[*tuple[Any, ...]]) -> BasicAttributes:
    return BasicAttributes(
        age=row.age,
        gender=None if row.gender is None else Gender(row.gender),
        ethnicity=None if row.ethnicity is None else Ethnicity(row.ethnicity),
    )
