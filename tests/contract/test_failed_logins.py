"""Too many wrong passwords: who is held up, for how long, and who is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import grpc
import pytest
import requests
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from luna.v6 import accounts_pb2, tokens_pb2

from tests.contract.native import Native, Refused
from tests.service import Account, Service, running

pytestmark = pytest.mark.operation("get_account")

MOST, WINDOW = 3, 30
"""Failures that are fine, and how long they count, in seconds."""


@pytest.fixture(scope="module")
def strict() -> Iterator[Service]:
    """A service that is soon tired of wrong passwords."""
    with running(ACCESS__LOGIN_FAILURES=str(MOST), ACCESS__LOGIN_WINDOW_SECONDS=str(WINDOW)) as service:
        yield service


@pytest.fixture
def native_strict(strict: Service) -> Iterator[Native]:
    with strict.channel() as channel:
        yield Native(channel)


def log_in(service: Service, account: Account, password: str | None = None) -> requests.Response:
    auth = (account.login, account.password if password is None else password)
    return requests.get(f"{service.rest}/6/account", auth=auth, timeout=30)


def verify(service: Service, account: Account, password: str) -> requests.Response:
    body = {"login": account.login, "password": password}
    return requests.post(f"{service.rest}/6/credentials/verifier", json=body, timeout=30)


def locked(service: Service, account: Account) -> None:
    """Fail until the login is held up."""
    for number in range(MOST):
        assert log_in(service, account, f"wrong-{number}").status_code == 401


def held_up(answer: requests.Response) -> None:
    """The answer must be 429 and say when to come again."""
    assert (answer.status_code, answer.json()["error_code"], answer.json()["desc"]) == (429, 1, "Too many requests")
    assert 1 <= int(answer.headers["retry-after"]) <= WINDOW
    assert "www-authenticate" not in answer.headers


def test_one_login_is_held_up_and_another_is_not(strict: Service) -> None:
    account, other = strict.account(), strict.account()
    locked(strict, account)
    held_up(log_in(strict, account, "wrong again"))
    # not even the right password helps: who guesses must not learn that it was right
    held_up(log_in(strict, account))
    held_up(verify(strict, account, account.password))
    assert log_in(strict, other).status_code == 200
    assert log_in(strict, other, "wrong").status_code == 401


def test_a_password_that_is_remembered_still_opens(strict: Service) -> None:
    account = strict.account()
    assert log_in(strict, account).status_code == 200
    locked(strict, account)
    held_up(log_in(strict, account, "wrong again"))
    assert log_in(strict, account).status_code == 200
    assert verify(strict, account, account.password).status_code == 200


def test_a_login_that_does_not_exist_is_held_up_like_one_that_does(strict: Service) -> None:
    nobody = Account("", "nobody-at-all@example.com", "secret")
    locked(strict, nobody)
    held_up(log_in(strict, nobody))


def test_tokens_go_on(strict: Service) -> None:
    account = strict.account()
    body = {"expiration_time": None, "permissions": {"face": ["view"]}}
    made = requests.post(f"{strict.rest}/6/tokens", json=body, auth=account.auth, timeout=30)
    assert made.status_code == 201, made.text
    fresh = strict.account()
    locked(strict, fresh)
    headers = {"authorization": f"Bearer {made.json()['token']}"}
    assert requests.get(f"{strict.rest}/6/faces", headers=headers, timeout=30).status_code == 200


def test_grpc_says_resource_exhausted_and_when_to_come_again(strict: Service, native_strict: Native) -> None:
    account = strict.account()
    wrong = Account("", account.login, "wrong")
    for _ in range(MOST):
        refused = native_strict.refused("Accounts/GetAccount", accounts_pb2.GetAccountRequest(), wrong)
        assert refused.status is grpc.StatusCode.UNAUTHENTICATED
    request = tokens_pb2.VerifyCredentialsRequest(login=account.login, password=account.password)
    asked: list[tuple[str, Message, Account | None]] = [
        ("Accounts/GetAccount", accounts_pb2.GetAccountRequest(), account),
        ("Credentials/VerifyCredentials", request, None),
    ]
    for rpc, message, who in asked:
        found = native_strict.outcome(rpc, message, who)
        assert isinstance(found, Refused), found
        assert (found.status, found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 1, "BUSY")
    with pytest.raises(grpc.RpcError) as caught:
        native_strict.call("Accounts/GetAccount", accounts_pb2.GetAccountRequest(), account)
    status = rpc_status.from_call(cast("grpc.Call", caught.value))
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert status.details[-1].Unpack(retry)
    assert 1 <= retry.retry_delay.seconds <= WINDOW
    # both protocols count together
    held_up(log_in(strict, account))
