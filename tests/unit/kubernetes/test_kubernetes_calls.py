"""Calls of lambdas on a cluster: over HTTP to their Service, started where they are asleep, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from server.domain.http_calls import HttpCall
from server.domain.lambdas import LambdaStatus
from server.errors import Busy, DeadlineExceeded, LambdaFailed, LambdaNotRunning, RequestTooLarge
from server.lambdas.kubernetes import runner
from server.lambdas.kubernetes.programs import name_of
from tests.kubernetes_play import Playing, answering, deployment, eventually

Play = Callable[..., Awaitable[Playing]]


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _body(reply_body: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in reply_body])


async def test_a_call_is_streamed_both_ways_to_the_service_and_comes_back_as_it_is(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        out = web.StreamResponse(status=207, headers={"X-Own": "1", "Lambda-Version": "99"})
        await out.prepare(request)
        async for piece in request.content.iter_any():
            await out.write(piece[::-1])
        return out

    async with answering(play.services, answer):
        call = HttpCall("PATCH", "a%2Fb/c", "x=%20y&z", (("x-one", "1"), ("x-one", "2")), _pieces(b"abc"))
        async with play.runner.called(wanted.lambda_id, call) as reply:
            assert await _body(reply.body) == b"cba"
    assert reply.status == 207
    assert ("x-own", "1") in reply.headers
    assert [value for name, value in reply.headers if name == "lambda-version"] == ["1"]
    [request] = seen
    assert (request.method, request.raw_path) == ("PATCH", "/a%2Fb/c?x=%20y&z")
    assert request.headers.getall("x-one") == ["1", "2"]
    assert "User-Agent" not in request.headers
    assert set(play.services.names) == {f"{name_of(wanted.lambda_id)}.luna-lambdas.svc:8000"}


async def test_an_unknown_lambda_and_one_that_is_being_built_do_not_run(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    with pytest.raises(LambdaNotRunning) as refused:
        async with play.runner.called(wanted.lambda_id, HttpCall("POST", "main")):
            pass
    assert refused.value.values["status"] == "not_found"
    play.runner.deploy(wanted)
    with pytest.raises(LambdaNotRunning) as refused:
        async with play.runner.called(wanted.lambda_id, HttpCall("POST", "main")):
            pass
    assert refused.value.values["status"] == "waiting"


async def test_a_crashed_lambda_says_so(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)
    await play.cluster.crash(play.cluster.pods()[0])
    await play.until(wanted.lambda_id, lambda state: state.status is LambdaStatus.TERMINATED)
    with pytest.raises(LambdaNotRunning) as refused:
        async with play.runner.called(wanted.lambda_id, HttpCall("POST", "main")):
            pass
    assert refused.value.values["status"] == "terminated"


async def test_the_old_version_answers_while_the_new_one_is_built(playing: Play) -> None:
    play = await playing()
    first = deployment()
    await play.running(first)
    play.runner.deploy(deployment(first.lambda_id, 2, archive=b"PK2"))
    await eventually(lambda: len(play.cluster.pods(2)) == 1)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response()

    async with (
        answering(play.services, answer),
        play.runner.called(first.lambda_id, HttpCall("GET", "main")) as reply,
    ):
        assert ("lambda-version", "1") in reply.headers


async def test_a_lambda_that_nobody_calls_is_stopped_and_the_next_call_starts_it(playing: Play) -> None:
    play = await playing(idle_seconds=0.4)
    wanted = deployment(pods=2)
    await play.running(wanted)
    play.cluster.write(play.cluster.pods()[0], "lambda", "what it wrote")
    await eventually(lambda: not play.cluster.all("pods"))
    state = play.runner.states()[wanted.lambda_id]
    assert state.status is LambdaStatus.RUNNING
    assert await play.runner.logs(wanted.lambda_id, None) == ["what it wrote"]

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="awake")

    async def call() -> bytes:
        async with play.runner.called(wanted.lambda_id, HttpCall("GET", "main")) as reply:
            return await _body(reply.body)

    async with answering(play.services, answer):
        calls = [asyncio.create_task(call()) for _ in range(3)]
        await eventually(lambda: len(play.cluster.pods()) == 2)
        await play.cluster.run(play.cluster.pods()[0])
        assert await asyncio.gather(*calls) == [b"awake"] * 3


async def test_a_call_keeps_a_lambda_awake(playing: Play) -> None:
    play = await playing(idle_seconds=0.3)
    wanted = deployment()
    await play.running(wanted)

    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1)
        return web.Response()

    async with answering(play.services, answer), play.runner.called(wanted.lambda_id, HttpCall("GET", "main")):
        assert len(play.cluster.pods()) == 1
    await eventually(lambda: not play.cluster.all("pods"))


async def test_sleep_outlasts_a_restart_of_the_host(playing: Play) -> None:
    play = await playing(idle_seconds=0.3)
    wanted = deployment()
    await play.running(wanted)
    await eventually(lambda: not play.cluster.all("pods"))
    await play.runner.close()
    play.start()
    play.runner.deploy(wanted)
    await play.until(wanted.lambda_id, lambda state: state.status is LambdaStatus.RUNNING)
    await asyncio.sleep(0.2)
    assert not play.cluster.all("pods")
    await play.runner.close()


async def test_a_lambda_that_does_not_wake_in_time_does_not_run(playing: Play) -> None:
    play = await playing(idle_seconds=0.3, start_seconds=0.5)
    wanted = deployment()
    await play.running(wanted)
    await eventually(lambda: not play.cluster.all("pods"))
    with pytest.raises(LambdaNotRunning) as refused:
        async with play.runner.called(wanted.lambda_id, HttpCall("GET", "main")):
            pass
    assert refused.value.values["status"] == "waiting"


async def test_a_lambda_that_crashes_while_it_wakes_does_not_keep_calls_waiting(playing: Play) -> None:
    play = await playing(idle_seconds=0.3)
    wanted = deployment()
    await play.running(wanted)
    await eventually(lambda: not play.cluster.all("pods"))

    async def call() -> None:
        async with play.runner.called(wanted.lambda_id, HttpCall("GET", "main")):
            pass

    calling = asyncio.create_task(call())
    await eventually(lambda: len(play.cluster.pods()) == 1)
    await play.cluster.built(play.cluster.pods()[0])
    await play.cluster.crash(play.cluster.pods()[0])
    async with asyncio.timeout(3):
        with pytest.raises(LambdaNotRunning):
            await calling


async def test_a_service_that_learns_of_a_ready_pod_a_little_later_is_asked_again(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)
    play.services.port = 1

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=(await request.read()).decode())

    async def call() -> bytes:
        async with play.runner.called(wanted.lambda_id, HttpCall("POST", "main", body=_pieces(b"once"))) as reply:
            return await _body(reply.body)

    calling = asyncio.create_task(call())
    await asyncio.sleep(0.3)
    async with answering(play.services, answer):
        assert await calling == b"once"


async def test_nobody_listening_is_a_lambda_that_does_not_run(playing: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CONNECT_SECONDS", 0.3)
    play = await playing()
    wanted = deployment()
    await play.running(wanted)
    play.services.port = 1
    with pytest.raises(LambdaNotRunning):
        async with play.runner.called(wanted.lambda_id, HttpCall("GET", "main")):
            pass


async def test_a_call_ends_at_its_deadline_also_within_its_body(playing: Play) -> None:
    play = await playing(call_seconds=0.4)
    wanted = deployment()
    await play.running(wanted)

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/hangs":
            await asyncio.sleep(30)
        out = web.StreamResponse()
        await out.prepare(request)
        await out.write(b"begun")
        await asyncio.sleep(30)
        return out

    async with answering(play.services, answer):
        for path in ("hangs", "begins"):
            with pytest.raises(DeadlineExceeded):
                async with play.runner.called(wanted.lambda_id, HttpCall("GET", path)) as reply:
                    await _body(reply.body)


async def test_bodies_are_bounded_both_ways(playing: Play) -> None:
    play = await playing(request_max_bytes=2048, response_max_bytes=4096)
    wanted = deployment()
    await play.running(wanted)

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(body=b"x" * 5000)

    async with answering(play.services, answer):
        for body in (b"x" * 2049, _pieces(b"x" * 2000, b"x" * 49)):
            with pytest.raises(RequestTooLarge):
                async with play.runner.called(wanted.lambda_id, HttpCall("POST", "main", body=body)):
                    pass
        told = HttpCall("POST", "main", headers=(("content-length", "4000"),), body=_pieces(b"x"))
        with pytest.raises(RequestTooLarge):
            async with play.runner.called(wanted.lambda_id, told):
                pass
        with pytest.raises(LambdaFailed, match="larger"):
            async with play.runner.called(wanted.lambda_id, HttpCall("GET", "main")) as reply:
                await _body(reply.body)


async def test_a_lambda_that_ends_within_a_call_has_failed(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/half":
            out = web.StreamResponse(headers={"Content-Length": "100"})
            await out.prepare(request)
            await out.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with answering(play.services, answer):
        for path in ("whole", "half"):
            with pytest.raises(LambdaFailed):
                async with play.runner.called(wanted.lambda_id, HttpCall("GET", path)) as reply:
                    await _body(reply.body)


async def test_an_answer_that_is_no_http_is_a_failure(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        play.services.port = server.sockets[0].getsockname()[1]
        with pytest.raises(LambdaFailed):
            async with play.runner.called(wanted.lambda_id, HttpCall("GET", "main")):
                pass


async def test_further_calls_are_refused_where_enough_wait(playing: Play) -> None:
    play = await playing(calls=1, waiting=1)
    wanted = deployment()
    await play.running(wanted)
    go = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.Response(text="done")

    async def call() -> bytes:
        async with play.runner.called(wanted.lambda_id, HttpCall("GET", "main")) as reply:
            return await _body(reply.body)

    async with answering(play.services, answer):
        first, second = asyncio.create_task(call()), asyncio.create_task(call())
        await asyncio.sleep(0.1)
        with pytest.raises(Busy):
            await call()
        go.set()
        assert await asyncio.gather(first, second) == [b"done", b"done"]
