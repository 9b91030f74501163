"""The recipes of handlers, events and verifiers."""

from __future__ import annotations

from collections.abc import Mapping

import msgpack
from luna.v6 import event_filters_pb2 as event_filters
from luna.v6 import events_pb2 as events
from luna.v6 import handlers_pb2 as handlers
from luna.v6 import images_pb2 as images
from luna.v6 import verifiers_pb2 as verifiers

from tests.contract.policies import handler_policies, verifier_policies
from tests.contract.recipes import FRESH, Recipe, body_of, new, path_of, query_of
from tests.contract.rest import MSGPACK, Call
from tests.contract.spoken import into
from tests.contract.valid import raw_body, references
from tests.contract.world import EVENT, KNOWN, ONE, OWN_VERSION, World, text

REPLACED = {"description": "changed", "policies": {"detect_policy": {"detect_body": 1}, "match_policy": []}}


def _handler_body(world: World) -> Mapping[str, object]:
    return {"description": "new", "policies": handler_policies(world), "handler_type": 0, "is_dynamic": False}


def _verifier_body() -> Mapping[str, object]:
    return {"description": "new", "policies": verifier_policies()}


HANDLERS: Mapping[str, Recipe] = {
    "create_handler": Recipe(
        lambda world: Call(body=_handler_body(world), account=world.owner),
        "Handlers/CreateHandler",
        lambda call: into(handlers.CreateHandlerRequest(), body_of(call)),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/handlers/{made['handler_id']}")],
    ),
    "get_handlers": Recipe(
        lambda world: Call(query=(("description", ONE),), account=world.owner),
        "Handlers/ListHandlers",
        lambda call: handlers.ListHandlersRequest(description=query_of(call, "description")),
        part="handlers",
    ),
    "get_handler_count": Recipe(
        lambda world: Call(query=(("description", ONE),), account=world.owner),
        "Handlers/CountHandlers",
        lambda call: handlers.CountHandlersRequest(description=query_of(call, "description")),
    ),
    "validate_handler_policies": Recipe(
        lambda world: Call(body={"policies": handler_policies(world)}, account=world.owner),
        "Handlers/ValidatePolicies",
        lambda call: into(handlers.ValidatePoliciesRequest(), body_of(call)),
    ),
    "get_handler": Recipe(
        lambda world: Call({"handler_id": world.handler_id}, account=world.owner),
        "Handlers/GetHandler",
        lambda call: handlers.GetHandlerRequest(**path_of(call)),
    ),
    "check_handler": Recipe(
        lambda world: Call({"handler_id": world.handler_id}, account=world.owner),
        "Handlers/GetHandler",
        lambda call: handlers.GetHandlerRequest(**path_of(call)),
    ),
    "replace_handler": Recipe(
        lambda world: Call({"handler_id": world.new_handler()}, body=REPLACED, account=world.owner),
        "Handlers/ReplaceHandler",
        lambda call: into(handlers.ReplaceHandlerRequest(**path_of(call)), body_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/handlers/{call.path['handler_id']}")],
    ),
    "remove_handler": Recipe(
        new("handler_id", lambda world: world.new_handler()),
        "Handlers/DeleteHandler",
        lambda call: handlers.DeleteHandlerRequest(**path_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/handlers/{call.path['handler_id']}")],
    ),
}


def _raw_event(world: World) -> Mapping[str, object]:
    """An event with every member that the contract has."""
    rect = {"x": 1, "y": 2, "width": 30, "height": 40}
    detection = {"rect": rect, "landmarks5": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]], "attributes": {}}
    candidate = {"similarity": 0.5, "face": {"face_id": world.face_id, "external_id": "", "user_data": "", "lists": []}}
    return {
        "detections": [
            {
                "samples": {
                    "face": {"sample_id": world.sample_id, "detection": detection},
                    "body": {"sample_id": None, "detection": {"rect": rect, "attributes": {}}},
                },
                "detect_time": "2020-01-01T00:00:00.5Z",
                "detect_ts": 0,
                "image_origin": "http://example.com/a.jpg",
            }
        ],
        "source": "gate",
        "stream_id": EVENT,
        "location": {
            "city": "Moscow",
            "area": None,
            "district": "1",
            "street": "2",
            "house_number": "3",
            "geo_position": {"longitude": 36.6, "latitude": 55.7},
        },
        "external_id": "mine",
        "user_data": "raw",
        "track_id": "track-1",
        "face": {
            "face_id": world.face_id,
            "lists": [world.list_id],
            "event_id": EVENT,
            "user_data": "a",
            "external_id": "b",
            "avatar": "",
        },
        "matches": [{"label": "people", "candidates": [candidate]}],
        "face_attributes": {
            "basic_attributes": {
                "age": 33,
                "gender": 1,
                "ethnicities": {"predominant_ethnicity": "asian", "estimations": {"asian": 1.0}},
            },
            "score": 0.9,
            "samples": [world.sample_id],
            "descriptor": {"descriptor": text(world.descriptor), "version": OWN_VERSION},
        },
        "body_attributes": {"score": 0.5, "samples": []},
        "aggregate_estimations": {"face": {"attributes": {}}, "body": {"attributes": {}}},
        "tags": ["a", "b"],
        "create_time": "2024-01-01T00:00:00Z",
        "end_time": "2024-01-01T00:00:01+03:00",
        "meta": {"a": {"b": [1, None, "c"]}},
    }


