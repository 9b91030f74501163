"""Who may call: nobody without credentials, nobody with wrong ones, and everybody where the operation is open."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.native import Native
from tests.contract.operations import Operation
from tests.contract.rest import Answer
from tests.contract.world import World, nothing
from tests.service import Account

CONTRACT = contract()

closed = pytest.mark.parametrize(
    "operation", [pytest.param(one, id=f"{one.id}-closed") for one in CONTRACT if not one.open]
)
opened = pytest.mark.parametrize("operation", [pytest.param(one, id=f"{one.id}-open") for one in CONTRACT if one.open])


def ask(world: World, operation: Operation, account: Account | None = None, **headers: str) -> Answer:
    """A valid call by another account, or by none, with these headers."""
    call = RECIPES[operation.id].call(world)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return world.rest.call(operation, replace(call, account=account, headers=named))


def refused(answer: Answer, operation: Operation, status: int, code: int) -> None:
    """The answer must be this error, with an empty body for HEAD."""
    assert answer.status == status, answer.data
    assert code in operation.codes(status)
    if operation.method == "HEAD":
        assert answer.data == b""
    else:
        assert answer.code == code


@closed
def test_without_credentials_401_names_the_scheme(world: World, operation: Operation) -> None:
    answer = ask(world, operation)
    refused(answer, operation, 401, 11065)
    assert answer.headers["www-authenticate"].startswith("Basic ")


@closed
def test_a_wrong_password_is_refused(world: World, operation: Operation) -> None:
    refused(ask(world, operation, Account("", world.owner.login, "wrong")), operation, 401, 11065)


@pytest.mark.operation("get_account")
def test_a_refusal_does_not_tell_whether_there_is_such_a_login(world: World) -> None:
    operation, owner = CONTRACT.operations["get_account"], world.owner
    tried = ((owner.login, "wrong"), ("nobody@example.com", owner.password), (owner.login, ""), ("", ""))
    assert len({ask(world, operation, Account("", *one)).data for one in tried}) == 1


@closed
def test_credentials_that_cannot_be_read_are_refused(world: World, operation: Operation) -> None:
    for header in ("Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Digest x", "x", "Basic /////w=="):
        refused(ask(world, operation, authorization=header), operation, 401, 11065)


@closed
def test_a_token_is_refused_where_it_is_no_use_and_where_it_is_unknown(world: World, operation: Operation) -> None:
    answer = ask(world, operation, authorization="Bearer a.b.c")
    if "bearer" in operation.auth:
        refused(answer, operation, 401, 11065)
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    else:
        refused(answer, operation, 403, 11064)


@closed
def test_luna_account_id_is_no_authorization_unless_it_is_switched_on(world: World, operation: Operation) -> None:
    answer = ask(world, operation, luna_account_id=world.owner.account_id)
    assert answer.status == 403, answer.data
    if operation.method != "HEAD":
        assert answer.code == 11061
    both = ask(world, operation, world.owner, luna_account_id=world.other.account_id)
    own = ask(world, operation, world.owner)
    assert both.status == own.status


@closed
def test_grpc_asks_for_credentials_too(world: World, native: Native, operation: Operation) -> None:
    recipe = RECIPES[operation.id]
    refused = native.refused(recipe.rpc, recipe.native(recipe.call(world)), None)
    assert (refused.status, refused.code) == (grpc.StatusCode.UNAUTHENTICATED, 11065)


@pytest.mark.operation("get_account")
def test_grpc_refuses_a_wrong_password(world: World, native: Native) -> None:
    recipe = RECIPES["get_account"]
    wrong = Account("", world.owner.login, "wrong")
    refused = native.refused(recipe.rpc, recipe.native(recipe.call(world)), wrong)
    assert (refused.status, refused.code) == (grpc.StatusCode.UNAUTHENTICATED, 11065)


@closed
def test_who_may_not_call_is_not_told_what_is_there(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    there = world.rest.call(operation, replace(call, account=None))
    nowhere = {name: nothing(operation, name) if name in operation.ids else value for name, value in call.path.items()}
    assert world.rest.call(operation, replace(call, path=nowhere, account=None)).data == there.data


@closed
def test_who_may_not_call_is_not_told_what_is_wrong_with_the_request(world: World, operation: Operation) -> None:
    path = RECIPES[operation.id].call(world).path
    wrong = {name: "nobody" if name in operation.ids else value for name, value in path.items()}
    target = operation.path.format(**wrong) + "?page=x&targets=nobody&page_size=%ff"
    body = b"" if operation.method in {"GET", "HEAD"} else b"{"
    answer = world.rest.send(operation.method, target, body, {"content-type": "application/json"})
    refused(answer, operation, 401, 11065)


@opened
def test_an_open_operation_needs_no_credentials_and_minds_none(world: World, operation: Operation) -> None:
    assert ask(world, operation).status == operation.status
    assert ask(world, operation, Account("", "nobody@example.com", "x")).status == operation.status
    assert ask(world, operation, authorization="Bearer x").status == operation.status
