"""A valid call: status, headers and content as the contract has them, and the same by gRPC."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.native import Native, differences
from tests.contract.operations import LACKING, NOT_SERVED, Operation
from tests.contract.recipes import Recipe
from tests.contract.rest import Answer, Call, Rest
from tests.contract.schema import problems
from tests.contract.world import World
from tests.service import Account

CONTRACT = contract()
GENERATED = re.compile(r"(\d{10}),[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}")
SENT = "1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a"
TOLERATED: Mapping[str, str] = {
    **{
        f".{name}.unavailable_checks: not in the contract": "what nothing measures is told; LUNA has no word for it"
        for name in ("iso", "face_quality")
    },
    **{
        f"aggregate_estimations.face.attributes.{name}: missing": "each only if its estimation is on"
        for name in ("liveness", "mask", "emotions", "basic_attributes", "descriptor")
    },
    "tokens.0.token: missing": "a list does not repeat the JWTs: who wants one asks for it",
    **{
        f".estimations.{name}: not in the contract": "the contract names some estimations, and is not sure of them"
        for name in (
            "head_pose",
            "quality",
            "landmarks68",
            "eyes_attributes",
            "mouth_attributes",
            "emotions",
            "mask",
            "glasses",
            "gaze",
            "basic_attributes",
        )
    },
    ".images.0.error.link: missing": "there is no page about success",
    **{
        f"aggregate_estimations.body.attributes.{name}: missing": "there are none unless sources are aggregated"
        for name in ("basic_attributes", "upper_body", "lower_body", "accessories")
    },
    ".images.0.exif: missing": "only where it is asked for",
    "face_attributes.basic_attributes: null": "only where it is asked for",
    "face.detection.rect: null": "a sample given as input has no rectangle: it is then null or absent",
}
"""Ends of differences from the contract that are meant, and why."""


def every(*, of: str = "") -> list[Any]:
    """All operations as parameters, with ids that name the operation and the check."""
    return [pytest.param(one, RECIPES[one.id], id=f"{one.id}-{of}") for one in CONTRACT]


ELSEWHERE = {"ws_handshake": 400, "proxy_post_to_lambda": 401, "proxy_options_to_lambda": 400}
"""What is no operation with an answer of its own here, and has tests of its own: the status without anything."""


def test_every_operation_of_the_contract_has_a_recipe() -> None:
    assert RECIPES.keys() == CONTRACT.operations.keys()


def test_what_is_listed_as_not_served_is_not_served(rest: Rest) -> None:
    assert {name for one in CONTRACT.not_served for name in (one.id, one.tag)} >= NOT_SERVED.keys()
    for one in CONTRACT.not_served:
        answer = rest.send(one.method, one.path)
        assert answer.status == ELSEWHERE[one.id], f"{one.id} is served now: it needs a recipe"


@pytest.mark.parametrize(("operation", "recipe"), every(of="answer"))
def test_a_valid_call_is_answered_as_the_contract_says(
    world: World, rest: Rest, operation: Operation, recipe: Recipe
) -> None:
    answer = rest.call(operation, recipe.call(world))
    assert answer.status == operation.here, answer.data
    if operation.id in LACKING:
        assert answer.code == LACKING[operation.id]
        assert answer.code in operation.codes(403)
        return
    if operation.status == 204 or operation.method == "HEAD" or operation.response is None:
        assert bool(answer.data) == operation.content
    else:
        found = [one for one in problems(operation.response, answer.json) if not one.endswith(tuple(TOLERATED))]
        assert found == []
    if operation.content_type:
        assert answer.headers["content-type"] in operation.content_type
    assert ("location" in answer.headers) == (operation.location or operation.status == 302)
    if operation.location and operation.status == 201:
        assert answer.headers["location"] == (answer.members.get("url") or _address(operation, answer))


def _address(operation: Operation, answer: Answer) -> str:
    """Where something is that an answer tells no address of."""
    (number,) = answer.members.values()
    return f"{operation.path}/{number}"


@pytest.mark.parametrize(("operation", "recipe"), every(of="native"))
def test_the_same_call_by_grpc_says_the_same(
    world: World, rest: Rest, native: Native, operation: Operation, recipe: Recipe
) -> None:
    call, other = recipe.call(world), recipe.call(world)
    answer = rest.call(operation, call)
    if operation.id in LACKING:
        refused = native.refused(recipe.rpc, recipe.native(other), other.account)
        assert (refused.code, refused.detail) == (answer.code, answer.detail)
        return
    message = native.call(recipe.rpc, recipe.native(other), other.account)
    made: Mapping[str, Any] = {}
    if operation.content:
        assert answer.data == getattr(message, "data")  # noqa: B009 the message is one of many types
    elif answer.data:
        assert differences(answer.json, message, recipe.part, recipe.fresh) == []
        made = answer.members if isinstance(answer.json, dict) else {}
    if recipe.effect is not None:
        names = [name for name in made if name.endswith("_id") and hasattr(message, name)]
        twin = {name: getattr(message, name) for name in names}
        seen = [world.scrubbed(one) for one in recipe.effect(world, call, made)]
        assert seen == [world.scrubbed(one) for one in recipe.effect(world, other, twin)]


@pytest.mark.parametrize(("operation", "recipe"), every(of="request_id"))
def test_the_id_of_a_request_is_echoed_and_made_where_there_is_none(
    world: World, rest: Rest, operation: Operation, recipe: Recipe
) -> None:
    call = recipe.call(world)
    sent = Call(call.path, call.query, call.body, call.data, call.content_type, {"luna-request-id": SENT}, call.account)
    assert rest.call(operation, sent).headers["luna-request-id"] == SENT
    generated = GENERATED.fullmatch(rest.call(operation, recipe.call(world)).headers["luna-request-id"])
    assert generated is not None
    assert abs(int(generated[1]) - time.time()) < 60
    refused = rest.call(operation, Call(dict.fromkeys(call.path, "x"), headers={"luna-request-id": SENT}))
    assert refused.headers["luna-request-id"] == SENT


@pytest.mark.operation("create_account")
def test_a_created_account_can_be_used_and_is_what_was_asked_for(world: World, rest: Rest) -> None:
    call = RECIPES["create_account"].call(world)
    made = rest.call(CONTRACT.operations["create_account"], call)
    body = call.body
    assert isinstance(body, dict)
    got = _account(rest, body["login"], body["password"])
    assert got.members["account_id"] == made.members["account_id"]
    assert {name: got.members[name] for name in ("login", "account_type", "description")} == {
        name: body[name] for name in ("login", "account_type", "description")
    }
    assert rest.call(CONTRACT.operations["create_account"], call).code == 41001


@pytest.mark.operation("create_account")
def test_luna_account_id_names_the_id_of_a_new_account(world: World, rest: Rest) -> None:
    operation, recipe = CONTRACT.operations["create_account"], RECIPES["create_account"]
    wanted = "0f2d7f5e-7b7e-4a53-9f31-5b2a5b0a7c11"

    def create(account_id: str) -> Answer:
        return rest.call(operation, Call(body=recipe.call(world).body, headers={"luna-account-id": account_id}))

    assert create(wanted).members["account_id"] == wanted
    again = create(wanted)
    assert (again.status, again.code) == (409, 41002)
    malformed = create("nobody")
    assert malformed.status == 400
    assert "Luna-Account-Id" in malformed.detail


@pytest.mark.operation("patch_account")
def test_a_changed_account_keeps_what_was_not_named(world: World, rest: Rest) -> None:
    account = world.new_account()
    operation = CONTRACT.operations["patch_account"]
    assert rest.call(operation, Call(body={"password": "another"}, account=account)).status == 204
    assert _account(rest, account.login, account.password).status == 401
    got = _account(rest, account.login, "another").members
    assert (got["description"], got["account_type"]) == ("test", "user")
    taken = Call(body={"login": world.owner.login}, account=type(account)("", account.login, "another"))
    conflict = rest.call(operation, taken)
    assert (conflict.status, conflict.code) == (409, 41001)


@pytest.mark.parametrize("name", ["create_account", "patch_account"])
def test_a_password_is_one_line(world: World, rest: Rest, name: str) -> None:
    call = RECIPES[name].call(world)
    assert isinstance(call.body, dict)
    answer = rest.call(CONTRACT.operations[name], replace(call, body={**call.body, "password": "one\ntwo"}))
    assert (answer.status, answer.code) == (400, 12022)
    assert "'password'" in answer.detail
    assert "two" not in answer.detail


@pytest.mark.operation("get_health_redirect")
def test_the_redirect_of_health_keeps_the_query(rest: Rest) -> None:
    answer = rest.send("GET", "/healthcheck?include_luna_services=1&x=%20y")
    assert (answer.status, answer.headers["location"]) == (302, "/6/healthcheck?include_luna_services=1&x=%20y")
    assert rest.send("GET", answer.headers["location"]).status == 200


@pytest.mark.operation("get_version")
def test_the_version_has_its_alias(rest: Rest) -> None:
    assert rest.send("GET", "/6/version").json == rest.send("GET", "/version").json


def _account(rest: Rest, login: str, password: str) -> Answer:
    return rest.call(CONTRACT.operations["get_account"], Call(account=Account("", login, password)))
