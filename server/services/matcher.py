"""luna.v6.Matcher."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from luna.v6 import matcher_pb2 as pb
from luna.v6 import matcher_pb2_grpc

from server.domain.descriptors import LAYOUTS, Descriptor
from server.domain.matching import (
    AttributeCandidates,
    Candidates,
    EventCandidates,
    FaceCandidates,
    Found,
    Matching,
    ReferenceKind,
    StoredReference,
)
from server.errors import BadBody, LunaError, MissingField, NoDescriptorInXpk
from server.rpc.calls import current
from server.rpc.validation import UUID as UUID_PATTERN
from server.services.event_filters import conditions_at
from server.services.match_targets import ATTRIBUTE_TARGETS, FACE_TARGETS, SIMILARITY
from server.services.messages import attribute, descriptor_from, face, face_filter, optional_uuid, uuids
from server.services.stored_events import EVENT_TARGETS, stored_event

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
_NAMED_BY_UUID = frozenset({ReferenceKind.FACE, ReferenceKind.ATTRIBUTE, ReferenceKind.EVENT})
_TARGETS: Mapping[str, Collection[str]] = {
    "faces": FACE_TARGETS,
    "attributes": ATTRIBUTE_TARGETS,
    "events": EVENT_TARGETS,
}
"""What may be asked of what is found, by the origin of the candidates."""


class MatcherService(matcher_pb2_grpc.MatcherServicer):
    """Matching."""

    def __init__(self, matching: Matching, *, descriptor_version: int) -> None:
        self._matching = matching
        self._version = descriptor_version

    async def MatchFaces(self, request: pb.MatchFacesRequest, context: object) -> pb.MatchFacesResponse:
        """Search candidates for each reference."""
        for kind in _matched(request):
            current().principal.require(kind, "matching")
        found = await self._matching.match(
            current().principal,
            [_reference(one, f"references.{position}") for position, one in enumerate(request.references)],
            [_candidates(block, f"candidates.{position}") for position, block in enumerate(request.candidates)],
            optional_uuid(request.account_id),
        )
        return pb.MatchFacesResponse(matches=self._matches(request, found))

    async def MatchBodies(self, request: pb.MatchBodiesRequest, context: object) -> pb.MatchBodiesResponse:
        """Search events for the body of each reference."""
        found = await self._matching.match_bodies(
            current().principal,
            [_body_reference(one, f"references.{position}") for position, one in enumerate(request.references)],
            [_event_candidates(block, f"candidates.{position}") for position, block in enumerate(request.candidates)],
            optional_uuid(request.account_id),
        )
        return pb.MatchBodiesResponse(matches=self._matches(request, found))

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

    def _matches(
        self, request: pb.MatchFacesRequest | pb.MatchBodiesRequest, found: Sequence[Sequence[Sequence[Found]]]
    ) -> list[pb.ReferenceMatches]:
        """What was found for each reference, beside what was asked."""
        blocks: Sequence[pb.Candidates | pb.BodyCandidates] = request.candidates
        return [
            pb.ReferenceMatches(
                reference=pb.ReferenceEcho(id=reference.id, type=reference.type),
                matches=[self._block(block, results) for block, results in zip(blocks, row, strict=True)],
            )
            for reference, row in zip(request.references, found, strict=True)
        ]

    def _block(self, block: pb.Candidates | pb.BodyCandidates, results: Sequence[Found]) -> pb.CandidateMatches:
        targets = set(block.targets)
        message = pb.CandidateMatches(limit=block.limit, result=[self._match(one, targets) for one in results])
        origin = block.WhichOneof("filters")
        if origin is not None:
            getattr(message, origin).CopyFrom(getattr(block, origin))
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
        if found.event is not None:
            shown = [EVENT_TARGETS[name] for name in EVENT_TARGETS if name in (targets or {"event_id"})]
            if shown:
                message.event.CopyFrom(stored_event(found.event, shown))
        return message


def _matched(request: pb.MatchFacesRequest) -> list[str]:
    """Kinds of objects that a token must be allowed to match: those of the candidates.

    Where there are no candidates, those of the references: asking for them tells whether they exist.
    """
    if request.candidates:
        return [(block.WhichOneof("filters") or "faces").removesuffix("s") for block in request.candidates]
    return [_OBJECTS[kind] for one in request.references if (kind := _KINDS.get(one.type)) is not None]


def _reference(message: pb.Reference, path: str) -> StoredReference | Descriptor:
    kind = _KINDS.get(message.type)
    if kind is None:
        return given_descriptor(message, path)
    if message.HasField("data"):
        raise BadBody(field=f"{path}.data", message="a reference by id carries no data")
    if kind in _NAMED_BY_UUID and not UUID_PATTERN.fullmatch(message.id):
        raise BadBody(field=f"{path}.id", message=f"'{message.id[:64]}' is not a uuid (lower case, with dashes)")
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
        return descriptor_from(message.data, f"{path}.data", LAYOUTS)
    if not message.data.sdk_descriptor:
        raise BadBody(field=f"{path}.data", message="the bytes themselves are needed")
    if message.type == pb.REFERENCE_TYPE_XPK_FILE:
        # the container's layout is not published: docs/compatibility.md
        raise NoDescriptorInXpk
    return Descriptor.sdk(message.data.sdk_descriptor, LAYOUTS)


def _body_reference(message: pb.Reference, path: str) -> StoredReference | Descriptor:
    """A reference of bodies: an event, or a descriptor."""
    reference = _reference(message, path)
    if isinstance(reference, StoredReference) and _OBJECTS[reference.kind] != "event":
        raise BadBody(field=f"{path}.type", message=f"a {reference.kind.value} has no body")
    return reference


def _candidates(block: pb.Candidates, path: str) -> Candidates:
    match block.WhichOneof("filters"):
        case "faces":
            _check_targets(block, path)
            account_id = optional_uuid(block.faces.account_id)
            return FaceCandidates(face_filter(block.faces), account_id, block.limit, block.threshold)
        case "attributes":
            _check_targets(block, path)
            ids = tuple(dict.fromkeys(uuids(block.attributes.attribute_ids)))
            account_id = optional_uuid(block.attributes.account_id)
            return AttributeCandidates(ids, account_id, block.limit, block.threshold)
        case _:
            return _event_candidates(block, path)


def _event_candidates(block: pb.Candidates | pb.BodyCandidates, path: str) -> EventCandidates:
    if not block.HasField("events"):
        raise MissingField(field=f"{path}.filters")
    _check_targets(block, path)

    def refuse(field: str, message: str) -> LunaError:
        return BadBody(field=f"{path}.filters.{field}", message=message)

    conditions = conditions_at(block.events, datetime.now(UTC), refuse)
    return EventCandidates(conditions, optional_uuid(block.events.account_id), block.limit, block.threshold)


def _check_targets(block: pb.Candidates | pb.BodyCandidates, path: str) -> None:
    allowed = {*_TARGETS[block.WhichOneof("filters") or "events"], SIMILARITY}
    for place, target in enumerate(block.targets):
        if target not in allowed:
            raise BadBody(
                field=f"{path}.targets.{place}",
                message=f"'{target[:64]}' is not allowed, allowed are: {', '.join(sorted(allowed))}",
            )
