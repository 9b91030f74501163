"""What settings open: Luna-Account-Id as authorization, and the estimations of the 68-point model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.grants import access_of
from tests.contract.operations import Operation
from tests.contract.rest import Call, Rest
from tests.contract.schema import problems
from tests.contract.test_success import TOLERATED
from tests.contract.world import EVENT, Pictures, World, unknown
from tests.service import running

CONTRACT = contract()
NAMED = [one for one in CONTRACT if "account_id" in one.auth]


@pytest.fixture(scope="module")
def opened(photos: Path) -> Iterator[World]:
    """A service where the header names the account."""
    with running(lambdas=True, ACCESS__ACCOUNT_HEADER="true", ENGINE__LANDMARKS68="true") as service:
        rest = Rest(service)
        yield World(service, rest, Pictures.of(photos))
        rest.close()


def named(operation: Operation, call: Call, account_id: str) -> Call:
    """The call with the header instead of credentials."""
    return replace(call, account=None, headers={"luna-account-id": account_id})


@pytest.mark.parametrize("operation", [pytest.param(one, id=f"{one.id}-named") for one in NAMED])
def test_the_header_names_the_account(opened: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(opened)
    assert call.account is not None
    account_id = call.account.account_id
    assert opened.rest.call(operation, named(operation, call, account_id)).status == operation.here
    for wrong in (unknown(), "nobody", account_id.upper()):
        refused = opened.rest.call(operation, named(operation, call, wrong))
        assert refused.status == 401
        assert operation.method == "HEAD" or refused.code == 11065
    both = replace(call, headers={"luna-account-id": opened.other.account_id}, account=opened.other)
    if operation.ids:
        assert opened.rest.call(operation, both).status == 404
    nobody = opened.rest.call(operation, replace(call, account=None))
    changes = access_of(RECIPES[operation.id].rpc).changes
    assert nobody.status == (403 if changes else 401)
    if operation.method != "HEAD":
        assert nobody.code == (11036 if changes else 11065)


@pytest.mark.operation("get_face")
def test_credentials_win_over_the_header(opened: World) -> None:
    call = RECIPES["get_face"].call(opened)
    both = replace(call, headers={"luna-account-id": opened.other.account_id})
    assert opened.rest.call(CONTRACT.operations["get_face"], both).status == 200
    wrong = replace(both, account=replace(opened.owner, password="wrong"))
    assert opened.rest.call(CONTRACT.operations["get_face"], wrong).status == 401


@pytest.mark.operation("verify_credentials")
def test_an_account_that_is_named_is_told(opened: World) -> None:
    operation = CONTRACT.operations["verify_credentials"]
    told = opened.rest.call(operation, Call(body={"account_id": opened.advanced.account_id}))
    assert told.json == {"account_id": opened.advanced.account_id, "account_type": "advanced_user"}
    nobody = opened.rest.call(operation, Call(body={"account_id": unknown()}))
    assert (nobody.status, nobody.code) == (404, 41003)


@pytest.mark.operation("get_faces")
def test_the_filter_by_account_has_no_effect_on_an_account_that_is_named(opened: World) -> None:
    operation = CONTRACT.operations["get_faces"]
    call = RECIPES[operation.id].call(opened)
    own = opened.rest.call(operation, named(operation, call, opened.owner.account_id))
    other = replace(call, query=(*call.query, ("account_id", EVENT)))
    assert opened.rest.call(operation, named(operation, other, opened.owner.account_id)).data == own.data


@pytest.mark.operation("detect_faces")
def test_the_estimations_of_the_68_points_are_as_the_contract_has_them(opened: World) -> None:
    operation = CONTRACT.operations["detect_faces"]
    switches = ("detect_landmarks68", "estimate_eyes_attributes", "estimate_mouth_attributes", "estimate_head_pose")
    call = replace(RECIPES[operation.id].call(opened), query=tuple((name, "1") for name in switches))
    answer = opened.rest.call(operation, call)
    assert answer.status == 201, answer.data
    assert operation.response is not None
    assert [one for one in problems(operation.response, answer.json) if not one.endswith(tuple(TOLERATED))] == []
    images = answer.members["images"]
    assert isinstance(images, list)
    detection = images[0]["detections"]["samples"][0]["face"]["detection"]
    assert len(detection["landmarks68"]) == 68
    assert detection["attributes"].keys() == {"eyes_attributes", "mouth_attributes", "head_pose"}
