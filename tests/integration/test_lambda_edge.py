"""Calls of lambdas through a real Envoy and the lambda host."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import psutil
import pytest
from aiohttp import web

from server.domain import deadline
from server.domain.http_calls import HttpCall
from server.domain.permissions import Permissions
from server.errors import Busy, DeadlineExceeded, LambdaFailed, LambdaNotRunning, NoIsolation, Unavailable
from server.rpc.native import request_id_of
from tests.edge import AUTHORIZATION, Edge, envoy
from tests.lambda_hosts import LARGEST, Running, lambda_host, remote
from tests.ports import free_ports

PIECE = bytes(range(256)) * 256


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with lambda_host() as one:
        yield one


@pytest.fixture
async def edge(running: Running) -> AsyncIterator[Edge]:
    async with envoy(free_ports(1), proxied=running.address) as one:
        yield one


async def echo(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    seen = {
        "method": request.method,
        "path": request.raw_path,
        "headers": [[name.lower(), value] for name, value in request.headers.items()],
        "length": len(body),
        "hash": hashlib.sha256(body).hexdigest(),
    }
    return web.json_response(seen, status=207, headers={"X-Own": "yes"})


async def test_a_call_reaches_the_lambda_as_it_was_made(running: Running, edge: Edge) -> None:
    one = await running.add(echo)
    body = PIECE[:1000]
    answer = await edge.ask(
        "PUT", f"/6/lambdas/{one}/proxy/a%2Fb/c?x=1&x=%20", body, {"content-type": "image/odd", "x-mine": "a"}
    )
    assert answer.status == 207
    seen = answer.json
    assert (seen["method"], seen["path"]) == ("PUT", "/a%2Fb/c?x=1&x=%20")
    assert (seen["length"], seen["hash"]) == (len(body), hashlib.sha256(body).hexdigest())
    headers = dict(seen["headers"])  # type: ignore[call-overload]
    assert headers["content-type"] == "image/odd"
    assert headers["x-mine"] == "a"
    assert answer.headers["x-own"] == "yes"
    assert answer.headers["lambda-version"] == "1"


@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
async def test_every_verb_is_handed_on(running: Running, edge: Edge, verb: str) -> None:
    methods: list[str] = []

    async def program(request: web.Request) -> web.StreamResponse:
        methods.append(request.method)
        return web.Response(body=b"body")

    one = await running.add(program)
    answer = await edge.ask(verb, f"/6/lambdas/{one}/proxy/main")
    assert answer.status == 200
    assert methods == [verb]
    assert answer.data == (b"" if verb == "HEAD" else b"body")
    assert answer.headers["content-length"] == "4"


async def test_a_lambda_sees_no_credentials_and_nothing_of_the_service(running: Running, edge: Edge) -> None:
    one = await running.add(echo)
    sent = {
        "cookie": "a=b",
        "luna-account-id": str(uuid4()),
        "luna-edge-key": "guess",
        "x-envoy-original-path": "/x",
        "luna-lambdas-secret": "guess",
        "connection": "x-hop",
        "x-hop": "1",
    }
    answer = await edge.ask("POST", f"/6/lambdas/{one}/proxy/main", b"x", sent)
    headers = dict(answer.json["headers"])  # type: ignore[call-overload]
    gone = {"authorization", "cookie", "luna-edge-key", "luna-client-address", "grpc-timeout", "x-hop", "connection"}
    assert not gone & set(headers)
    assert not [name for name in headers if name.startswith(("x-envoy-", "luna-lambdas"))]
    assert headers["luna-account-id"] == str(running.lambdas.known[one].account_id)
    assert headers["luna-request-id"] == answer.headers["luna-request-id"]


async def test_the_id_of_a_request_is_echoed_once(running: Running, edge: Edge) -> None:
    async def program(request: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Luna-Request-Id": "another", "Lambda-Version": "77"})

    one = await running.add(program)
    request_id = request_id_of(None)
    answer = await edge.ask("GET", f"/6/lambdas/{one}/proxy/main", headers={"Luna-Request-Id": request_id})
    assert answer.headers["luna-request-id"] == request_id
    assert answer.headers["lambda-version"] == "1"


async def test_no_page_of_a_lambda_is_believed_by_a_browser(running: Running, edge: Edge) -> None:
    hostile = {
        "Content-Security-Policy": "script-src *",
        "X-Content-Type-Options": "none",
        "Set-Cookie": "a=b",
        "Clear-Site-Data": '"*"',
        "X-Http-Status": "201",
        "X-Http-Headers": "content-security-policy=none",
        "X-Content-Length": "1",
        "Server": "x",
    }

    async def program(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<script>", content_type="text/html", headers=hostile)

    one = await running.add(program)
    answer = await edge.ask("GET", f"/6/lambdas/{one}/proxy/main")
    assert (answer.status, answer.data) == (200, b"<script>")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    gone = {"set-cookie", "clear-site-data", "x-http-status", "x-http-headers", "x-content-length", "server"}
    assert not gone & set(answer.headers)


async def test_options_are_for_everybody_and_name_every_verb(running: Running, edge: Edge) -> None:
    one = await running.add(echo)
    answer = await edge.ask("OPTIONS", f"/6/lambdas/{one}/proxy/any/path", authorized=False)
    assert answer.status == 200
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    answer = await edge.ask("OPTIONS", f"/6/lambdas/{uuid4()}/proxy/any", authorized=False)
    assert (answer.status, answer.json["error_code"]) == (404, 42001)


async def test_who_may_not_call_is_refused_as_everywhere(running: Running, edge: Edge) -> None:
    own, foreign = await running.add(echo), await running.add(echo, uuid4())
    running.tokens.known["may"] = Permissions(frozenset({("lambda", "view")}))
    running.tokens.known["other"] = Permissions(frozenset({("lambda", "creation"), ("face", "view")}))

    async def call(lambda_id: object, authorization: str | None) -> tuple[int, object]:
        headers = {} if authorization is None else {"authorization": authorization}
        answer = await edge.ask("POST", f"/6/lambdas/{lambda_id}/proxy/main", b"", headers, authorized=False)
        return answer.status, None if answer.status == 207 else answer.json["error_code"]

    assert await call(own, AUTHORIZATION["authorization"]) == (207, None)
    assert await call(own, "Bearer may") == (207, None)
    assert await call(own, None) == (401, 11065)
    assert await call(own, "Basic wrong") == (401, 11065)
    assert (await call(own, "Bearer other"))[0] == 403
    assert await call(foreign, AUTHORIZATION["authorization"]) == (404, 42001)
    assert await call(uuid4(), AUTHORIZATION["authorization"]) == (404, 42001)
    assert (await call("no-uuid", AUTHORIZATION["authorization"]))[0] in {400, 404}


@pytest.mark.parametrize(
    "path", [".luna/health", "%2eluna/health", "//.luna/health", "a/../.luna/health", "..%2f..", "%2e%2e/x", "a/./b"]
)
async def test_no_path_leads_out_of_a_lambda_or_to_its_runners_own(running: Running, edge: Edge, path: str) -> None:
    one = await running.add(echo)
    answer = await edge.ask("GET", f"/6/lambdas/{one}/proxy/{path}")
    assert answer.status == 404
    assert answer.json["error_code"] == 12013


async def test_nobody_gets_to_the_hosts_own_paths_through_envoy(running: Running, edge: Edge) -> None:
    one = await running.add(echo)
    for path in ("/internal/check", f"/6/lambdas/{one}/proxy/../../../../internal/check"):
        answer = await edge.ask("GET", path, headers={"luna-lambdas-secret": "a secret of sixteen and more"})
        assert answer.status in {404, 502}
        assert "luna-lambdas" not in answer.headers


async def test_an_exception_of_a_lambda_is_luna_s_error_and_tells_no_more(running: Running, edge: Edge) -> None:
    async def program(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500, text="Traceback", headers={"Luna-Lambda-Error": "ValueError"})

    one = await running.add(program)
    answer = await edge.ask("POST", f"/6/lambdas/{one}/proxy/main", b"")
    assert (answer.status, answer.json["error_code"]) == (500, 42004)
    assert "ValueError" in str(answer.json["detail"])
    assert b"Traceback" not in answer.data


async def test_a_lambda_s_own_statuses_are_its_own(running: Running, edge: Edge) -> None:
    async def program(request: web.Request) -> web.StreamResponse:
        status = int(request.query["status"])
        return web.Response(status=status, text="" if status in {204, 304} else "own")

    one = await running.add(program)
    for status in (201, 204, 302, 304, 400, 401, 404, 413, 415, 429, 431, 500, 502, 503, 504):
        answer = await edge.ask("GET", f"/6/lambdas/{one}/proxy/main?status={status}")
        assert answer.status == status
        assert answer.data == (b"" if status in {204, 304} else b"own")


async def test_a_lambda_that_does_not_run_is_told_so(running: Running, edge: Edge) -> None:
    one = await running.add(echo)
    del running.programs.sockets[one]
    answer = await edge.ask("GET", f"/6/lambdas/{one}/proxy/main")
    assert answer.status == 502
    assert "waiting" in str(answer.json["detail"])


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(running: Running, edge: Edge) -> None:
    one = await running.add(echo)
    answer = await edge.ask("POST", f"/6/lambdas/{one}/proxy/main", b"x" * (LARGEST + 1))
    assert (answer.status, answer.json["error_code"]) == (413, 12046)
    answer = await edge.ask("POST", f"/6/lambdas/{one}/proxy/main", b"x" * LARGEST)
    assert (answer.status, answer.json["length"]) == (207, LARGEST)


async def test_both_bodies_are_streamed_and_neither_is_kept(running: Running, edge: Edge) -> None:
    pieces = 2000  # 125 MB each way

    async def program(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for data in request.content.iter_any():
            await response.write(data)
        await response.write_eof()
        return response

    one = await running.add(program)
    process = psutil.Process()
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    head = (
        f"POST /6/lambdas/{one}/proxy/main HTTP/1.1\r\nhost: x\r\nauthorization: {AUTHORIZATION['authorization']}\r\n"
    )
    writer.write(f"{head}transfer-encoding: chunked\r\nconnection: close\r\n\r\n".encode())
    before = process.memory_info().rss

    async def send() -> None:
        for _ in range(pieces):
            writer.write(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    sending = asyncio.create_task(send())
    got, most = 0, 0
    while data := await reader.read(1 << 16):
        got += len(data)
        most = max(most, process.memory_info().rss)
    await sending
    writer.close()
    assert got > pieces * len(PIECE)
    assert most - before < 48 << 20


async def test_a_slow_reader_slows_its_lambda_down(running: Running, edge: Edge) -> None:
    written = 0

    async def program(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(2000):
            await response.write(PIECE)
            written += len(PIECE)
        await response.write_eof()
        return response

    one = await running.add(program)
    reader, writer = await _asked(edge, one)
    await reader.read(1000)
    await asyncio.sleep(1)
    first = written
    await asyncio.sleep(0.5)
    assert written == first < 64 << 20
    writer.transport.abort()
    await _until(lambda: running.programs.ended == 1)


async def test_a_client_that_goes_away_ends_its_call(running: Running, edge: Edge) -> None:
    cancelled = asyncio.Event()

    async def program(request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return web.Response()

    one = await running.add(program)
    _, writer = await _asked(edge, one)
    await asyncio.sleep(0.3)
    writer.transport.abort()
    await asyncio.wait_for(cancelled.wait(), 5)
    await _until(lambda: ("luna.v6.Lambdas.CallLambda", "CANCELLED") in running.told)


@pytest.mark.parametrize("length", [None, "1000000"])
async def test_an_answer_that_dies_halfway_is_seen_not_to_be_whole(
    running: Running, edge: Edge, length: str | None
) -> None:
    async def program(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={} if length is None else {"content-length": length})
        await response.prepare(request)
        await response.write(b"half")
        await asyncio.sleep(0.2)
        assert request.transport is not None
        request.transport.abort()
        return response

    one = await running.add(program)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        await edge.ask("GET", f"/6/lambdas/{one}/proxy/main")


async def test_a_call_that_takes_too_long_is_told_so() -> None:
    async def program(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async with lambda_host(seconds=0.5) as running, envoy(free_ports(1), proxied=running.address) as edge:
        one = await running.add(program)
        answer = await edge.ask("GET", f"/6/lambdas/{one}/proxy/main")
        assert (answer.status, answer.json["error_code"]) == (504, 9)


async def test_an_answer_that_takes_too_long_is_broken_off() -> None:
    async def program(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        await asyncio.sleep(60)
        return response

    async with lambda_host(seconds=0.5) as running, envoy(free_ports(1), proxied=running.address) as edge:
        one = await running.add(program)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            await edge.ask("GET", f"/6/lambdas/{one}/proxy/main")


async def test_where_the_host_is_down_luna_s_error_is_told() -> None:
    async with envoy(free_ports(1), proxied=f"127.0.0.1:{free_ports(1)[0]}") as edge:
        request_id = request_id_of(None)
        answer = await edge.ask("GET", f"/6/lambdas/{uuid4()}/proxy/main", headers={"Luna-Request-Id": request_id})
        assert (answer.status, answer.json["error_code"]) == (502, 11)
        assert answer.headers["luna-request-id"] == request_id


async def test_a_draining_host_takes_no_call_and_lets_those_that_run_end(running: Running, edge: Edge) -> None:
    go = asyncio.Event()

    async def program(request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.Response(text="whole")

    one = await running.add(program)
    asked = asyncio.create_task(edge.ask("GET", f"/6/lambdas/{one}/proxy/main"))
    await asyncio.sleep(0.3)
    draining = asyncio.create_task(running.host.drain(10))
    await asyncio.sleep(0.1)
    refused = await edge.ask("GET", f"/6/lambdas/{one}/proxy/main")
    assert refused.status == 502
    assert not draining.done()
    go.set()
    assert (await asked).data == b"whole"
    await asyncio.wait_for(draining, 2)


async def test_many_calls_at_a_time_get_their_own_answers(running: Running, edge: Edge) -> None:
    one = await running.add(echo)
    bodies = [bytes([number]) * (number * 1000) for number in range(1, 60)]
    answers = await asyncio.gather(*(edge.ask("POST", f"/6/lambdas/{one}/proxy/main", body) for body in bodies))
    assert [answer.json["hash"] for answer in answers] == [hashlib.sha256(body).hexdigest() for body in bodies]


# what servers ask


async def test_a_server_calls_a_lambda_and_reads_its_answer_in_pieces(running: Running) -> None:
    one = await running.add(echo)
    account = str(uuid4())
    call = HttpCall("POST", "main", "a=%20b", (("luna-account-id", account), ("x-mine", "1")), b"body")
    async with remote(running) as host, host.called(one, call) as reply:
        assert reply.status == 207
        seen = json.loads(b"".join([data async for data in reply.body]))
    headers = dict(seen["headers"])
    assert (seen["path"], seen["length"]) == ("/main?a=%20b", 4)
    assert headers["luna-account-id"] == account
    assert headers["x-mine"] == "1"
    assert not [name for name in headers if name.startswith("luna-lambdas")]
    assert ("lambda-version", "1") in reply.headers
    assert not [name for name, _ in reply.headers if name.startswith("luna-lambdas")]


@pytest.mark.parametrize(
    ("error", "values"),
    [
        (LambdaNotRunning(lambda_id="x", status="terminated"), {"lambda_id": "x", "status": "terminated"}),
        (Busy(message="full", retry_after=3), {"message": "full", "retry_after": "3"}),
        (NoIsolation(message="install it"), {"message": "install it"}),
    ],
)
async def test_a_server_gets_the_host_s_errors_as_they_were(
    running: Running, error: Exception, values: dict[str, str]
) -> None:
    running.programs.refusal = error  # type: ignore[assignment]
    async with remote(running) as host:
        with pytest.raises(type(error)) as raised:
            await host.check()
        assert raised.value.values == values  # type: ignore[attr-defined]


async def test_a_server_with_another_secret_is_not_answered(running: Running) -> None:
    one = await running.add(echo)
    async with remote(running, "another secret, just as long") as host:
        with pytest.raises(Unavailable):
            await host.check()
        with pytest.raises(Unavailable):
            await host.logs(one, None)
        with pytest.raises(Unavailable):
            async with host.called(one, HttpCall("GET", "main")):
                pass


async def test_a_server_reads_the_last_lines(running: Running) -> None:
    running.programs.lines = ["a", "b", "c"]
    async with remote(running) as host:
        assert await host.logs(uuid4(), None) == ["a", "b", "c"]
        assert await host.logs(uuid4(), 2) == ["b", "c"]
        assert await host.logs(uuid4(), 0) == []


async def test_a_server_s_deadline_is_kept_at_the_host_too(running: Running) -> None:
    cancelled = asyncio.Event()

    async def program(request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return web.Response()

    one = await running.add(program)
    async with remote(running, seconds=0.5) as host:
        with pytest.raises(DeadlineExceeded):
            async with host.called(one, HttpCall("GET", "main")):
                pass
    await asyncio.wait_for(cancelled.wait(), 2)


async def test_a_caller_s_deadline_ends_a_server_s_call(running: Running) -> None:
    async def program(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    one = await running.add(program)
    async with remote(running) as host:
        with pytest.raises((TimeoutError, DeadlineExceeded)):
            async with deadline.within(0.5), host.called(one, HttpCall("GET", "main")):
                pass
    await _until(lambda: running.programs.ended == 1)


async def test_a_server_sees_that_an_answer_is_not_whole(running: Running) -> None:
    async def program(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        await asyncio.sleep(0.1)
        assert request.transport is not None
        request.transport.abort()
        return response

    one = await running.add(program)
    async with remote(running) as host:
        with pytest.raises(LambdaFailed):
            async with host.called(one, HttpCall("GET", "main")) as reply:
                async for _ in reply.body:
                    pass


async def test_a_server_without_a_host_is_told_so() -> None:
    from server.lambdas.client import RemoteLambdaHost

    host = RemoteLambdaHost(f"127.0.0.1:{free_ports(1)[0]}", "s", 5)
    with pytest.raises(Unavailable):
        await host.check()
    await host.close()


async def _asked(edge: Edge, lambda_id: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    authorization = AUTHORIZATION["authorization"]
    writer.write(
        f"GET /6/lambdas/{lambda_id}/proxy/main HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n\r\n".encode()
    )
    await writer.drain()
    return reader, writer


async def _until(holds: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.02)
