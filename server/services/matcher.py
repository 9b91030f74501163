"""luna.v6.Matcher."""

from __future__ import annotations

from collections.abc import Sequence

from luna.v6 import attributes_pb2, faces_pb2, matcher_pb2_grpc
from luna.v6 import matcher_pb2 as pb

from server.domain.descriptors import Descriptor
from server.domain.matching import (
    AttributeCandidates,
    Candidates,
    FaceCandidates,
    Found,
    Matching,
    ReferenceKind,
    StoredReference,
)
from server.errors import BadBody, MissingField, NoDescriptorInXpk
from server.rpc.calls import current
from server.services.messages import attribute, descriptor_from, face, face_filter, optional_uuid, uuids

_KINDS = {
    pb.REFERENCE_TYPE_FACE: ReferenceKind.FACE,
    pb.REFERENCE_TYPE_EVENT: ReferenceKind.EVENT,
    pb.REFERENCE_TYPE_ATTRIBUTE: ReferenceKind.ATTRIBUTE,
    pb.REFERENCE_TYPE_FACE_EXTERNAL_ID: ReferenceKind.FACE_EXTERNAL_ID,
    pb.REFERENCE_TYPE_EVENT_EXTERNAL_ID: ReferenceKind.EVENT_EXTERNAL_ID,
    pb.REFERENCE_TYPE_EVENT_TRACK_ID: ReferenceKind.EVENT_TRACK_ID,
}
_OBJECTS = {
    ReferenceKind.FACE: "face",
    ReferenceKind.FACE_EXTERNAL_ID: "face",
    ReferenceKind.ATTRIBUTE: "attribute",
    ReferenceKind.EVENT: "event",
    ReferenceKind.EVENT_EXTERNAL_ID: "event",
    ReferenceKind.EVENT_TRACK_ID: "event",
}
"""The kinds of objects that references name, as permissions call them."""
SIMILARITY = "similarity"
FACE_TARGETS = {
    "face_id": faces_pb2.FACE_FIELD_FACE_ID,
    "account_id": faces_pb2.FACE_FIELD_ACCOUNT_ID,
    "event_id": faces_pb2.FACE_FIELD_EVENT_ID,
    "user_data": faces_pb2.FACE_FIELD_USER_DATA,
    "create_time": faces_pb2.FACE_FIELD_CREATE_TIME,
    "external_id": faces_pb2.FACE_FIELD_EXTERNAL_ID,
    "avatar": faces_pb2.FACE_FIELD_AVATAR,
    "lists": faces_pb2.FACE_FIELD_LISTS,
}
ATTRIBUTE_TARGETS = {
    "attribute_id": attributes_pb2.ATTRIBUTE_FIELD_ATTRIBUTE_ID,
    "account_id": attributes_pb2.ATTRIBUTE_FIELD_ACCOUNT_ID,
    "create_time": attributes_pb2.ATTRIBUTE_FIELD_CREATE_TIME,
}


