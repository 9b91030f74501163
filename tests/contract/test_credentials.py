"""The credentials verifier: its three forms, its addresses, and what it says of credentials that are no good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from luna.v6 import tokens_pb2 as tokens

from tests.contract.contract import contract
from tests.contract.native import Native
from tests.contract.rest import Answer, Call
from tests.contract.schema import problems
from tests.contract.world import EVENT, World, unknown

pytestmark = pytest.mark.operation("verify_credentials")

CONTRACT = contract()
VERIFY = CONTRACT.operations["verify_credentials"]
ALIASES = ("/6/credentials/verifier", "/6/verifier", "/6/credentials", "/6/verify_credentials")


def verify(world: World, body: object) -> Answer:
    """Ask whose credentials these are."""
    return world.rest.call(VERIFY, Call(body=body))


def good(answer: Answer) -> Mapping[str, Any]:
    """The answer, which must be as the contract has it."""
    assert answer.status == 200, answer.data
    assert VERIFY.response is not None
    assert list(problems(VERIFY.response, answer.json)) == []
    return answer.members


def test_login_and_password_tell_the_account_and_nothing_of_tokens(world: World) -> None:
    for account, account_type in ((world.owner, "user"), (world.advanced, "advanced_user")):
        found = good(verify(world, {"login": account.login, "password": account.password}))
        assert found == {"account_id": account.account_id, "account_type": account_type}
    admin = world.service.admin
    assert good(verify(world, {"login": admin.login, "password": admin.password}))["account_type"] == "admin"


def test_a_token_tells_what_it_may_do(world: World) -> None:
    token = world.get(f"/6/tokens/{world.token_id}").members
    found = good(verify(world, {"token": token["token"]}))
    assert found["permissions"] == token["permissions"]
    assert found["permissions"]["emit_events"] == {"allowed": 1, "white_list": [EVENT], "black_list": []}
    assert (found["account_id"], found["visibility_area"]) == (world.owner.account_id, "account")


@pytest.mark.parametrize("path", ALIASES)
def test_every_address_says_the_same(world: World, path: str) -> None:
    for body in ({"login": world.owner.login, "password": world.owner.password}, {"token": "x"}, {}):
        headers = {"content-type": "application/json"}
        call = Call(body=body)
        answer = world.rest.send("POST", path, call.content, headers)
        first = verify(world, body)
        assert (answer.status, answer.data) == (first.status, first.data)
    assert world.rest.send("GET", path).status == 405


@pytest.mark.parametrize(
    "case", ["password", "login", "token", "expired", "deleted", "replaced", "too wide", "account_id"]
)
def test_credentials_that_are_no_good_say_so_in_either_protocol(world: World, native: Native, case: str) -> None:
    body, status, code = _bad(world, case)
    answer = verify(world, body)
    assert (answer.status, answer.code) == (status, code), answer.data
    assert code == 11061 or code in VERIFY.codes(status)
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Basic ")
    refused = native.refused("Credentials/VerifyCredentials", tokens.VerifyCredentialsRequest(**body), None)
    statuses = {
        400: grpc.StatusCode.INVALID_ARGUMENT,
        401: grpc.StatusCode.UNAUTHENTICATED,
        403: grpc.StatusCode.PERMISSION_DENIED,
        404: grpc.StatusCode.NOT_FOUND,
    }
    assert (refused.status, refused.code, refused.detail) == (statuses[status], code, answer.detail)


def _bad(world: World, case: str) -> tuple[dict[str, str], int, int]:
    """Credentials of a kind, and status and code that they are answered with."""
    made: dict[str, object] = {"expiration_time": None, "permissions": {}}
    match case:
        case "password":
            return {"login": world.owner.login, "password": "wrong"}, 401, 41006
        case "login":
            return {"login": f"nobody-{unknown()}@example.com", "password": world.owner.password}, 401, 41006
        case "token":
            return {"token": "nonsense"}, 400, 41008
        case "expired":
            past = {**made, "expiration_time": "2020-01-01T00:00:00Z"}
            return {"token": world.make("/6/tokens", past).text("token")}, 401, 41007
        case "deleted":
            token = world.make("/6/tokens", made)
            assert world.rest.send("DELETE", token.text("url"), account=world.owner).status == 204
            return {"token": token.text("token")}, 404, 41005
        case "replaced":
            token = world.make("/6/tokens", made)
            replace = Call({"token_id": token.text("token_id")}, body=made, account=world.owner)
            assert world.rest.call(CONTRACT.operations["replace_token"], replace).status == 200
            return {"token": token.text("token")}, 400, 41008
        case "too wide":
            account = world.new_account("advanced_user")
            token = world.make("/6/tokens", {**made, "visibility_area": "all"}, account).text("token")
            less = Call(body={"account_type": "user"}, account=account)
            assert world.rest.call(CONTRACT.operations["patch_account"], less).status == 204
            return {"token": token}, 400, 41008
        case _:
            return {"account_id": world.owner.account_id}, 403, 11061


def test_exactly_one_form_must_be_given(world: World, native: Native) -> None:
    login, password = world.owner.auth
    for body in (
        {}, {"login": login}, {"password": password}, {"login": login, "password": password, "token": "x"},
        {"token": "x", "account_id": EVENT}, {"login": login, "account_id": EVENT},
    ):  # fmt: skip
        answer = verify(world, body)
        assert (answer.status, answer.code) == (400, 12022), answer.data
        refused = native.refused("Credentials/VerifyCredentials", tokens.VerifyCredentialsRequest(**body), None)
        assert (refused.status, refused.code) == (grpc.StatusCode.INVALID_ARGUMENT, 12022)
