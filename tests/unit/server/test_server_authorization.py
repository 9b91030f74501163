"""Authorization: every form of the headers, and which of them opens what."""

from __future__ import annotations

import base64
from uuid import UUID, uuid4

import pytest
from domain_stores import MemoryAccounts, MemoryFailures, MemoryTokens
from luna import options_pb2

from server.domain.accounts import AccountType
from server.domain.passwords import Passwords
from server.domain.registry import AccountRegistry
from server.domain.tokens import TokenRegistry
from server.errors import (
    AccountHeaderOff,
    AccountNeeded,
    Forbidden,
    LunaError,
    TokenNotUsable,
    Unauthenticated,
)
from server.rpc.authorization import Authorizer

ACCOUNT = UUID("00000000-0000-4000-8000-0000000000aa")
OPEN = options_pb2.Access(open=True)
READS = options_pb2.Access()
CHANGES = options_pb2.Access(changes=True)
NO_TOKEN = options_pb2.Access(no_token=True)


def basic(text: bytes, scheme: str = "Basic") -> dict[str, str]:
    return {"authorization": f"{scheme} {base64.b64encode(text).decode()}"}


GOOD = basic("a@b.cd:pä:ss".encode())


@pytest.fixture(scope="module")
async def registry() -> AccountRegistry:
    one = AccountRegistry(MemoryAccounts(), Passwords(600), MemoryFailures(), open_registration=True)
    await one.create(login="a@b.cd", password="pä:ss", account_type=AccountType.USER, account_id=ACCOUNT)
    return one


@pytest.fixture
def strict(registry: AccountRegistry) -> Authorizer:
    return Authorizer(registry, TokenRegistry(MemoryTokens(), MemoryAccounts()), account_header=False)


@pytest.fixture
def lenient(registry: AccountRegistry) -> Authorizer:
    return Authorizer(registry, TokenRegistry(MemoryTokens(), MemoryAccounts()), account_header=True)


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "Basic  "])
async def test_login_and_password_are_taken_whatever_the_case_of_the_scheme(strict: Authorizer, scheme: str) -> None:
    caller = await strict.caller(basic("a@b.cd:pä:ss".encode(), scheme), CHANGES, "")
    assert caller is not None
    assert caller.account_id == ACCOUNT


@pytest.mark.parametrize(
    "header",
    [
        "", "Basic", "Basic ", "Basic ====", "Basic not base64", "Basic YQ==", "Basic /////w==", "Digest abc",
        "Basic é", "Basic \udcff",
        basic(b"a@b.cd:wrong")["authorization"], basic(b"nobody@b.cd:x")["authorization"],
        basic("a@b.cd:pä:ss".encode("latin-1"))["authorization"], basic("A@B.CD:pä:ss".encode())["authorization"],
        basic("a@b.cd:pä:ss ".encode())["authorization"], basic(b"a@b.cd:")["authorization"],
        basic(b":")["authorization"], basic(b"a@b.cd\0:x")["authorization"], "Bearer abc",
    ],
)  # fmt: skip
async def test_any_other_authorization_is_refused(strict: Authorizer, header: str) -> None:
    with pytest.raises(Unauthenticated):
        await strict.caller({"authorization": header}, READS, "")


async def test_a_wrong_login_and_a_wrong_password_are_told_alike(strict: Authorizer) -> None:
    details = set()
    for text in (b"a@b.cd:wrong", b"nobody@b.cd:wrong"):
        with pytest.raises(Unauthenticated) as caught:
            await strict.caller(basic(text), READS, "")
        details.add(caught.value.detail)
    assert len(details) == 1


@pytest.mark.parametrize(
    ("headers", "access", "error"),
    [
        ({}, READS, Unauthenticated),
        ({}, CHANGES, Unauthenticated),
        ({}, None, Forbidden),
        (GOOD, None, Forbidden),
        ({"authorization": "Bearer abc"}, NO_TOKEN, TokenNotUsable),
        ({"luna-account-id": str(ACCOUNT)}, READS, AccountHeaderOff),
    ],
)
async def test_what_is_refused_where_the_account_header_is_off(
    strict: Authorizer, headers: dict[str, str], access: options_pb2.Access | None, error: type[LunaError]
) -> None:
    with pytest.raises(error) as caught:
        await strict.caller(headers, access, "")
    assert type(caught.value) is error


async def test_the_account_header_names_the_account_where_it_is_on(lenient: Authorizer) -> None:
    caller = await lenient.caller({"luna-account-id": str(ACCOUNT)}, CHANGES, "")
    assert caller is not None
    assert caller.account_id == ACCOUNT
    with pytest.raises(AccountNeeded):
        await lenient.caller({}, CHANGES, "")
    with pytest.raises(Unauthenticated):
        await lenient.caller({}, READS, "")


@pytest.mark.parametrize("value", ["", "x", str(UUID(int=999)), str(ACCOUNT).upper(), f"{{{ACCOUNT}}}", f"{ACCOUNT}\0"])
async def test_an_account_header_that_names_nobody_is_refused(lenient: Authorizer, value: str) -> None:
    with pytest.raises(Unauthenticated):
        await lenient.caller({"luna-account-id": value}, READS, "")


async def test_authorization_wins_over_the_account_header(lenient: Authorizer) -> None:
    caller = await lenient.caller({**GOOD, "luna-account-id": str(uuid4())}, READS, "")
    assert caller is not None
    assert caller.account_id == ACCOUNT
    with pytest.raises(Unauthenticated):
        await lenient.caller({**basic(b"a@b.cd:wrong"), "luna-account-id": str(ACCOUNT)}, READS, "")


async def test_an_open_method_looks_at_no_header(strict: Authorizer) -> None:
    assert await strict.caller({"authorization": "nonsense"}, OPEN, "") is None
    assert await strict.known({}, "") is None
    known = await strict.known(GOOD, "")
    assert known is not None
    assert known.account_id == ACCOUNT
