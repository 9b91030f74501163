"""Lambdas from their archive to their answers, in a running service."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import grpc
import psutil
import pytest
import requests
from luna.v6 import events_pb2, events_pb2_grpc, lambdas_pb2, lambdas_pb2_grpc

from tests.lambda_archives import call, create, replace, running_lambda, told, until
from tests.service import Account, Service, running

ECHO = """
from luna_lambda import Response

async def main(request):
    body = await request.body()
    return Response(
        body,
        status=207,
        content_type=request.headers.get("Content-Type", "text/plain"),
        headers={
            "X-Method": request.method,
            "X-Path": request.path,
            "X-Query": repr(dict(request.query)),
            "X-Account": request.account_id,
        },
    )
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Service]:
    """Two servers and one lambda host."""
    with running(servers=2, lambdas=True) as one:
        yield one


@pytest.fixture(scope="module")
def owner(pair: Service) -> Account:
    return pair.account()


@pytest.fixture(scope="module")
def echo(pair: Service, owner: Account) -> str:
    return running_lambda(pair, owner, ECHO)


def test_a_lambda_is_built_started_and_called(pair: Service, owner: Account, echo: str) -> None:
    answer = call(pair, owner, echo, "main", data=b"any bytes", headers={"Content-Type": "image/odd"})
    assert answer.status_code == 207, answer.text
    assert answer.content == b"any bytes"
    assert answer.headers["Content-Type"] == "image/odd"
    assert answer.headers["Lambda-Version"] == "1"
    assert told(pair, owner, echo, "image/status") == {"status": "completed"}


def test_every_verb_path_and_query_comes_to_main(pair: Service, owner: Account, echo: str) -> None:
    for verb in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        answer = call(pair, owner, echo, "some/path?a=1&b=%20", verb)
        assert answer.status_code == 207
        assert answer.headers["X-Method"] == verb
        assert answer.headers["X-Path"] == "/some/path"
        assert answer.headers["X-Query"] == "{'a': '1', 'b': ' '}"
    answer = call(pair, owner, echo, "main", "HEAD")
    assert (answer.status_code, answer.content) == (207, b"")


def test_an_exception_is_an_error_of_luna_and_its_traceback_is_in_the_log_alone(pair: Service, owner: Account) -> None:
    one = running_lambda(pair, owner, "async def main(request):\n    raise KeyError('a secret word')\n")
    answer = call(pair, owner, one)
    assert (answer.status_code, answer.json()["error_code"]) == (500, 42004)
    assert "KeyError" in answer.json()["detail"]
    assert "secret" not in answer.text
    with pair.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        list(_native(channel, owner, one))
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in raised.value.details()
    assert any("a secret word" in str(line) for line in told(pair, owner, one, "logs")["logs"])  # type: ignore[attr-defined]


async def test_large_bodies_go_both_ways_and_the_host_keeps_none(pair: Service, owner: Account) -> None:
    main = """
from luna_lambda import Response

async def main(request):
    return Response(request.stream())
"""
    one = await asyncio.to_thread(running_lambda, pair, owner, main)
    (host,) = [psutil.Process(pid) for pid in pair.pids("lambdas")]
    (envoy,) = [psutil.Process(pid) for pid in pair.pids("envoy")]
    await asyncio.to_thread(call, pair, owner, one, data=b"warm")
    before = host.memory_info().rss + envoy.memory_info().rss
    sent, got, most = hashlib.sha256(), hashlib.sha256(), before
    piece = os.urandom(1 << 20)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(60):
            sent.update(piece)
            yield piece

    url = f"{pair.rest}/6/lambdas/{one}/proxy/main"
    async with (
        aiohttp.ClientSession(headers=dict(owner.metadata)) as client,
        client.post(url, data=pieces()) as answer,
    ):
        assert answer.status == 200
        async for data in answer.content.iter_any():
            got.update(data)
            most = max(most, host.memory_info().rss + envoy.memory_info().rss)
    assert got.digest() == sent.digest()
    assert most - before < 24 << 20


def test_a_body_larger_than_calls_may_have_is_refused(pair: Service, owner: Account, echo: str) -> None:
    answer = call(pair, owner, echo, data=bytes((64 << 20) + 1))
    assert (answer.status_code, answer.json()["error_code"]) == (413, 12046)


