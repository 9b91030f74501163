"""Ids in paths: malformed ones, those of nothing, and those of another account's objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import grpc
import pytest

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.native import Native
from tests.contract.operations import Operation
from tests.contract.rest import Answer, Call
from tests.contract.world import EVENT, World, nothing, unknown
from tests.service import Account

CONTRACT = contract()
READS = frozenset({"GET", "HEAD"})
MALFORMED = ("nobody", "1", EVENT.upper(), EVENT.replace("-", ""), EVENT + "0", f"{{{EVENT}}}", "\N{SNOWMAN}", " ")
MALFORMED_NUMBERS = ("nobody", "0", "-1", "1.5", "1e3", "0x1", EVENT, str(2**63), "\N{SNOWMAN}", " ")
NOT_FOUND: Mapping[str, int] = {
    "sample_id": 13003, "attribute_id": 22011, "face_id": 22002, "list_id": 22003, "token_id": 41005,
    "image_id": 13003, "object_id": 13007, "handler_id": 34000, "verifier_id": 34004, "event_id": 23001,
    "task_id": 28001, "error_id": 28003, "schedule_id": 12013,
    "lambda_id": 42001,
}  # fmt: skip
"""The code that the contract has for an unknown id of each kind; it knows none of schedules."""

closed_with_ids = pytest.mark.parametrize(
    "operation", [pytest.param(one, id=f"{one.id}-ids") for one in CONTRACT if one.ids and not one.open]
)
with_ids = pytest.mark.parametrize("operation", [pytest.param(one, id=f"{one.id}-ids") for one in CONTRACT if one.ids])


def call_of(world: World, operation: Operation, account: Account | None = None, /, **ids: str) -> Call:
    """A valid call with other ids in its path, and perhaps by another account."""
    call = RECIPES[operation.id].call(world)
    return replace(call, path={**call.path, **ids}, account=account or call.account)


def missing(answer: Answer, operation: Operation, name: str) -> None:
    """The answer must be the 404 of the contract."""
    assert answer.status == 404, answer.data
    if operation.method == "HEAD":
        assert answer.data == b""
        return
    assert answer.code == NOT_FOUND[name]
    assert operation.codes(404) & {answer.code, 0}


@with_ids
def test_a_malformed_id_is_refused_by_name(world: World, operation: Operation) -> None:
    for name in operation.ids:
        for wrong in MALFORMED_NUMBERS if operation.numbered(name) else MALFORMED:
            answer = world.rest.call(operation, call_of(world, operation, None, **{name: wrong}))
            assert answer.status == 400, (wrong, answer.data)
            if operation.method != "HEAD":
                assert answer.code == 12012
                assert name in answer.detail


@with_ids
def test_an_unknown_id_is_not_found_by_either_protocol(world: World, native: Native, operation: Operation) -> None:
    (name,) = operation.ids
    call = call_of(world, operation, None, **{name: nothing(operation, name)})
    answer = world.rest.call(operation, call)
    missing(answer, operation, name)
    recipe = RECIPES[operation.id]
    refused = native.refused(recipe.rpc, recipe.native(call), call.account)
    assert (refused.status, refused.code) == (grpc.StatusCode.NOT_FOUND, NOT_FOUND[name])
    if operation.method != "HEAD":
        assert refused.detail == answer.detail


@closed_with_ids
def test_what_another_account_has_is_not_there_for_a_user(world: World, operation: Operation) -> None:
    (name,) = operation.ids
    call = call_of(world, operation, world.other)
    answer = world.rest.call(operation, call)
    missing(answer, operation, name)
    other = nothing(operation, name)
    unknown_one = world.rest.call(operation, call_of(world, operation, world.other, **{name: other}))
    assert answer.data.replace(f"'{call.path[name]}'".encode(), f"'{other}'".encode()) == unknown_one.data
    kept = world.rest.call(operation, replace(call, account=world.owner))
    assert kept.status == operation.status


@closed_with_ids
def test_an_advanced_user_reads_what_others_have_and_changes_nothing_of_it(world: World, operation: Operation) -> None:
    (name,) = operation.ids
    call = call_of(world, operation, world.advanced)
    answer = world.rest.call(operation, call)
    if operation.method in READS:
        assert answer.status == operation.status
        own = world.rest.call(operation, replace(call, account=world.owner))
        if operation.id == "get_token":
            # the credential itself is told to nobody else
            assert {**answer.members, "token": own.members["token"]} == own.members
            assert "token" not in answer.members
        else:
            assert answer.data == own.data
    else:
        missing(answer, operation, name)
        assert world.rest.call(operation, replace(call, account=world.owner)).status == operation.status


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(one, id=f"{one.id}-type")
        for one in CONTRACT
        if any(known.name == "samples_type" for known in one.parameters)
    ],
)
def test_an_unknown_type_of_samples_is_refused(world: World, operation: Operation) -> None:
    for wrong in ("people", "FACES", "1"):
        answer = world.rest.call(operation, call_of(world, operation, samples_type=wrong))
        assert answer.status == 400, answer.data
        if operation.method != "HEAD":
            assert answer.code == 12012
            assert "samples_type" in answer.detail


@pytest.mark.operation("save_sample")
def test_samples_of_faces_and_bodies_are_apart(world: World) -> None:
    body = world.new_sample("bodies")
    assert world.get(f"/6/samples/bodies/{body}").status == 200
    assert world.get(f"/6/samples/faces/{body}").code == 13003
    assert world.get(f"/6/samples/{body}").code == 13003
    assert world.rest.send("DELETE", f"/6/samples/faces/{body}", account=world.owner).code == 13003
    assert world.rest.send("DELETE", f"/6/samples/bodies/{body}", account=world.owner).status == 204


REFERRING: Mapping[str, tuple[str, Any, int]] = {
    "delete_faces-missing": ("delete_faces", lambda w, one: {"face_ids": [w.new_face(None), one]}, 22004),
    "delete_lists-missing": ("delete_lists", lambda w, one: {"list_ids": [w.new_list(), one]}, 22005),
    "create_face-list": ("create_face", lambda w, one: {"lists": [w.list_id, one]}, 22005),
    "create_face-attribute": ("create_face", lambda _, one: {"attribute": {"attribute_id": one}}, 22011),
    "put_face_attribute-attribute": ("put_face_attribute", lambda _, one: {"attribute_id": one}, 22011),
    "attach_detach_faces-face": (
        "attach_detach_faces",
        lambda w, one: {"action": "attach", "face_ids": [w.face_id, one]},
        22004,
    ),
    "extract_attributes-sample": ("extract_attributes", lambda w, one: [w.sample_id, one], 13003),
    "match_faces-face": ("match_faces", lambda _, one: _reference("face", one), 22002),
    "match_faces-attribute": ("match_faces", lambda _, one: _reference("attribute", one), 22011),
}
"""Bodies that name an id which may not be there, and the code that the contract has for it."""


def _reference(kind: str, one: str) -> object:
    return {"references": [{"id": one, "type": kind}], "candidates": []}


def _foreign(world: World, name: str) -> str:
    """An object of another account, of the kind that a case refers to."""
    match name.rpartition("-")[0], name.rpartition("-")[2]:
        case ("delete_faces", _) | (_, "face"):
            return world.new_face(account=world.other)
        case ("delete_lists", _) | (_, "list"):
            return world.new_list(account=world.other)
        case (_, "sample"):
            return world.new_sample(account=world.other)
        case _:
            return world.new_attribute(account=world.other)


@pytest.mark.parametrize("name", REFERRING)
def test_a_body_that_names_what_is_not_there_is_refused_as_a_whole(world: World, name: str) -> None:
    operation_id, body, code = REFERRING[name]
    operation = CONTRACT.operations[operation_id]
    for one in (unknown(), _foreign(world, name)):
        call = replace(RECIPES[operation_id].call(world), body=body(world, one))
        before = _counts(world)
        answer = world.rest.call(operation, call)
        assert answer.status in {400, 404}
        assert answer.code == code
        assert code in operation.codes(400) | operation.codes(404)
        assert one in answer.detail
        # only what the recipe and the body made is new, and none of it is gone
        assert _counts(world) == before


def _counts(world: World) -> tuple[object, object]:
    return world.get("/6/faces/count").json, world.get("/6/lists/count").json


@pytest.mark.operation("delete_faces")
def test_faces_that_are_not_there_may_be_ignored(world: World) -> None:
    face = world.new_face(None)
    operation = CONTRACT.operations["delete_faces"]
    call = Call(body={"face_ids": [face, unknown()]}, query=(("ignore", "1"),), account=world.owner)
    assert world.rest.call(operation, call).status == 204
    assert world.get(f"/6/faces/{face}").status == 404


@pytest.mark.parametrize("operation_id", ["delete_list", "delete_lists"])
def test_with_faces_deletes_the_faces_of_a_list(world: World, operation_id: str) -> None:
    operation = CONTRACT.operations[operation_id]
    for flag, left in (("0", 200), ("1", 404)):
        list_id = world.new_list()
        face = world.make("/6/faces", {"lists": [list_id]}).text("face_id")
        path = {"list_id": list_id} if operation.ids else {}
        body = None if operation.ids else {"list_ids": [list_id]}
        call = Call(path, (("with_faces", flag),), body, account=world.owner)
        assert world.rest.call(operation, call).status == 204
        assert world.get(f"/6/faces/{face}").status == left


@pytest.mark.operation("attach_detach_faces")
def test_faces_are_attached_and_detached_any_number_of_times(world: World) -> None:
    operation = CONTRACT.operations["attach_detach_faces"]
    list_id, face = world.new_list(), world.new_face(None)
    for action, lists in (("detach", 1), ("attach", 2), ("attach", 2), ("detach", 1), ("detach", 1)):
        call = Call({"list_id": list_id}, body={"action": action, "face_ids": [face]}, account=world.owner)
        assert world.rest.call(operation, call).status == 204
        found = world.get(f"/6/faces/{face}").members["lists"]
        assert isinstance(found, list)
        assert len(found) == lists


@pytest.mark.operation("create_face")
def test_an_attribute_belongs_to_one_face(world: World) -> None:
    attribute = {"attribute": {"attribute_id": world.new_attribute()}}
    face = world.make("/6/faces", attribute).text("face_id")
    again = world.rest.call(CONTRACT.operations["create_face"], Call(body=attribute, account=world.owner))
    assert (again.status, again.code) == (409, 22001)
    put = Call({"face_id": world.lonely_id}, body=attribute["attribute"], account=world.owner)
    moved = world.rest.call(CONTRACT.operations["put_face_attribute"], put)
    assert (moved.status, moved.code) == (409, 22001)
    assert world.get(f"/6/faces/{face}/attributes").status == 200


@pytest.mark.operation("get_face_attribute")
def test_a_face_without_attributes_says_so(world: World) -> None:
    answer = world.get(f"/6/faces/{world.lonely_id}/attributes")
    assert (answer.status, answer.code) == (404, 11032)
    assert world.get(f"/6/faces/{world.lonely_id}/attributes/samples").json == {"samples": []}
    deleted = world.rest.send("DELETE", f"/6/faces/{world.lonely_id}/attributes", account=world.owner)
    assert deleted.status == 204


@pytest.mark.parametrize(
    "path", ["/6/attributes/{}", "/6/faces/{}/attributes"], ids=["get_attribute", "get_face_attribute"]
)
def test_a_version_that_an_object_lacks_is_not_found(world: World, path: str) -> None:
    body = {"basic_attributes": {"age": 1}}
    bare = world.make("/6/attributes", body).text("attribute_id")
    one = bare if "faces" not in path else world.make("/6/faces", {"attribute": body}).text("face_id")
    answer = world.get(f"{path.format(one)}?descriptor_version=54")
    assert (answer.status, answer.code) == (404, 22018)
    plain = world.get(path.format(one)).members
    content = plain["attributes"] if "faces" in path else plain
    assert isinstance(content, dict)
    assert content["face_descriptor"] is None
    assert content["basic_attributes"] == {"age": 1}


FILTERED = [
    one
    for one in CONTRACT
    if one.method not in {"DELETE", "HEAD"} and not one.open and any(known.name == "account_id" for known in one.query)
]
"""Where the parameter narrows what is read, and an answer shows it. Everybody deletes their own alone, whatever account
is named."""


@pytest.mark.parametrize("operation", [pytest.param(one, id=f"{one.id}-account_id") for one in FILTERED])
def test_account_id_narrows_what_an_advanced_user_reads(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    own = world.rest.call(operation, call)

    def asked(account: Account, account_id: str) -> Answer:
        query = (*call.query, ("account_id", account_id))
        return world.rest.call(operation, replace(call, query=query, account=account))

    assert asked(world.advanced, world.owner.account_id).data == own.data
    nothing = asked(world.advanced, world.other.account_id)
    if operation.id == "match_faces":
        assert (nothing.status, nothing.code) == (404, 22002)
    else:
        assert nothing.data != own.data
        assert world.owner.account_id not in nothing.data.decode()
    # who sees one account alone keeps to it, whatever account is named
    assert asked(world.owner, world.other.account_id).data == own.data
