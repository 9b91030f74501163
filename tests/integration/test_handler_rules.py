"""Handlers as a client meets them, by REST and by gRPC: kinds, defaults, refusals with their fields, and walls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest
import requests
from luna.v6 import handlers_pb2, policies_pb2

from server.domain.checks import FACE_QUALITY
from tests.contract.native import Native
from tests.service import Account, Service, running

ID = "5a3f1f0e-6c1b-4a54-8f43-0a4f5d1f6f10"
Body = Mapping[str, Any]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(ENGINE__LIVENESS_THRESHOLD="0.75", ENGINE__LIVENESS_QUALITY_THRESHOLD="0.25") as one:
        yield one


@pytest.fixture
def native(service: Service) -> Iterator[Native]:
    with service.channel() as channel:
        yield Native(channel)


@dataclass
class Client:
    """An account that asks by REST; with a token where there is one."""

    service: Service
    account: Account
    token: str = ""

    def ask(self, verb: str, path: str, body: Body | None = None, **query: object) -> requests.Response:
        return requests.request(
            verb,
            f"{self.service.rest}/6{path}",
            json=body,
            params=cast("dict[str, str]", query),
            auth=None if self.token else self.account.auth,
            headers={"authorization": f"Bearer {self.token}"} if self.token else {},
            timeout=30,
        )

    def made(self, body: Body) -> str:
        """A new handler."""
        answer = self.ask("POST", "/handlers", body)
        assert answer.status_code == 201, answer.text
        handler_id = str(answer.json()["handler_id"])
        assert answer.headers["location"] == answer.json()["url"] == f"/6/handlers/{handler_id}"
        return handler_id

    def told(self, handler_id: str) -> Any:
        answer = self.ask("GET", f"/handlers/{handler_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def new_list(self) -> str:
        return str(self.ask("POST", "/lists", {}).json()["list_id"])

    def with_token(self, permissions: Body) -> Client:
        body = {"expiration_time": None, "permissions": permissions}
        answer = self.ask("POST", "/tokens", body)
        assert answer.status_code == 201, answer.text
        return Client(self.service, self.account, answer.json()["token"])


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service, service.account())


def refused(answer: requests.Response, status: int, code: int) -> str:
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    return str(answer.json()["detail"])


def rich(list_id: str) -> Body:
    """Policies with something in every part."""
    known = {"match": [{"label": "known", "similarity__gte": 0.9}]}
    return {
        "detect_policy": {
            "detect_body": 1,
            "multiface_policy": 2,
            "estimate_mask": 1,
            "yaw_threshold": 30,
            "mask_states": [1, 2],
            "estimate_liveness": {"estimate": 1, "liveness_threshold": 0.5},
            "body_attributes": {"estimate_body_basic_attributes": 1},
            "face_quality": {
                "estimate": 1,
                "checks": {
                    "head_yaw": {"threshold": {"max": 20}},
                    "glasses": {"threshold": ["no_glasses"]},
                    "red_eyes": {"estimate": 0},
                },
            },
        },
        "extract_policy": {"extract_body_descriptor": 1, "extract_basic_attributes": 1, "fd_score_threshold": 0.3},
        "match_policy": [
            {
                "label": "known",
                "candidates": {"origin": "faces", "list_id": list_id, "create_time__gte": "now-3M"},
                "filters": {"gender": 1, "age__gte": 18, "ethnic_group": [4, 1]},
                "targets": ["face_id", "similarity"],
            },
            {
                "label": "seen",
                "candidates": {
                    "origin": "events",
                    "end_time__lt": "now-1d",
                    "sources": ["door", None],
                    "meta": {"floor__gt:integer": "2"},
                },
                "descriptor_type": "body",
                "limit": 10,
                "threshold": 0.5,
            },
            {"label": "guests", "candidates": {"origin": "attributes", "attribute_ids": [ID]}},
        ],
        "conditional_tags_policy": [{"tag": "friend", "filters": known}],
        "storage_policy": {
            "face_sample_policy": {"store_sample": 0},
            "attribute_policy": {"store_attribute": 1, "ttl": 60, "filters": {"mask": [1], "liveness": [0, 1]}},
            "face_policy": {"store_face": 1, "link_to_lists_policy": [{"list_id": list_id, "filters": known}]},
            "event_policy": {"wait_saving": 0, "filters": known},
        },
    }


def missing(given: object, told: object, path: str = "") -> list[str]:
    """What was given and is not told."""
    if isinstance(given, dict) and isinstance(told, dict):
        absent = [f"{path}.{name}" for name in given if name not in told]
        return absent + [
            one for name in given if name in told for one in missing(given[name], told[name], f"{path}.{name}")
        ]
    if isinstance(given, list) and isinstance(told, list) and given and isinstance(given[0], dict):
        return [
            one for place, pair in enumerate(zip(given, told, strict=True)) for one in missing(*pair, f"{path}.{place}")
        ]
    if isinstance(given, list) and isinstance(told, list):
        return [] if sorted(given, key=str) == sorted(told, key=str) else [path]
    return [] if given == told else [path]


def test_empty_policies_are_told_in_full(client: Client) -> None:
    found = client.told(client.made({"policies": {}, "description": "first"}))
    policies = found["policies"]
    assert (found["handler_type"], found["is_dynamic"], found["lambda_id"], found["version"]) == (0, False, None, 1)
    assert (found["description"], found["account_id"]) == ("first", client.account.account_id)
    assert policies["detect_policy"]["estimate_liveness"] == {
        "estimate": 0,
        "liveness_threshold": 0.75,
        "quality_threshold": 0.25,
    }
    assert set(policies["detect_policy"]["face_quality"]["checks"]) == {one.value for one in FACE_QUALITY}
    assert policies["detect_policy"]["face_quality"]["checks"]["head_roll"] == {
        "estimate": 1,
        "threshold": {"min": -8, "max": 8},
    }
    assert policies["detect_policy"]["yaw_threshold"] is None
    assert "mask_states" not in policies["detect_policy"]
    assert policies["extract_policy"] == {
        "extract_face_descriptor": 1,
        "extract_body_descriptor": 0,
        "extract_basic_attributes": 0,
        "fd_score_threshold": 0,
    }
    assert (policies["match_policy"], policies["conditional_tags_policy"]) == ([], [])
    assert policies["storage_policy"] == {
        "face_sample_policy": {"store_sample": 1, "filters": {}},
        "body_sample_policy": {"store_sample": 1, "filters": {}},
        "image_origin_policy": {"store_image": 0, "use_external_references": 1, "filters": {}},
        "attribute_policy": {"store_attribute": 0, "ttl": None, "filters": {}},
        "face_policy": {"store_face": 0, "set_sample_as_avatar": 1, "link_to_lists_policy": [], "filters": {}},
        "event_policy": {"store_event": 1, "wait_saving": 1, "filters": {}},
        "notification_policy": {"send_notification": 1, "filters": {}},
    }


def test_what_is_told_says_what_was_given_and_can_be_given_again(client: Client) -> None:
    given = dict(rich(client.new_list()))
    handler_id = client.made({"policies": given})
    told = client.told(handler_id)["policies"]
    expected = {**given, "detect_policy": dict(given["detect_policy"])}
    expected["detect_policy"]["body_attributes"] = {"estimate_basic_attributes": 1}
    assert missing(expected, told) == []
    assert told["match_policy"][1]["descriptor_type"] == "body"
    assert (told["match_policy"][0]["limit"], told["match_policy"][0]["threshold"]) == (3, 0)
    answer = client.ask("PUT", f"/handlers/{handler_id}", {"policies": told})
    assert answer.status_code == 204, answer.text
    assert client.told(handler_id)["policies"] == told


def test_a_handler_is_replaced_as_a_whole(client: Client) -> None:
    handler_id = client.made({"policies": {}, "description": "old"})
    before = client.told(handler_id)
    assert client.ask("PUT", f"/handlers/{handler_id}", {"handler_type": 1}).status_code == 204
    after = client.told(handler_id)
    assert (after["policies"], after["handler_type"], after["is_dynamic"]) == (None, 1, True)
    assert (after["description"], after["version"]) == ("", 2)
    assert after["create_time"] == before["create_time"] < after["last_update_time"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"policies": {}}, 0),
        ({"policies": {}, "handler_type": 0, "is_dynamic": True}, 0),
        ({"policies": {}, "is_dynamic": False}, 0),
        ({"handler_type": 1}, 1),
        ({"handler_type": 1, "policies": None, "lambda_id": None}, 1),
        ({"is_dynamic": True}, 1),
        ({}, 1),
    ],
)
def test_the_kind_is_told_in_the_new_way_or_in_the_old_one(client: Client, body: Body, kind: int) -> None:
    assert client.told(client.made(body))["handler_type"] == kind


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"handler_type": 0}, 400, 12003, "policies"),
        ({"is_dynamic": False}, 400, 12003, "policies"),
        ({"handler_type": 1, "policies": {}}, 400, 12022, "policies"),
        ({"is_dynamic": True, "policies": {}}, 400, 12022, "policies"),
        ({"policies": {}, "lambda_id": ID}, 400, 12022, "lambda_id"),
        ({"handler_type": 1, "lambda_id": ID}, 400, 12022, "lambda_id"),
        ({"handler_type": 2, "lambda_id": ID}, 403, 11072, "Lambda"),
        ({"handler_type": 3}, 400, 12022, "handler_type"),
        ({"policies": {}, "description": "x" * 129}, 400, 12022, "description"),
        ({"policies": {}, "extra": 1}, 400, 12022, "extra"),
    ],
)
def test_a_handler_that_does_not_fit_its_kind_is_refused(
    client: Client, body: Body, status: int, code: int, field: str
) -> None:
    handler_id = client.made({"handler_type": 1})
    assert field in refused(client.ask("POST", "/handlers", body), status, code)
    assert field in refused(client.ask("PUT", f"/handlers/{handler_id}", body), status, code)
    assert client.told(handler_id)["version"] == 1
    assert client.ask("GET", "/handlers/count").json() == {"handlers_count": 1}


MATCH = "policies.match_policy.0"
BAD_POLICIES: Mapping[str, tuple[Body, str]] = {
    "label of nothing": (
        {"storage_policy": {"face_policy": {"filters": {"match": [{"label": "a"}]}}}},
        "policies.storage_policy.face_policy.filters.match.0.label",
    ),
    "newer member": ({"storage_policy": {"notification_policy": {"callbacks": []}}}, "notification_policy.callbacks"),
    "newer policy": ({"detect_policy": {"estimate_deepfake": {"estimate": 1}}}, "detect_policy.estimate_deepfake"),
    "filter on nothing": (
        {"conditional_tags_policy": [{"tag": "a", "filters": {"age__lt": 3}}]},
        "policies.conditional_tags_policy.0.filters.age__lt",
    ),
    "maximum of a minimum": (
        {"detect_policy": {"face_quality": {"checks": {"eye_distance": {"threshold": {"max": 3}}}}}},
        "policies.detect_policy.face_quality.checks.eye_distance.threshold.max",
    ),
    "unknown word": (
        {"detect_policy": {"face_quality": {"checks": {"glasses": {"threshold": ["monocle"]}}}}},
        "policies.detect_policy.face_quality.checks.glasses.threshold.0",
    ),
    "threshold of a flag": (
        {"detect_policy": {"face_quality": {"checks": {"red_eyes": {"threshold": [1]}}}}},
        "policies.detect_policy.face_quality.checks.red_eyes.threshold",
    ),
    "angle": ({"detect_policy": {"yaw_threshold": 181}}, "policies.detect_policy.yaw_threshold"),
    "boolean": ({"detect_policy": {"detect_face": True}}, "policies.detect_policy.detect_face"),
    "no state": ({"detect_policy": {"mask_states": []}}, "policies.detect_policy.mask_states"),
    "no filters of a tag": ({"conditional_tags_policy": [{"tag": "a"}]}, "policies.conditional_tags_policy.0.filters"),
    "no candidates": ({"match_policy": [{"label": "a"}]}, f"{MATCH}.candidates"),
    "relative time": (
        {"match_policy": [{"label": "a", "candidates": {"origin": "faces", "create_time__lt": "now-3x"}}]},
        f"{MATCH}.candidates.create_time__lt",
    ),
    "condition on meta": (
        {"match_policy": [{"label": "a", "candidates": {"origin": "events", "meta": {"a:complex": "1"}}}]},
        f"{MATCH}.candidates.meta.a:complex",
    ),
    "label": ({"match_policy": [{"label": "a b", "candidates": {"origin": "faces"}}]}, f"{MATCH}.label"),
    "target": (
        {"match_policy": [{"label": "a", "candidates": {"origin": "faces"}, "targets": ["tags"]}]},
        f"{MATCH}.targets.0",
    ),
    "body of a face": (
        {"match_policy": [{"label": "a", "candidates": {"origin": "faces"}, "descriptor_type": "body"}]},
        f"{MATCH}.descriptor_type",
    ),
}


@pytest.mark.parametrize("name", BAD_POLICIES)
def test_the_validator_names_the_field_as_creation_does(client: Client, name: str) -> None:
    policies, field = BAD_POLICIES[name]
    for path in ("/handlers/validator", "/handlers"):
        answer = client.ask("POST", path, {"policies": policies})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error_code"] in {12003, 12022}
        assert field in answer.json()["detail"]
    assert client.ask("GET", "/handlers/count").json() == {"handlers_count": 0}


def test_the_validator_keeps_nothing(client: Client) -> None:
    for policies in ({}, rich(client.new_list())):
        answer = client.ask("POST", "/handlers/validator", {"policies": policies})
        assert (answer.status_code, answer.content) == (204, b""), answer.text
    assert refused(client.ask("POST", "/handlers/validator", {}), 400, 12003)
    assert client.ask("GET", "/handlers").json() == []


@pytest.mark.parametrize("place", ["candidates", "links"])
def test_a_list_must_be_there_and_be_the_callers_own(service: Service, client: Client, place: str) -> None:
    other = Client(service, service.account())

    def policies(list_id: str) -> Body:
        if place == "links":
            return {"storage_policy": {"face_policy": {"link_to_lists_policy": [{"list_id": list_id}]}}}
        return {"match_policy": [{"label": "a", "candidates": {"origin": "faces", "list_id": list_id}}]}

    handler_id = client.made({"policies": policies(client.new_list())})
    for list_id in (ID, other.new_list()):
        body = {"policies": policies(list_id)}
        for verb, path in (("POST", "/handlers"), ("POST", "/handlers/validator"), ("PUT", f"/handlers/{handler_id}")):
            assert list_id in refused(client.ask(verb, path, body), 404, 22005)
    assert client.told(handler_id)["version"] == 1


def test_handlers_are_listed_and_counted_by_what_is_asked(client: Client) -> None:
    static = client.made({"policies": {}, "description": "gate one"})
    dynamic = client.made({"handler_type": 1, "description": "gate two"})
    cases: list[tuple[dict[str, object], list[str]]] = [
        ({}, [dynamic, static]),
        ({"handler_type": 0}, [static]),
        ({"handler_type": 1}, [dynamic]),
        ({"handler_type": 2}, []),
        ({"is_dynamic": 1}, [dynamic]),
        ({"is_dynamic": 0}, [static]),
        ({"is_dynamic": 1, "handler_type": 0}, [static]),
        ({"description": "gate"}, [dynamic, static]),
        ({"description": "te o"}, [static]),
        ({"description": "GATE"}, []),
    ]
    for query, expected in cases:
        found = client.ask("GET", "/handlers", **query)
        assert [one["handler_id"] for one in found.json()] == expected, query
        assert client.ask("GET", "/handlers/count", **query).json() == {"handlers_count": len(expected)}, query
    assert [one["handler_id"] for one in client.ask("GET", "/handlers", page=2, page_size=1).json()] == [static]
    assert client.ask("GET", "/handlers").json()[1] == client.told(static)
    for query in ({"handler_type": 3}, {"is_dynamic": "true"}, {"page": 0}, {"page_size": 1001}):
        refused(client.ask("GET", "/handlers", **query), 400, 12012)


def test_a_handler_of_another_account_is_not_there(service: Service, client: Client) -> None:
    handler_id, other = client.made({"policies": {}}), Client(service, service.account())
    for verb, body in (("GET", None), ("PUT", {"policies": {}}), ("DELETE", None)):
        assert handler_id in refused(other.ask(verb, f"/handlers/{handler_id}", body), 404, 34000)
    assert other.ask("HEAD", f"/handlers/{handler_id}").status_code == 404
    assert other.ask("GET", "/handlers", account_id=client.account.account_id).json() == []
    wide = Client(service, service.account("advanced_user"))
    assert wide.told(handler_id)["account_id"] == client.account.account_id
    refused(wide.ask("DELETE", f"/handlers/{handler_id}"), 404, 34000)
    assert client.ask("HEAD", f"/handlers/{handler_id}").status_code == 200
    assert client.ask("DELETE", f"/handlers/{handler_id}").status_code == 204
    refused(client.ask("DELETE", f"/handlers/{handler_id}"), 404, 34000)


def test_a_token_needs_the_permission_of_what_it_does(client: Client) -> None:
    handler_id = client.made({"policies": {}})
    calls: list[tuple[str, str, Body | None, str]] = [
        ("POST", "/handlers", {"policies": {}}, "creation"),
        ("POST", "/handlers/validator", {"policies": {}}, "view"),
        ("GET", "/handlers", None, "view"),
        ("GET", "/handlers/count", None, "view"),
        ("GET", f"/handlers/{handler_id}", None, "view"),
        ("PUT", f"/handlers/{handler_id}", {"policies": {}}, "modification"),
        ("DELETE", f"/handlers/{handler_id}", None, "deletion"),
    ]
    every = {"creation", "view", "modification", "deletion"}
    without = {action: client.with_token({"handler": sorted(every - {action})}) for action in every}
    only = {action: client.with_token({"handler": [action]}) for action in every}
    for verb, path, body, action in calls:
        refused(without[action].ask(verb, path, body), 403, 11059)
        assert only[action].ask(verb, path, body).ok


def test_grpc_says_the_same(client: Client, native: Native) -> None:
    policies = policies_pb2.Policies(
        match_policy=[policies_pb2.MatchPolicy(label="a", faces=policies_pb2.PolicyFaceCandidates())],
        detect_policy=policies_pb2.DetectPolicy(detect_face=True, estimate_mask=True),
    )
    request = handlers_pb2.CreateHandlerRequest(policies=policies, description="by gRPC")
    made = cast("handlers_pb2.CreateHandlerResponse", native.call("Handlers/CreateHandler", request, client.account))
    told = client.told(made.handler_id)
    assert told["policies"]["detect_policy"]["estimate_mask"] == 1
    assert told["policies"]["match_policy"][0]["candidates"] == {"origin": "faces"}
    get = handlers_pb2.GetHandlerRequest(handler_id=made.handler_id)
    found = cast("handlers_pb2.Handler", native.call("Handlers/GetHandler", get, client.account))
    assert found.policies.detect_policy.face_quality.checks.head_roll.threshold.max == 8
    assert found.policies.storage_policy.notification_policy.HasField("filters")
    assert (found.version, found.description) == (1, "by gRPC")
    copy = handlers_pb2.ReplaceHandlerRequest(handler_id=made.handler_id, policies=found.policies)
    native.call("Handlers/ReplaceHandler", copy, client.account)
    assert client.told(made.handler_id)["policies"] == told["policies"]
    policies.storage_policy.event_policy.filters.match.add(label="nobody")
    wrong = native.refused(
        "Handlers/ValidatePolicies", handlers_pb2.ValidatePoliciesRequest(policies=policies), client.account
    )
    assert (wrong.code, wrong.reason) == (12022, "BAD_BODY")
    assert "policies.storage_policy.event_policy.filters.match.0.label" in wrong.detail
    off = handlers_pb2.CreateHandlerRequest(handler_type=handlers_pb2.HANDLER_TYPE_LAMBDA, lambda_id=ID)
    assert native.refused("Handlers/CreateHandler", off, client.account).reason == "LAMBDA_OFF"
    native.call("Handlers/DeleteHandler", handlers_pb2.DeleteHandlerRequest(handler_id=made.handler_id), client.account)
    assert native.refused("Handlers/GetHandler", get, client.account).reason == "HANDLER_NOT_FOUND"