def test_native_calls_get_the_head_first_and_then_the_body_in_pieces(pair: Service, owner: Account, echo: str) -> None:
    body = os.urandom(1 << 20)
    for server in (0, 1, None):
        with pair.channel(server) as channel:
            first, *rest = _native(channel, owner, echo, "PUT", "a/b", body, {"x-own": "1"})
        assert first.WhichOneof("piece") == "head"
        assert first.head.status == 207
        headers = {one.name: one.value for one in first.head.headers}
        assert (headers["x-method"], headers["x-path"]) == ("PUT", "/a/b")
        assert headers["lambda-version"] == "1"
        assert headers["x-account"] == owner.account_id
        assert len(rest) > 1
        assert b"".join(one.data for one in rest) == body


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"method": "BREW"}, "method"),
        ({"path": "a b"}, "path"),
        ({"path": "a?b"}, "path"),
        ({"query": "a\r\nb"}, "query"),
        ({"headers": [{"name": "a\nb", "value": ""}]}, "headers"),
        ({"headers": [{"name": "a", "value": "x\r\nluna-lambdas-secret: y"}]}, "headers"),
        ({"headers": [{"name": "a", "value": "x"}] * 101}, "headers"),
    ],
)
def test_a_native_call_that_is_no_http_is_refused(
    pair: Service, owner: Account, echo: str, request_: dict[str, object], field: str
) -> None:
    wanted = lambdas_pb2.CallLambdaRequest(lambda_id=echo, request=request_)  # type: ignore[arg-type]
    with pair.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        list(lambdas_pb2_grpc.LambdasStub(channel).CallLambda(wanted, metadata=owner.metadata))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in raised.value.details()


def test_only_who_may_view_lambdas_of_the_account_may_call_them(pair: Service, owner: Account, echo: str) -> None:
    may, may_not = _token(pair, owner, {"lambda": ["view"]}), _token(pair, owner, {"face": ["view"]})
    other = pair.account()
    url = f"{pair.rest}/6/lambdas/{echo}/proxy/main"
    assert requests.post(url, headers={"Authorization": f"Bearer {may}"}, timeout=30).status_code == 207
    refused = requests.post(url, headers={"Authorization": f"Bearer {may_not}"}, timeout=30)
    assert refused.status_code == 403
    absent = call(pair, other, echo)
    assert (absent.status_code, absent.json()["error_code"]) == (404, 42001)
    assert call(pair, None, echo).status_code == 401
    assert call(pair, owner, str(uuid.uuid4())).status_code == 404
    with pair.channel() as channel:
        for metadata, status in (
            (other.metadata, grpc.StatusCode.NOT_FOUND),
            ((("authorization", f"Bearer {may_not}"),), grpc.StatusCode.PERMISSION_DENIED),
            ((), grpc.StatusCode.UNAUTHENTICATED),
        ):
            request = lambdas_pb2.CallLambdaRequest(lambda_id=echo)
            with pytest.raises(grpc.RpcError) as raised:
                list(lambdas_pb2_grpc.LambdasStub(channel).CallLambda(request, metadata=metadata))
            assert raised.value.code() is status


def test_an_account_that_reads_all_calls_the_lambdas_of_all_and_they_act_for_their_owner(
    pair: Service, owner: Account, echo: str
) -> None:
    admin = pair.admin
    answer = call(pair, admin, echo)
    assert (answer.status_code, answer.headers["X-Account"]) == (207, owner.account_id)
    assert call(pair, admin, echo, f"main?account_id={owner.account_id}").status_code == 207
    assert call(pair, admin, echo, f"main?account_id={uuid.uuid4()}").status_code == 404


def test_a_handler_of_type_2_is_its_lambda_over_rest(pair: Service, owner: Account) -> None:
    handler, one = _handler(pair, owner)
    for path in ("events", "events/stream"):
        answer = requests.post(
            f"{pair.rest}/6/handlers/{handler}/{path}?any=thing",
            data=b"no form of events at all",
            headers={"Content-Type": "text/plain"},
            auth=owner.auth,
            timeout=60,
        )
        assert answer.status_code == 207, answer.text
        assert answer.content == b"no form of events at all"
        assert answer.headers["Content-Type"] == "text/plain"
        assert answer.headers["X-Path"] == "/main"
        assert answer.headers["X-Account"] == owner.account_id
        assert answer.headers["Lambda-Version"] == "1"
    requests.delete(f"{pair.rest}/6/lambdas/{one}", auth=owner.auth, timeout=30)
    gone = requests.post(f"{pair.rest}/6/handlers/{handler}/events", data=b"x", auth=owner.auth, timeout=60)
    assert (gone.status_code, gone.json()["error_code"]) == (404, 42001)


def test_a_handler_of_type_2_is_its_lambda_over_grpc(pair: Service, owner: Account) -> None:
    handler, _ = _handler(pair, owner)
    with pair.channel() as channel:
        stub = events_pb2_grpc.EventsStub(channel)
        request = events_pb2.CallHandlerLambdaRequest(
            handler_id=handler, request={"path": "elsewhere", "body": b"bytes"}
        )
        answer = stub.CallHandlerLambda(request, metadata=owner.metadata).answer
        assert (answer.head.status, answer.body) == (207, b"bytes")
        assert {one.name: one.value for one in answer.head.headers}["x-path"] == "/main"
        generate = events_pb2.GenerateEventsRequest(handler_id=handler)
        generate.sources.add(data=b"x")
        with pytest.raises(grpc.RpcError) as raised:
            stub.GenerateEvents(generate, metadata=owner.metadata)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_replaced_lambda_answers_all_the_time_and_tells_its_version(pair: Service, owner: Account) -> None:
    one = running_lambda(pair, owner, "async def main(request):\n    return 1\n")
    assert replace(pair, owner, one, "async def main(request):\n    return 2\n") == 2
    seen = []
    end = time.monotonic() + 90
    while time.monotonic() < end:
        answer = call(pair, owner, one)
        assert answer.status_code == 200, answer.text
        seen.append((answer.headers["Lambda-Version"], answer.json()))
        if seen[-1][0] == "2":
            break
    assert set(seen) == {("1", 1), ("2", 2)}
    until(pair, owner, one, "running")