class MatcherService(matcher_pb2_grpc.MatcherServicer):
    """Matching."""

    def __init__(self, matching: Matching, *, descriptor_version: int) -> None:
        self._matching = matching
        self._version = descriptor_version

    async def MatchFaces(self, request: pb.MatchFacesRequest, context: object) -> pb.MatchFacesResponse:
        """Search candidates for each reference."""
        for kind in _matched(request):
            current().principal.require(kind, "matching")
        for position, block in enumerate(request.candidates):
            _check_targets(block, position)
        found = await self._matching.match(
            current().principal,
            [_reference(one, f"references.{position}") for position, one in enumerate(request.references)],
            [_candidates(block, position) for position, block in enumerate(request.candidates)],
            optional_uuid(request.account_id),
        )
        return pb.MatchFacesResponse(
            matches=[
                pb.ReferenceMatches(
                    reference=pb.ReferenceEcho(id=reference.id, type=reference.type),
                    matches=[
                        self._block(block, results) for block, results in zip(request.candidates, row, strict=True)
                    ],
                )
                for reference, row in zip(request.references, found, strict=True)
            ]
        )

    async def MatchRaw(self, request: pb.MatchRawRequest, context: object) -> pb.MatchRawResponse:
        """Compare every reference with every candidate."""
        rows = await self._matching.compare(
            [given_descriptor(one, f"references.{position}") for position, one in enumerate(request.references)],
            [given_descriptor(one, f"candidates.{position}") for position, one in enumerate(request.candidates)],
        )
        return pb.MatchRawResponse(
            matches=[
                pb.RawMatches(
                    reference_id=reference.id,
                    matches=[
                        pb.RawMatch(candidate_id=candidate.id, similarity=similarity)
                        for candidate, similarity in zip(request.candidates, row, strict=True)
                    ],
                )
                for reference, row in zip(request.references, rows, strict=True)
            ]
        )

    def _block(self, block: pb.Candidates, results: Sequence[Found]) -> pb.CandidateMatches:
        targets = set(block.targets)
        message = pb.CandidateMatches(limit=block.limit, result=[self._match(one, targets) for one in results])
        if block.WhichOneof("filters") == "attributes":
            message.attributes.CopyFrom(block.attributes)
        else:
            message.faces.CopyFrom(block.faces)
        return message

    def _match(self, found: Found, targets: set[str]) -> pb.Match:
        message = pb.Match()
        if not targets or SIMILARITY in targets:
            message.similarity = found.similarity
        if found.face is not None:
            wanted = [FACE_TARGETS[name] for name in FACE_TARGETS if name in (targets or {"face_id"})]
            if wanted:
                message.face.CopyFrom(face(found.face, wanted))
        if found.attribute is not None:
            names = targets or {"attribute_id"}
            fields = [ATTRIBUTE_TARGETS[name] for name in ATTRIBUTE_TARGETS if name in names]
            if fields:
                message.attribute.CopyFrom(attribute(found.attribute, self._version, fields))
        return message


def _matched(request: pb.MatchFacesRequest) -> list[str]:
    """Kinds of objects that a token must be allowed to match: those of the candidates.

    Where there are no candidates, those of the references: asking for them tells whether they exist.
    """
    if request.candidates:
        return ["attribute" if block.HasField("attributes") else "face" for block in request.candidates]
    return [_OBJECTS[kind] for one in request.references if (kind := _KINDS.get(one.type)) is not None]


def _reference(message: pb.Reference, path: str) -> StoredReference | Descriptor:
    kind = _KINDS.get(message.type)
    if kind is None:
        return given_descriptor(message, path)
    if message.HasField("data"):
        raise BadBody(field=f"{path}.data", message="a reference by id carries no data")
    return StoredReference(kind, message.id)


def given_descriptor(message: pb.Reference, path: str) -> Descriptor:
    """The descriptor that a reference carries."""
    if message.type in _KINDS:
        raise BadBody(field=f"{path}.type", message="allowed are: sdk_descriptor, raw_descriptor, xpk_file")
    if not message.HasField("data"):
        raise MissingField(field=f"{path}.data")
    if message.type == pb.REFERENCE_TYPE_RAW_DESCRIPTOR:
        if message.data.sdk_descriptor:
            raise BadBody(field=f"{path}.data", message="a descriptor and its version are needed")
        return descriptor_from(message.data, f"{path}.data")
    if not message.data.sdk_descriptor:
        raise BadBody(field=f"{path}.data", message="the bytes themselves are needed")
    if message.type == pb.REFERENCE_TYPE_XPK_FILE:
        # the container's layout is not published: docs/compatibility.md
        raise NoDescriptorInXpk
    return Descriptor.sdk(message.data.sdk_descriptor)


def _candidates(block: pb.Candidates, position: int) -> Candidates:
    match block.WhichOneof("filters"):
        case "faces":
            account_id = optional_uuid(block.faces.account_id)
            return FaceCandidates(face_filter(block.faces), account_id, block.limit, block.threshold)
        case "attributes":
            ids = tuple(dict.fromkeys(uuids(block.attributes.attribute_ids)))
            account_id = optional_uuid(block.attributes.account_id)
            return AttributeCandidates(ids, account_id, block.limit, block.threshold)
        case _:
            raise BadBody(field=f"candidates.{position}.filters", message="filters are needed")


def _check_targets(block: pb.Candidates, position: int) -> None:
    allowed = {*(ATTRIBUTE_TARGETS if block.WhichOneof("filters") == "attributes" else FACE_TARGETS), SIMILARITY}
    for place, target in enumerate(block.targets):
        if target not in allowed:
            raise BadBody(
                field=f"candidates.{position}.targets.{place}",
                message=f"'{target[:64]}' is not allowed, allowed are: {', '.join(sorted(allowed))}",
            )
