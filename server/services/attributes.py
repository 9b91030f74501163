"""luna.v6.Attributes."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from luna.v6 import attributes_pb2 as pb
from luna.v6 import attributes_pb2_grpc

from server.domain.access import Scope
from server.domain.attributes import AttributeStore, TemporaryAttribute
from server.domain.extraction import Extracted, Extraction, ExtractionWish
from server.domain.ids import uuid7
from server.domain.people import check_content, check_version
from server.errors import AttributeNotFound
from server.rpc.calls import current
from server.services.estimations import basic_attributes
from server.services.messages import (
    attribute,
    content_from,
    optional_uuid,
    texts,
    uuids,
    wanted_version,
)


class AttributesService(attributes_pb2_grpc.AttributesServicer):
    """Temporary attributes."""

    def __init__(self, extraction: Extraction, attributes: AttributeStore, *, descriptor_version: int) -> None:
        self._extraction = extraction
        self._attributes = attributes
        self._version = descriptor_version

    async def ExtractAttributes(
        self, request: pb.ExtractAttributesRequest, context: object
    ) -> pb.ExtractAttributesResponse:
        """Extract attributes from stored face samples."""
        principal = current().principal
        wish = ExtractionWish(
            descriptor=request.extract_descriptor,
            basic_attributes=request.extract_basic_attributes,
            aggregate=request.aggregate_attributes,
            score_threshold=request.score_threshold,
            ttl_seconds=request.ttl,
        )
        extracted = await self._extraction.extract(
            principal.account_id, principal.reads(), uuids(request.sample_ids), wish
        )
        return pb.ExtractAttributesResponse(attributes=[_extracted(one) for one in extracted])

    async def CreateAttribute(self, request: pb.CreateAttributeRequest, context: object) -> pb.CreateAttributeResponse:
        """Keep descriptors and basic attributes that the caller has."""
        content = content_from(request)
        check_content(content)
        new = TemporaryAttribute(uuid7(), current().principal.account_id, datetime.now(UTC), content)
        await self._attributes.add(new, request.ttl)
        return pb.CreateAttributeResponse(attribute_id=str(new.attribute_id), url=f"/6/attributes/{new.attribute_id}")

    async def ListAttributes(self, request: pb.ListAttributesRequest, context: object) -> pb.ListAttributesResponse:
        """Several attributes."""
        version = wanted_version(request.descriptor_version) or self._version
        scope = current().principal.reads(optional_uuid(request.account_id))
        found = await self._attributes.get(scope, uuids(dict.fromkeys(request.attribute_ids)))
        return pb.ListAttributesResponse(attributes=[attribute(one, version, request.targets) for one in found])

    async def GetAttribute(self, request: pb.GetAttributeRequest, context: object) -> pb.Attribute:
        """One attribute."""
        wanted = wanted_version(request.descriptor_version)
        found = await self._one(current().principal.reads(), request.attribute_id)
        version = check_version(found.content, wanted, self._version, found.attribute_id)
        return attribute(found, version, request.targets)

    async def DeleteAttribute(self, request: pb.DeleteAttributeRequest, context: object) -> pb.DeleteAttributeResponse:
        """Delete an attribute."""
        if not await self._attributes.remove(current().principal.writes, UUID(request.attribute_id)):
            raise AttributeNotFound(attribute_id=request.attribute_id)
        return pb.DeleteAttributeResponse()

    async def GetAttributeSamples(
        self, request: pb.GetAttributeSamplesRequest, context: object
    ) -> pb.GetAttributeSamplesResponse:
        """The samples that an attribute came from."""
        found = await self._one(current().principal.reads(), request.attribute_id)
        return pb.GetAttributeSamplesResponse(samples=texts(found.content.samples))

    async def _one(self, scope: Scope, attribute_id: str) -> TemporaryAttribute:
        found = await self._attributes.get(scope, [UUID(attribute_id)])
        if not found:
            raise AttributeNotFound(attribute_id=attribute_id)
        return found[0]


def _extracted(one: Extracted) -> pb.ExtractedAttribute:
    content = one.attribute.content
    message = pb.ExtractedAttribute(
        attribute_id=str(one.attribute.attribute_id),
        url=f"/6/attributes/{one.attribute.attribute_id}",
        samples=texts(content.samples),
    )
    if one.score is not None:
        message.score = one.score
    if one.basic_attributes is not None:
        message.basic_attributes.CopyFrom(basic_attributes(one.basic_attributes))
    return message
