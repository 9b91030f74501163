"""Calls of lambdas: what the contract says of them over REST, and that gRPC says the same."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from typing import NamedTuple

import grpc
import pytest
import requests
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from luna.v6 import lambdas_pb2, lambdas_pb2_grpc

from tests.contract.contract import contract
from tests.lambda_archives import call, create, running_lambda, told, until
from tests.service import Account, Service

POST, OPTIONS = "proxy_post_to_lambda", "proxy_options_to_lambda"
MAIN = """
from luna_lambda import Response

class Odd(Exception):
    pass

async def main(request):
    if request.path == "/odd":
        raise Odd("a secret word")
    headers = {"X-Sent": request.headers.get("X-Sent", ""), "X-Query": request.query.get("q", "")}
    status = int(request.query.get("status", "200"))
    return Response(await request.body(), status=status, headers=headers, content_type=request.content_type)
"""
REQUEST_ID = re.compile(r"[0-9]{10},[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}")


class Answer(NamedTuple):
    """What a lambda answered, whatever it was asked by."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@pytest.fixture(scope="module")
def owner(service: Service) -> Account:
    return service.account()


@pytest.fixture(scope="module")
def one(service: Service, owner: Account) -> str:
    return running_lambda(service, owner, MAIN)


@pytest.fixture(scope="module")
def ended(service: Service, owner: Account) -> str:
    """A lambda that ends as soon as it is started."""
    lambda_id = create(service, owner, "raise SystemExit(3)\n\nasync def main(request):\n    return 1\n")
    until(service, owner, lambda_id, "terminated")
    return lambda_id


def by_rest(
    service: Service, owner: Account, lambda_id: str, target: str, body: bytes, headers: dict[str, str]
) -> Answer:
    """The answer over REST."""
    answer = call(service, owner, lambda_id, target, data=body, headers=headers)
    return Answer(answer.status_code, answer.content, {k.lower(): v for k, v in answer.headers.items()})


def by_grpc(
    service: Service, owner: Account, lambda_id: str, target: str, body: bytes, headers: dict[str, str]
) -> Answer:
    """The answer over gRPC; an error as REST would have it."""
    path, _, query = target.partition("?")
    request = lambdas_pb2.CallLambdaRequest(lambda_id=lambda_id, request={"path": path, "query": query, "body": body})
    for name, value in headers.items():
        request.request.headers.add(name=name, value=value)
    with service.channel() as channel:
        head, *rest = lambdas_pb2_grpc.LambdasStub(channel).CallLambda(request, metadata=owner.metadata)
    return Answer(head.head.status, b"".join(one.data for one in rest), {h.name: h.value for h in head.head.headers})


def error_of(service: Service, owner: Account, lambda_id: str, path: str) -> tuple[str, int]:
    """The gRPC code and LUNA's code of a call that fails."""
    with pytest.raises(grpc.RpcError) as raised:
        by_grpc(service, owner, lambda_id, path, b"", {})
    status = rpc_status.from_call(raised.value)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert "secret" not in status.message
    return raised.value.code().name, int(info.metadata["error_code"])


@pytest.mark.operation(POST)
@pytest.mark.parametrize("ask", [by_rest, by_grpc])
@pytest.mark.parametrize("status", [200, 201, 404, 418, 500, 503])
def test_status_headers_and_body_of_a_lambda_pass_back_unchanged(
    service: Service, owner: Account, one: str, ask: object, status: int
) -> None:
    assert callable(ask)
    body = os.urandom(1000)
    headers = {"X-Sent": "value", "Content-Type": "image/x-own"}
    answer = ask(service, owner, one, f"main?q=%D0%B0%26&status={status}", body, headers)
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["x-sent"] == "value"
    # headers are UTF-8, which `requests` reads as Latin-1
    assert answer.headers["x-query"] in {"а&", "а&".encode().decode("latin-1")}
    assert answer.headers["content-type"] == "image/x-own"
    assert answer.headers["lambda-version"] == "1"


@pytest.mark.operation(POST)
def test_the_request_id_is_echoed_or_made(service: Service, owner: Account, one: str) -> None:
    given = f"1536751345,{uuid.uuid4()}"
    answer = call(service, owner, one, headers={"Luna-Request-Id": given})
    assert answer.headers["Luna-Request-Id"] == given
    assert REQUEST_ID.fullmatch(call(service, owner, one).headers["Luna-Request-Id"])


@pytest.mark.operation(POST)
@pytest.mark.parametrize(
    ("path", "known", "status", "code", "grpc_code"),
    [("main", False, 404, 42001, "NOT_FOUND"), ("odd", True, 500, 42004, "INTERNAL")],
)
def test_the_errors_of_the_contract_are_told_by_both_protocols(
    service: Service, owner: Account, one: str, path: str, known: bool, status: int, code: int, grpc_code: str
) -> None:
    lambda_id = one if known else str(uuid.uuid4())
    (operation,) = (operation for operation in contract().not_served if operation.id == POST)
    assert (status, code) in {(failure.status, failure.code) for failure in operation.failures}
    answer = call(service, owner, lambda_id, path)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert set(answer.json()) == {"error_code", "desc", "detail", "link"}
    assert "secret" not in answer.text
    assert error_of(service, owner, lambda_id, path) == (grpc_code, code)


@pytest.mark.operation(POST)
def test_a_lambda_that_does_not_run_is_502_by_both_protocols(service: Service, owner: Account, ended: str) -> None:
    answer = call(service, owner, ended)
    assert answer.status_code == 502
    assert "terminated" in answer.json()["detail"]
    assert error_of(service, owner, ended, "main") == ("UNAVAILABLE", 11)
    assert told(service, owner, ended, "status") == {"status": "terminated"}


@pytest.mark.operation(OPTIONS)
def test_options_name_every_verb_that_can_be_proxied_without_authorization(
    service: Service, owner: Account, one: str, ended: str
) -> None:
    for lambda_id in (one, ended):
        answer = call(service, None, lambda_id, "any/path", "OPTIONS")
        assert answer.status_code == 200
        assert {verb.strip() for verb in answer.headers["Allow"].split(",")} >= {
            "GET",
            "POST",
            "PUT",
            "PATCH",
            "DELETE",
        }
        assert answer.headers["Luna-Request-Id"]
    answer = requests.options(f"{service.rest}/6/lambdas/{uuid.uuid4()}/proxy/main", timeout=30)
    assert (answer.status_code, answer.json()["error_code"]) == (404, 42001)


@pytest.mark.operation(POST)
def test_an_id_that_is_none_is_refused_as_by_other_paths(service: Service, owner: Account) -> None:
    answer = call(service, owner, "no-id")
    other = requests.get(f"{service.rest}/6/lambdas/no-id", auth=owner.auth, timeout=30)
    assert (answer.status_code, answer.json()["error_code"]) == (other.status_code, other.json()["error_code"])
    assert answer.json()["detail"] == other.json()["detail"]
