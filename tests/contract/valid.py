"""Valid bodies of requests, and the messages of gRPC that say the same."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from luna.v6 import attributes_pb2 as attributes
from luna.v6 import event_filters_pb2 as event_filters
from luna.v6 import faces_pb2 as faces
from luna.v6 import matcher_pb2 as matcher
from luna.v6 import tokens_pb2 as tokens

from tests.contract.spoken import into
from tests.contract.world import BODY_LENGTH, BODY_VERSION, OWN_VERSION, World, by_id, sdk, text

Body = Mapping[str, Any]
"""An object of JSON."""


def account_body(_: World) -> Body:
    login = f"contract-{uuid.uuid4()}@example.com"
    return {"login": login, "password": "secret", "account_type": "advanced_user", "description": "it"}


def face_body(world: World) -> Body:
    return {
        "attribute": world.attribute_body(),
        "external_id": "x" * 36,
        "user_data": "someone",
        "avatar": "http://example.com/a.jpg?b=c",
        "lists": [world.list_id],
        "event_id": "0b2f3c7e-0000-4000-8000-000000000001",
    }


def match_body(world: World) -> Body:
    targets = ["face_id", "account_id", "event_id", "user_data", "create_time", "external_id", "avatar", "lists"]
    return {
        "references": [
            *by_id([("face", world.face_id)]),
            {"id": "mine", "type": "sdk_descriptor", "data": text(sdk(world.stranger))},
            *by_id([("attribute", world.attribute_id)]),
            {
                "id": "raw",
                "type": "raw_descriptor",
                "data": {"descriptor": text(world.descriptor), "version": OWN_VERSION},
            },
        ],
        "candidates": [
            {
                "filters": {"origin": "faces", "face_ids": [world.face_id], "create_time__gte": "2020-01-01T00:00:00Z"},
                "limit": 5,
                "threshold": 0.0,
                "targets": [*targets, "similarity"],
            },
            {
                "filters": {"origin": "events", "event_ids": [world.event_id], "geo_position": NOWHERE},
                "targets": ["event_id", "similarity"],
            },
            {
                "filters": {"origin": "attributes", "attribute_ids": [world.attribute_id]},
                "targets": ["attribute_id", "create_time", "account_id", "similarity"],
            },
        ],
    }


NOWHERE = {"origin_longitude": 1.5, "origin_latitude": -2}
"""A place where no event is."""


def bodies_body(world: World) -> Body:
    return {
        "references": [
            *by_id([("event", world.body_event_id)]),
            {"id": "mine", "type": "sdk_descriptor", "data": text(sdk(bytes(BODY_LENGTH), BODY_VERSION))},
        ],
        "candidates": [
            {
                "filters": {"origin": "events", "event_ids": [world.body_event_id], "geo_position": NOWHERE},
                "limit": 3,
                "threshold": 0.0,
                "targets": ["event_id", "similarity"],
            },
        ],
    }


def raw_body(world: World) -> Body:
    mine = {"descriptor": text(world.descriptor), "version": OWN_VERSION}
    return {
        "references": [
            {"id": "mine", "type": "raw_descriptor", "data": mine},
            {"id": "other", "type": "sdk_descriptor", "data": text(sdk(world.stranger))},
        ],
        "candidates": [{"id": "mine too", "type": "sdk_descriptor", "data": text(sdk(world.descriptor))}],
    }


_TYPES = {
    "face": matcher.REFERENCE_TYPE_FACE,
    "event": matcher.REFERENCE_TYPE_EVENT,
    "attribute": matcher.REFERENCE_TYPE_ATTRIBUTE,
    "sdk_descriptor": matcher.REFERENCE_TYPE_SDK_DESCRIPTOR,
    "raw_descriptor": matcher.REFERENCE_TYPE_RAW_DESCRIPTOR,
}


def references(given: Sequence[Body]) -> list[matcher.Reference]:
    found = []
    for one in given:
        data = one.get("data")
        if data is None:
            found.append(matcher.Reference(id=one["id"], type=_TYPES[one["type"]]))
            continue
        brought = (
            attributes.DescriptorInput(sdk_descriptor=_bytes(data))
            if isinstance(data, str)
            else attributes.DescriptorInput(descriptor=_bytes(data["descriptor"]), version=data["version"])
        )
        found.append(matcher.Reference(id=one["id"], type=_TYPES[one["type"]], data=brought))
    return found


def match_request(body: Body) -> Message:
    return matcher.MatchFacesRequest(
        references=references(body["references"]), candidates=[_candidates(one) for one in body["candidates"]]
    )


def _candidates(block: Body) -> matcher.Candidates:
    given = dict(block)
    filters = dict(given.pop("filters"))
    origin = filters.pop("origin")
    if origin == "events":
        return matcher.Candidates(events=into(event_filters.EventFilters(), filters), **given)
    if origin == "attributes":
        return matcher.Candidates(attributes=matcher.AttributeCandidates(**filters), **given)
    after = moment(filters.pop("create_time__gte"))
    return matcher.Candidates(faces=matcher.FaceCandidates(create_time_gte=after, **filters), **given)


def face_request(body: Body) -> Message:
    return faces.CreateFaceRequest(**{**body, "attribute": faces.FaceAttributeInput(**content(body["attribute"]))})


def content(body: Body) -> dict[str, Any]:
    """The fields that an attribute has in requests, in gRPC."""
    basic = body["basic_attributes"]
    return {
        "face_descriptors": [
            attributes.DescriptorInput(descriptor=_bytes(one["descriptor"]), version=one["version"])
            for one in body["face_descriptors"]
        ],
        "face_descriptor_samples": body["face_descriptor_samples"],
        "basic_attributes": attributes.BasicAttributes(
            age=basic["age"], gender=attributes.GENDER_MALE, ethnicity=attributes.ETHNICITY_CAUCASIAN
        ),
        "basic_attributes_samples": body["basic_attributes_samples"],
    }


_AREAS = {"account": tokens.VISIBILITY_AREA_ACCOUNT, "all": tokens.VISIBILITY_AREA_ALL}


def token_fields(body: Body) -> dict[str, Any]:
    """The fields that a token has in requests, in gRPC."""
    given = dict(body)
    fields = {"description": given.pop("description", ""), "permissions": permissions(given.pop("permissions"))}
    end, area = given.pop("expiration_time", None), given.pop("visibility_area", None)
    assert not given, given
    if end is not None:
        fields["expiration_time"] = moment(end)
    return fields if area is None else {**fields, "visibility_area": _AREAS[area]}


def permissions(body: Body) -> tokens.Permissions:
    """What a token may do, in gRPC."""
    emit = body.get("emit_events", {})
    lists = {
        name: [tokens.Action.Value(f"ACTION_{word.upper()}") for word in words]
        for name, words in body.items()
        if name not in {"resources", "emit_events"}
    }
    return tokens.Permissions(
        **lists,
        resources=[tokens.Resource.Value(f"RESOURCE_{word.upper()}") for word in body.get("resources", [])],
        emit_events=tokens.EmitEvents(**{**emit, "allowed": bool(emit.get("allowed"))}),
    )


def moment(text: str) -> Timestamp:
    """A time of its text."""
    made = Timestamp()
    made.FromJsonString(text)
    return made


def _bytes(encoded: str) -> bytes:
    return base64.b64decode(encoded)
