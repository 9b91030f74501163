"""What was sent is what is kept: objects are read back with the content that they were given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.rest import Call
from tests.contract.world import BROUGHT, OWN_VERSION, World, text

CONTRACT = contract()
TEXTS = ("external_id", "user_data", "avatar", "event_id")


def done(world: World, name: str, **changes: object) -> tuple[Mapping[str, Any], Call]:
    """The answer to the valid call of an operation, and the call."""
    call = replace(RECIPES[name].call(world), **changes)  # type: ignore[arg-type]
    answer = world.rest.call(CONTRACT.operations[name], call)
    assert answer.status == CONTRACT.operations[name].status, answer.data
    return (answer.members if answer.data else {}), call


def body_of(call: Call) -> Mapping[str, Any]:
    assert isinstance(call.body, dict)
    return call.body


def recent(moment: object) -> bool:
    """True for a time of the last minute."""
    return abs(datetime.now(UTC) - datetime.fromisoformat(str(moment))) < timedelta(minutes=1)


def has_attribute(world: World, path: str, sent: Mapping[str, Any]) -> None:
    """What is at a path must have the content of an attribute, with each of its descriptors."""
    got: Any = world.get(path).members
    got = got.get("attributes", got)
    for name in ("face_descriptor_samples", "basic_attributes", "basic_attributes_samples"):
        assert got[name] == sent[name]
    assert recent(got["create_time"])
    assert got["face_descriptor"] == text(world.descriptor)
    for one in sent["face_descriptors"]:
        version: Any = world.get(f"{path}?descriptor_version={one['version']}").members
        assert version.get("attributes", version)["face_descriptor"] == one["descriptor"]
    assert {one["version"] for one in sent["face_descriptors"]} == {OWN_VERSION, *BROUGHT}
    assert world.get(f"{path}/samples").json == {"samples": [world.sample_id]}


@pytest.mark.operation("create_face")
def test_a_created_face_has_what_it_was_given(world: World) -> None:
    made, call = done(world, "create_face")
    sent = body_of(call)
    assert made["external_id"] == sent["external_id"]
    face = world.get(made["url"]).members
    assert {name: face[name] for name in (*TEXTS, "lists")} == {name: sent[name] for name in (*TEXTS, "lists")}
    assert (face["face_id"], face["account_id"]) == (made["face_id"], world.owner.account_id)
    assert recent(face["create_time"])
    has_attribute(world, f"{made['url']}/attributes", sent["attribute"])


@pytest.mark.operation("create_face")
def test_an_empty_face_is_empty(world: World) -> None:
    made, _ = done(world, "create_face", body=None)
    face = world.get(made["url"]).members
    empty: Mapping[str, object] = {"external_id": "", "user_data": "", "avatar": "", "event_id": None, "lists": []}
    assert {name: face[name] for name in empty} == empty


@pytest.mark.operation("create_attribute")
def test_a_created_attribute_has_what_it_was_given(world: World) -> None:
    made, call = done(world, "create_attribute")
    got = world.get(made["url"]).members
    assert (got["attribute_id"], got["account_id"]) == (made["attribute_id"], world.owner.account_id)
    has_attribute(world, made["url"], body_of(call))


@pytest.mark.operation("put_face_attribute")
def test_a_face_has_the_attribute_that_was_put(world: World) -> None:
    _, call = done(world, "put_face_attribute")
    path = f"/6/faces/{call.path['face_id']}/attributes"
    has_attribute(world, path, body_of(call))
    basic = {"basic_attributes": {"age": 0, "gender": 0, "ethnicity": 1}}
    done(world, "put_face_attribute", path=call.path, body=basic)
    got: Any = world.get(path).members["attributes"]
    assert got["basic_attributes"] == basic["basic_attributes"]
    assert (got["face_descriptor"], got["face_descriptor_samples"], got["basic_attributes_samples"]) == (None, [], [])


@pytest.mark.operation("put_face_attribute")
def test_a_temporary_attribute_becomes_that_of_a_face(world: World) -> None:
    _, call = done(world, "put_face_attribute", body={"attribute_id": world.new_attribute()})
    has_attribute(world, f"/6/faces/{call.path['face_id']}/attributes", world.attribute_body())


@pytest.mark.operation("patch_face")
def test_a_changed_face_has_the_changes_and_nothing_else_new(world: World) -> None:
    _, call = done(world, "patch_face")
    path = f"/6/faces/{call.path['face_id']}"
    sent, before = body_of(call), world.get(path).members
    assert {name: before[name] for name in TEXTS} == {name: sent[name] for name in TEXTS}
    event = "0b2f3c7e-0000-4000-8000-000000000002"
    for name, value in (("external_id", ""), ("user_data", "again"), ("avatar", ""), ("event_id", event)):
        done(world, "patch_face", path=call.path, body={name: value})
        before = {**before, name: value}
        assert world.get(path).members == before
    has_attribute(world, f"{path}/attributes", world.attribute_body())


@pytest.mark.operation("create_list")
def test_a_created_list_has_what_it_was_given(world: World) -> None:
    made, call = done(world, "create_list")
    got = world.get(made["url"]).members
    assert (got["list_id"], got["account_id"]) == (made["list_id"], world.owner.account_id)
    assert got["user_data"] == body_of(call)["user_data"]
    assert got["create_time"] == got["last_update_time"]
    assert recent(got["create_time"])


@pytest.mark.operation("update_list")
def test_a_changed_list_has_the_change_and_a_later_time(world: World) -> None:
    _, call = done(world, "update_list")
    got = world.get(f"/6/lists/{call.path['list_id']}").members
    assert got["user_data"] == body_of(call)["user_data"]
    assert str(got["last_update_time"]) > str(got["create_time"])


@pytest.mark.operation("match_faces")
def test_matches_are_what_the_references_are(world: World) -> None:
    call = RECIPES["match_faces"].call(world)
    answer, asked = world.rest.call(CONTRACT.operations["match_faces"], call).json, body_of(call)
    assert isinstance(answer, list)
    face = world.get(f"/6/faces/{world.face_id}").members
    for row, reference in zip(answer, asked["references"], strict=True):
        assert row["reference"] == {name: reference[name] for name in ("id", "type")}
        by_face, by_event, by_attribute = row["matches"]
        assert by_event["result"] == []
        assert by_face["result"][0]["face"] == face
        assert by_attribute["result"][0]["attribute"] == {
            name: world.get(f"/6/attributes/{world.attribute_id}").members[name]
            for name in ("attribute_id", "account_id", "create_time")
        }
        same = reference["type"] != "sdk_descriptor"
        for found in (by_face, by_attribute):
            assert (found["result"][0]["similarity"] > 0.99) == same
        assert (by_face["limit"], by_attribute["limit"]) == (5, 3)
        assert by_attribute["filters"] == asked["candidates"][2]["filters"]


@pytest.mark.operation("match_raw")
def test_every_reference_is_compared_with_every_candidate(world: World) -> None:
    made, call = done(world, "match_raw")
    sent = body_of(call)
    rows = made["matches"]
    assert [row["reference_id"] for row in rows] == [one["id"] for one in sent["references"]]
    for row in rows:
        assert [one["candidate_id"] for one in row["matches"]] == [one["id"] for one in sent["candidates"]]
    mine, other = (row["matches"][0]["similarity"] for row in rows)
    assert mine > 0.99 > 0.73 > other


@pytest.mark.operation("match_faces")
def test_a_threshold_and_a_limit_hold(world: World) -> None:
    again = world.new_face()
    filters = {"origin": "faces", "face_ids": [world.face_id, again]}
    body = {
        "references": [{"id": world.face_id, "type": "face"}],
        "candidates": [
            {"filters": filters},
            {"filters": filters, "limit": 1},
            {"filters": filters, "threshold": 0.9},
            {"filters": filters, "threshold": 1},
        ],
    }
    answer = world.rest.call(CONTRACT.operations["match_faces"], Call(body=body, account=world.owner)).json
    assert isinstance(answer, list)
    assert [len(one["result"]) for one in answer[0]["matches"]] == [2, 1, 2, 0]
    for found in answer[0]["matches"][0]["result"]:
        assert found.keys() == {"face", "similarity"}
        assert found["face"].keys() == {"face_id"}