def test_a_build_that_fails_leaves_the_version_before_it(pair: Service, owner: Account) -> None:
    one = running_lambda(pair, owner, "async def main(request):\n    return 1\n")
    replace(pair, owner, one, "import os; os._exit(3)\nasync def main(request):\n    return 2\n")
    time.sleep(3)
    answer = call(pair, owner, one)
    assert (answer.status_code, answer.headers.get("Lambda-Version"), answer.json()) == (200, "1", 1)


def test_of_a_deleted_lambda_nothing_is_left(pair: Service, owner: Account) -> None:
    one = running_lambda(pair, owner, "import asyncio\nasync def main(request):\n    return 1\n")
    assert list((pair.data / "lambdas").rglob(f"*{one}*"))
    assert requests.delete(f"{pair.rest}/6/lambdas/{one}", auth=owner.auth, timeout=30).status_code == 204
    assert call(pair, owner, one).status_code == 404
    end = time.monotonic() + 20
    while time.monotonic() < end and (list((pair.data / "lambdas").rglob(f"*{one}*")) or _processes(one)):
        time.sleep(0.1)
    assert not list((pair.data / "lambdas").rglob(f"*{one}*"))
    assert not _processes(one)


def test_a_killed_host_comes_back_with_its_lambdas_and_without_a_build(
    pair: Service, owner: Account, echo: str
) -> None:
    (host,) = pair.pids("lambdas")
    os.kill(host, signal.SIGKILL)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        answer = call(pair, owner, echo, data=b"again")
        if answer.status_code == 207:
            break
        assert (answer.status_code, answer.json()["error_code"]) == (502, 11), answer.text
        time.sleep(0.2)
    assert answer.content == b"again"
    until(pair, owner, echo, "running")


def test_a_host_that_is_killed_during_a_build_builds_again(pair: Service, owner: Account) -> None:
    one = create(pair, owner, ECHO)
    (host,) = pair.pids("lambdas")
    os.kill(host, signal.SIGKILL)
    until(pair, owner, one, "running")
    assert call(pair, owner, one, data=b"x").content == b"x"


def test_many_callers_at_a_time_get_their_own_answers(pair: Service, owner: Account, echo: str) -> None:
    bodies = [os.urandom(20_000) for _ in range(40)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: call(pair, owner, echo, data=body), bodies))
    assert [answer.content for answer in answers] == bodies


def test_where_lambdas_are_off_everything_about_them_says_so() -> None:
    with running() as service:
        account = service.account()
        one = uuid.uuid4()
        for verb, path in (
            ("GET", "lambdas"),
            ("GET", f"lambdas/{one}"),
            ("POST", f"lambdas/{one}/proxy/main"),
            ("GET", f"lambdas/{one}/proxy/a/b?c=d"),
            ("OPTIONS", f"lambdas/{one}/proxy/main"),
            ("GET", f"lambdas/{one}/status"),
        ):
            answer = requests.request(verb, f"{service.rest}/6/{path}", auth=account.auth, timeout=30)
            assert (answer.status_code, answer.json()["error_code"]) == (403, 11072), (verb, path)
        with service.channel() as channel, pytest.raises(grpc.RpcError) as raised:
            list(_native(channel, account, str(one)))
        assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert not service.pids("lambdas")


def _native(
    channel: grpc.Channel,
    account: Account,
    lambda_id: str,
    method: str = "POST",
    path: str = "main",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> list[lambdas_pb2.CallLambdaResponse]:
    request = lambdas_pb2.CallLambdaRequest(lambda_id=lambda_id, request={"method": method, "path": path, "body": body})
    for name, value in (headers or {}).items():
        request.request.headers.add(name=name, value=value)
    return list(lambdas_pb2_grpc.LambdasStub(channel).CallLambda(request, metadata=account.metadata))


def _handler(service: Service, account: Account) -> tuple[str, str]:
    one = running_lambda(service, account, ECHO, kind="handlers")
    body = {"handler_type": 2, "lambda_id": one, "description": "a lambda"}
    answer = requests.post(f"{service.rest}/6/handlers", json=body, auth=account.auth, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["handler_id"]), one


def _token(service: Service, account: Account, permissions: dict[str, list[str]]) -> str:
    answer = requests.post(f"{service.rest}/6/tokens", json={"permissions": permissions}, auth=account.auth, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def _processes(lambda_id: str) -> list[int]:
    """Processes that have to do with a lambda by their environment or command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if lambda_id in " ".join(process.cmdline()) or lambda_id in process.environ().values():
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
