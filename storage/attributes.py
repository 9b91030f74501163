"""Temporary attributes in Redis, which forgets them when their time ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgpack
from redis.asyncio import Redis

from server.domain.access import Scope
from server.domain.attributes import AttributeContent, BasicAttributes, Ethnicity, Gender, TemporaryAttribute
from server.domain.descriptors import Descriptor
from storage.redis import neutral_errors

PREFIX: Final = "luna:attribute:"
LAYOUT: Final = b"\x01"
"""First byte of a value: the version of what follows it."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
BATCH: Final = 500
"""Most values that one command asks for."""


class RedisAttributeStore:
    """Implements `server.domain.attributes.AttributeStore`. The client belongs to whoever made it."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def add(self, attribute: TemporaryAttribute, ttl_seconds: int) -> None:
        """Keep a new attribute for a time."""
        with neutral_errors():
            await self._client.set(_key(attribute.attribute_id), encode(attribute), ex=ttl_seconds)

    async def get(self, scope: Scope, attribute_ids: Sequence[UUID]) -> list[TemporaryAttribute]:
        """Those of the attributes that are there and inside the scope, in the order of the ids."""
        found = []
        for start in range(0, len(attribute_ids), BATCH):
            ids = attribute_ids[start : start + BATCH]
            with neutral_errors():
                values = await self._client.mget([_key(attribute_id) for attribute_id in ids])
            for attribute_id, value in zip(ids, values, strict=True):
                attribute = decode(attribute_id, value) if isinstance(value, bytes) else None
                if attribute is not None and scope.includes(attribute.account_id):
                    found.append(attribute)
        return found

    async def remove(self, scope: Scope, attribute_id: UUID) -> bool:
        """Delete an attribute. The account of an attribute never changes, so looking first is safe."""
        if not await self.get(scope, [attribute_id]):
            return False
        with neutral_errors():
            return bool(await self._client.delete(_key(attribute_id)))


def encode(attribute: TemporaryAttribute) -> bytes:
    """The layout byte and a msgpack array: account, microseconds since 1970, descriptors, samples, basic attributes."""
    content = attribute.content
    packed: bytes = msgpack.packb(
        (
            attribute.account_id.bytes,
            (attribute.create_time - EPOCH) // MICROSECOND,
            [(descriptor.version, descriptor.data) for descriptor in content.descriptors],
            [sample.bytes for sample in content.descriptor_samples],
            _encode_basic(content.basic_attributes),
            [sample.bytes for sample in content.basic_attributes_samples],
        )
    )
    return LAYOUT + packed


def decode(attribute_id: UUID, value: bytes) -> TemporaryAttribute | None:
    """The attribute that was encoded; None where another release wrote it in a layout that this one cannot read."""
    if not value.startswith(LAYOUT):
        return None
    account, microseconds, descriptors, samples, basic, basic_samples = msgpack.unpackb(value[len(LAYOUT) :])
    return TemporaryAttribute(
        attribute_id=attribute_id,
        account_id=UUID(bytes=account),
        create_time=EPOCH + microseconds * MICROSECOND,
        content=AttributeContent(
            descriptors=tuple(Descriptor(version, data) for version, data in descriptors),
            descriptor_samples=tuple(UUID(bytes=sample) for sample in samples),
            basic_attributes=None if basic is None else _decode_basic(*basic),
            basic_attributes_samples=tuple(UUID(bytes=sample) for sample in basic_samples),
        ),
    )


def _key(attribute_id: UUID) -> str:
    return f"{PREFIX}{attribute_id}"


def _encode_basic(basic: BasicAttributes | None) -> tuple[int | None, int | None, int | None] | None:
    if basic is None:
        return None
    return (
        basic.age,
        None if basic.gender is None else basic.gender.value,
        None if basic.ethnicity is None else basic.ethnicity.value,
    )


def _decode_basic(age: int | None, gender: int | None, ethnicity: int | None) -> BasicAttributes:
    return BasicAttributes(
        age=age,
        gender=None if gender is None else Gender(gender),
        ethnicity=None if ethnicity is None else Ethnicity(ethnicity),
    )
