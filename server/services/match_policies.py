"""Policies of matching, and the filters that all policies have: messages to values and back.

A message that is read is complete: its defaults are filled in (`server.rpc.validation.complete`).
"""

from __future__ import annotations

from uuid import UUID

from google.protobuf.json_format import MessageToDict, ParseDict
from luna.v6 import event_filters_pb2
from luna.v6 import policies_pb2 as pb

from server.domain.event_conditions import Column, Condition, Operator
from server.domain.policies import (
    AttributeCandidates,
    DescriptorKind,
    EventCandidates,
    FaceCandidates,
    Filters,
    MatchCondition,
    MatchPolicy,
    TimeBound,
)
from server.errors import BadBody, LunaError, MissingField
from server.services.detect_policies import LIVENESS_OF, MASK_OF
from server.services.estimations import LIVENESS_STATES, MASK_STATES
from server.services.event_filters import time_bounds, timeless_conditions
from server.services.messages import ETHNICITIES, GENDER_OF, GENDERS, optional_uuid, texts, uuids

DESCRIPTORS = {
    pb.DESCRIPTOR_TYPE_FACE: DescriptorKind.FACE,
    pb.DESCRIPTOR_TYPE_BODY: DescriptorKind.BODY,
}
_DESCRIPTOR_OF = {value: key for key, value in DESCRIPTORS.items()}
_ETHNICITY_OF = {value: key for key, value in ETHNICITIES.items()}


def match_policy_from(message: pb.MatchPolicy, path: str) -> MatchPolicy:
    """One comparison, as it stands at a path.

    Raises:
        MissingField: there are no candidates.
        BadBody: half a position is given, or a condition on `meta` is none.
    """
    candidates = f"{path}.candidates"
    chosen: FaceCandidates | EventCandidates | AttributeCandidates
    match message.WhichOneof("candidates"):
        case "faces":
            chosen = _faces_from(message.faces)
        case "events":
            chosen = _events_from(message.events, candidates)
        case "attributes":
            chosen = AttributeCandidates(uuids(message.attributes.attribute_ids))
        case None:
            raise MissingField(field=candidates)
    return MatchPolicy(
        label=message.label,
        candidates=chosen,
        descriptor=DESCRIPTORS[message.descriptor_type],
        limit=message.limit,
        threshold=message.threshold,
        filters=filters_from(message.filters),
        targets=tuple(message.targets),
    )


def match_policy(value: MatchPolicy) -> pb.MatchPolicy:
    """The same as a message."""
    message = pb.MatchPolicy(
        label=value.label,
        descriptor_type=_DESCRIPTOR_OF[value.descriptor],
        limit=value.limit,
        threshold=value.threshold,
        filters=filters(value.filters),
        targets=value.targets,
    )
    match value.candidates:
        case FaceCandidates():
            message.faces.CopyFrom(_faces(value.candidates))
        case EventCandidates():
            ParseDict(dict(value.candidates.given), message.events, ignore_unknown_fields=True)
            message.events.SetInParent()
        case AttributeCandidates():
            message.attributes.attribute_ids.extend(texts(value.candidates.attribute_ids))
    return message


def _faces_from(message: pb.PolicyFaceCandidates) -> FaceCandidates:
    return FaceCandidates(
        account_id=optional_uuid(message.account_id),
        list_id=optional_uuid(message.list_id),
        face_ids=uuids(message.face_ids) or None,
        external_ids=tuple(message.external_ids) or None,
        user_data=message.user_data or None,
        create_time_gte=_bound(message.create_time_gte),
        create_time_lt=_bound(message.create_time_lt),
        face_id_gte=optional_uuid(message.face_id_gte),
        face_id_lt=optional_uuid(message.face_id_lt),
    )


def _faces(value: FaceCandidates) -> pb.PolicyFaceCandidates:
    return pb.PolicyFaceCandidates(
        account_id=_text(value.account_id),
        list_id=_text(value.list_id),
        face_ids=texts(value.face_ids or ()),
        external_ids=value.external_ids,
        user_data=_text(value.user_data),
        create_time_gte=value.create_time_gte.text if value.create_time_gte else "",
        create_time_lt=value.create_time_lt.text if value.create_time_lt else "",
        face_id_gte=_text(value.face_id_gte),
        face_id_lt=_text(value.face_id_lt),
    )


def _events_from(message: event_filters_pb2.EventFilters, path: str) -> EventCandidates:
    def refuse(field: str, text: str) -> LunaError:
        return BadBody(field=f"{path}.{field}", message=text)

    conditions = timeless_conditions(message, refuse)
    if message.account_id:
        # events are compared within the handler's own account; another one has none of them
        conditions = (*conditions, Condition(Column.ACCOUNT_ID, Operator.EQ, UUID(message.account_id)))
    given = MessageToDict(message, preserving_proto_field_name=True)
    return EventCandidates(conditions=conditions, given=given, **time_bounds(message))


def _bound(text: str) -> TimeBound | None:
    return TimeBound(text) if text else None


def _text(value: UUID | str | None) -> str:
    return "" if value is None else str(value)


def filters_from(message: pb.PolicyFilters) -> Filters:
    """Conditions on an event."""
    return Filters(
        gender=GENDERS.get(message.gender) if message.HasField("gender") else None,
        age_gte=message.age_gte if message.HasField("age_gte") else None,
        age_lt=message.age_lt if message.HasField("age_lt") else None,
        ethnicities=frozenset(ETHNICITIES[number] for number in message.ethnic_group if number in ETHNICITIES),
        masks=frozenset(MASK_OF[number] for number in message.mask if number in MASK_OF),
        liveness=frozenset(LIVENESS_OF[number] for number in message.liveness if number in LIVENESS_OF),
        match=tuple(MatchCondition(one.label, one.similarity_gte, one.similarity_lte) for one in message.match),
    )


def filters(value: Filters) -> pb.PolicyFilters:
    """The same as a message."""
    return pb.PolicyFilters(
        gender=None if value.gender is None else GENDER_OF[value.gender],
        age_gte=value.age_gte,
        age_lt=value.age_lt,
        ethnic_group=sorted(_ETHNICITY_OF[one] for one in value.ethnicities),
        mask=sorted(MASK_STATES[one] for one in value.masks),
        liveness=sorted(LIVENESS_STATES[one] for one in value.liveness),
        match=[
            pb.MatchFilter(label=one.label, similarity_gte=one.least, similarity_lte=one.most) for one in value.match
        ],
    )
