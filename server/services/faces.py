"""luna.v6.Faces."""

from __future__ import annotations

from uuid import UUID

from luna.v6 import faces_pb2 as pb
from luna.v6 import faces_pb2_grpc

from server.domain.faces import FaceChanges, FaceStore, Keep, Page
from server.domain.people import AttributeInput, People, check_version
from server.errors import BadBody, FaceNotFound, FacesNotFound
from server.rpc.calls import current
from server.services.messages import (
    content_from,
    face,
    face_attribute,
    face_filter,
    optional_uuid,
    texts,
    uuids,
    wanted_version,
)


class FacesService(faces_pb2_grpc.FacesServicer):
    """Faces and their attributes."""

    def __init__(self, people: People, faces: FaceStore, *, descriptor_version: int) -> None:
        self._people = people
        self._faces = faces
        self._version = descriptor_version

    async def CreateFace(self, request: pb.CreateFaceRequest, context: object) -> pb.CreateFaceResponse:
        """Create a face."""
        created = await self._people.create(
            current().principal,
            attribute=_attribute(request.attribute) if request.HasField("attribute") else None,
            external_id=request.external_id,
            user_data=request.user_data,
            avatar=request.avatar,
            event_id=optional_uuid(request.event_id),
            list_ids=uuids(request.lists),
        )
        return pb.CreateFaceResponse(
            face_id=str(created.face_id), url=f"/6/faces/{created.face_id}", external_id=created.external_id
        )

    async def ListFaces(self, request: pb.ListFacesRequest, context: object) -> pb.ListFacesResponse:
        """A page of faces."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        found = await self._faces.find(scope, face_filter(request), Page(request.page, request.page_size))
        return pb.ListFacesResponse(faces=[face(one, request.targets) for one in found])

    async def DeleteFaces(self, request: pb.DeleteFacesRequest, context: object) -> pb.DeleteFacesResponse:
        """Delete several faces."""
        await self._faces.remove(
            current().principal.writes, set(uuids(request.face_ids)), ignore_missing=request.ignore
        )
        return pb.DeleteFacesResponse()

    async def CountFaces(self, request: pb.CountFacesRequest, context: object) -> pb.CountFacesResponse:
        """How many faces pass a filter."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        return pb.CountFacesResponse(faces_count=await self._faces.count(scope, face_filter(request)))

    async def CountFacesWithAttributes(
        self, request: pb.CountFacesWithAttributesRequest, context: object
    ) -> pb.CountFacesResponse:
        """How many faces have an attribute."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        return pb.CountFacesResponse(faces_count=await self._faces.count_with_attributes(scope))

    async def GetFace(self, request: pb.GetFaceRequest, context: object) -> pb.Face:
        """One face."""
        return face(await self._people.get(current().principal.reads(), UUID(request.face_id)), request.targets)

    async def UpdateFace(self, request: pb.UpdateFaceRequest, context: object) -> pb.UpdateFaceResponse:
        """Change a face."""
        changes = FaceChanges(
            external_id=request.external_id if request.HasField("external_id") else None,
            user_data=request.user_data if request.HasField("user_data") else None,
            avatar=request.avatar if request.HasField("avatar") else None,
            event_id=optional_uuid(request.event_id) if request.HasField("event_id") else Keep.KEEP,
        )
        await self._people.change(current().principal, UUID(request.face_id), changes)
        return pb.UpdateFaceResponse()

    async def DeleteFace(self, request: pb.DeleteFaceRequest, context: object) -> pb.DeleteFaceResponse:
        """Delete a face."""
        try:
            await self._faces.remove(current().principal.writes, [UUID(request.face_id)], ignore_missing=False)
        except FacesNotFound:
            raise FaceNotFound(face_id=request.face_id) from None
        return pb.DeleteFaceResponse()

    async def SetFaceAttribute(
        self, request: pb.SetFaceAttributeRequest, context: object
    ) -> pb.SetFaceAttributeResponse:
        """Replace the attribute of a face."""
        await self._people.set_attribute(current().principal, UUID(request.face_id), _attribute(request.attribute))
        return pb.SetFaceAttributeResponse()

    async def GetFaceAttribute(
        self, request: pb.GetFaceAttributeRequest, context: object
    ) -> pb.GetFaceAttributeResponse:
        """The attribute of a face."""
        face_id, wanted = UUID(request.face_id), wanted_version(request.descriptor_version)
        found = await self._people.attribute(current().principal.reads(), face_id)
        version = check_version(found.content, wanted, self._version, face_id)
        return pb.GetFaceAttributeResponse(attributes=face_attribute(found, version, request.targets))

    async def DeleteFaceAttribute(
        self, request: pb.DeleteFaceAttributeRequest, context: object
    ) -> pb.DeleteFaceAttributeResponse:
        """Delete the attribute of a face."""
        await self._people.clear_attribute(current().principal, UUID(request.face_id))
        return pb.DeleteFaceAttributeResponse()

    async def GetFaceAttributeSamples(
        self, request: pb.GetFaceAttributeSamplesRequest, context: object
    ) -> pb.GetFaceAttributeSamplesResponse:
        """The samples that a face's attribute came from."""
        samples = await self._people.samples(current().principal.reads(), UUID(request.face_id))
        return pb.GetFaceAttributeSamplesResponse(samples=texts(samples))


def _attribute(message: pb.FaceAttributeInput) -> AttributeInput:
    if not message.attribute_id:
        return AttributeInput(content=content_from(message, "attribute."))
    if len(message.ListFields()) > 1:
        raise BadBody(field="attribute", message="attribute_id stands alone, or is left out")
    return AttributeInput(attribute_id=UUID(message.attribute_id))