STATISTICS = {
    "targets": [{"column": "event_id", "aggregator": "count"}, {"column": "source", "aggregator": "group_by"}],
    "filters": [{"column": "external_id", "operator": "eq", "value": KNOWN}],
    "period": [{"column": "create_time", "operator": "gte", "value": "2020-01-01T00:00:00Z"}],
    "group_by": "1M",
}
MADE = FRESH | {"detect_time", "samples"}
EVENTS: Mapping[str, Recipe] = {
    "generate_events": Recipe(
        lambda world: Call(
            {"handler_id": world.handler_id},
            query=(("source", "gate"), ("tags", "a,b"), ("longitude", "36.6"), ("latitude", "55.7")),
            data=world.jpeg,
            content_type="image/jpeg",
            account=world.owner,
        ),
        "Events/GenerateEvents",
        lambda call: events.GenerateEventsRequest(
            **path_of(call),
            sources=[images.Source(data=call.data)],
            source="gate",
            tags=["a", "b"],
            longitude=36.6,
            latitude=55.7,
        ),
        fresh=MADE,
    ),
    "generate_stream_events": Recipe(
        lambda world: Call(
            {"handler_id": world.handler_id},
            data=msgpack.packb({"aggregate_attributes": 0, "sources": [{"body": world.jpeg, "filename": "a"}]}),
            content_type=MSGPACK,
            account=world.owner,
        ),
        "Events/GenerateStreamEvents",
        lambda call: events.GenerateStreamEventsRequest(
            **path_of(call),
            aggregate_attributes=False,
            sources=[events.StreamSource(**msgpack.unpackb(call.data)["sources"][0])],
        ),
        fresh=MADE,
    ),
    "save_event": Recipe(
        lambda world: Call({"handler_id": world.dynamic_id}, body=_raw_event(world), account=world.owner),
        "Events/SaveEvent",
        lambda call: events.SaveEventRequest(**path_of(call), event=into(events.RawEvent(), body_of(call))),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/events/{made['event_id']}")],
    ),
    "get_event_statistics": Recipe(
        lambda world: Call(body=STATISTICS, account=world.owner),
        "Events/GetStatistics",
        lambda call: into(events.GetStatisticsRequest(), body_of(call)),
    ),
    "get_events": Recipe(
        lambda world: Call(query=(("event_ids", world.event_id),), account=world.owner),
        "Events/ListEvents",
        lambda call: events.ListEventsRequest(
            filters=event_filters.EventFilters(event_ids=[query_of(call, "event_ids")])
        ),
    ),
    "get_event": Recipe(
        lambda world: Call({"event_id": world.event_id}, account=world.owner),
        "Events/GetEvent",
        lambda call: events.GetEventRequest(**path_of(call)),
    ),
    "check_event": Recipe(
        lambda world: Call({"event_id": world.event_id}, account=world.owner),
        "Events/GetEvent",
        lambda call: events.GetEventRequest(**path_of(call)),
    ),
}
VERIFIERS: Mapping[str, Recipe] = {
    "create_verifier": Recipe(
        lambda world: Call(body=_verifier_body(), account=world.owner),
        "Verifiers/CreateVerifier",
        lambda call: into(verifiers.CreateVerifierRequest(), body_of(call)),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/verifiers/{made['verifier_id']}")],
    ),
    "get_verifiers": Recipe(
        lambda world: Call(query=(("description", ONE),), account=world.owner),
        "Verifiers/ListVerifiers",
        lambda call: verifiers.ListVerifiersRequest(description=query_of(call, "description")),
        part="verifiers",
    ),
    "count_verifiers": Recipe(
        lambda world: Call(query=(("description", ONE),), account=world.owner),
        "Verifiers/CountVerifiers",
        lambda call: verifiers.CountVerifiersRequest(description=query_of(call, "description")),
    ),
    "raw_verification": Recipe(
        lambda world: Call({"verifier_id": world.verifier_id}, body=raw_body(world), account=world.owner),
        "Verifiers/VerifyRaw",
        lambda call: verifiers.VerifyRawRequest(
            **path_of(call),
            references=references(body_of(call)["references"]),
            candidates=references(body_of(call)["candidates"]),
        ),
    ),
    "perform_verification": Recipe(
        lambda world: Call(
            {"verifier_id": world.verifier_id},
            query=(("face_ids", world.face_id),),
            data=world.sample,
            content_type="image/jpeg",
            account=world.owner,
        ),
        "Verifiers/PerformVerification",
        lambda call: verifiers.PerformVerificationRequest(
            **path_of(call),
            sources=[images.Source(data=call.data)],
            face_ids=query_of(call, "face_ids").split(","),
        ),
        fresh=FRESH,
    ),
    "get_verifier": Recipe(
        lambda world: Call({"verifier_id": world.verifier_id}, account=world.owner),
        "Verifiers/GetVerifier",
        lambda call: verifiers.GetVerifierRequest(**path_of(call)),
    ),
    "check_verifier": Recipe(
        lambda world: Call({"verifier_id": world.verifier_id}, account=world.owner),
        "Verifiers/GetVerifier",
        lambda call: verifiers.GetVerifierRequest(**path_of(call)),
    ),
    "replace_verifier": Recipe(
        lambda world: Call({"verifier_id": world.new_verifier()}, body=_verifier_body(), account=world.owner),
        "Verifiers/ReplaceVerifier",
        lambda call: into(verifiers.ReplaceVerifierRequest(**path_of(call)), body_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/verifiers/{call.path['verifier_id']}")],
    ),
    "remove_verifier": Recipe(
        new("verifier_id", lambda world: world.new_verifier()),
        "Verifiers/DeleteVerifier",
        lambda call: verifiers.DeleteVerifierRequest(**path_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/verifiers/{call.path['verifier_id']}")],
    ),
}
