"""Calls of lambdas on the local runner: what goes there and comes back, and how much of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from server.domain import deadline
from server.domain.http_calls import HttpCall
from server.domain.lambdas import LambdaStatus
from server.errors import Busy, DeadlineExceeded, LambdaFailed, LambdaNotRunning, RequestTooLarge
from tests.local_lambdas import WAYS, Local, local, need
from tests.robustness.lambda_programs import RUDE
from tests.robustness.lambda_traces import Traces, resident

pytestmark = pytest.mark.timeout(240)
LIMITS = {"call_seconds": 4, "request_max_bytes": 1 << 20, "response_max_bytes": 4 << 20, "calls": 2, "waiting": 2}
ECHO = """
import asyncio, base64
async def main(request):
    if request.path == "/sleep":
        await asyncio.sleep(float(request.query["seconds"]))
        return "slept"
    body = await request.body()
    return {"method": request.method, "path": request.path, "query": sorted(request.query.items()),
            "headers": sorted((name.lower(), value) for name, value in request.headers.items()), "bytes": len(body)}
"""


@pytest.fixture(params=WAYS, scope="module")
async def way(request: pytest.FixtureRequest) -> str:
    await need(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
async def here(way: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Local]:
    async with local(tmp_path_factory.mktemp(way), way, **LIMITS) as one:
        yield one


@pytest.fixture(scope="module")
async def echo(here: Local) -> UUID:
    return await here.started(ECHO)


@pytest.fixture(scope="module")
async def rude(here: Local) -> UUID:
    return await here.started(RUDE)


async def test_verb_path_query_headers_and_body_arrive(here: Local, echo: UUID) -> None:
    answer = await here.call(
        echo,
        "/a%20b/%D0%B8",
        "PATCH",
        b"xyz",
        (("x-one", "1"), ("x-one", "2"), ("content-type", "text/x")),
        "q=1&q=%20",
    )
    seen = answer.json()
    assert (seen["method"], seen["path"], seen["bytes"]) == ("PATCH", "/a b/и", 3)
    assert seen["query"] == [["q", " "], ["q", "1"]]
    assert [pair for pair in seen["headers"] if pair[0] not in ("connection", "content-length")] == [
        ["content-type", "text/x"],
        ["host", "lambda"],
        ["x-one", "1"],
        ["x-one", "2"],
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_every_verb_is_called(here: Local, echo: UUID, method: str) -> None:
    answer = await here.call(echo, method=method)
    assert answer.status == 200
    assert bool(answer.body) == (method != "HEAD")


async def test_a_body_in_pieces_is_counted_while_it_is_sent(here: Local, echo: UUID) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield bytes(1 << 16)

    assert (await here.call(echo, method="POST", body=pieces(16))).json()["bytes"] == 1 << 20
    with pytest.raises(RequestTooLarge):
        await here.call(echo, method="POST", body=pieces(17))
    with pytest.raises(RequestTooLarge):
        await here.call(echo, method="POST", body=bytes((1 << 20) + 1))


async def test_more_calls_than_may_wait_are_refused(here: Local, echo: UUID) -> None:
    calls = [asyncio.create_task(here.call(echo, "/sleep", query="seconds=1")) for _ in range(6)]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, Busy) for one in done) == 2
    assert sum(not isinstance(one, Exception) for one in done) == 4


async def test_the_wait_for_a_place_is_part_of_the_call(here: Local, echo: UUID) -> None:
    calls = [asyncio.create_task(here.call(echo, "/sleep", query="seconds=3")) for _ in range(4)]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, DeadlineExceeded) for one in done) == 2


async def test_the_deadline_of_the_call_in_progress_counts(here: Local, echo: UUID) -> None:
    began = time.monotonic()
    with pytest.raises((DeadlineExceeded, TimeoutError)):
        async with deadline.within(0.5):
            await here.call(echo, "/sleep", query="seconds=3")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "path",
    [
        *("headers", "header", "interim", "early_hints", "two_lengths", "garbage", "banner", "nothing", "short"),
        *("negative", "bad_chunk", "tiny_chunks", "upgrade", "slow", "unread", "missing"),
    ],
)
async def test_what_is_no_whole_answer_fails_the_call_and_nothing_else(
    here: Local, rude: UUID, echo: UUID, path: str
) -> None:
    before, held = Traces.now(), resident()
    with pytest.raises((LambdaFailed, DeadlineExceeded)):
        await here.call(rude, f"/{path}")
    assert resident() - held < 64 << 20
    assert (await here.call(echo)).status == 200
    await here.reaches(rude, lambda state: state.status is LambdaStatus.RUNNING)
    await asyncio.sleep(0.1)
    assert Traces.now().descriptors <= before.descriptors + 1


async def test_what_comes_after_an_answer_is_no_answer_of_the_next_call(here: Local, rude: UUID) -> None:
    for _ in range(3):
        answer = await here.call(rude, "/smuggled")
        assert answer.body == b"first"


async def test_an_answer_before_its_body_was_read_is_taken(here: Local, rude: UUID) -> None:
    assert (await here.call(rude, "/early", "POST", bytes(1 << 20))).body == b"early"


async def test_redirects_are_not_followed_and_cookies_not_kept(here: Local, rude: UUID) -> None:
    answer = await here.call(rude, "/redirect")
    assert (answer.status, dict(answer.headers)["location"]) == (302, "http://127.0.0.1:1/secret")
    assert (await here.call(rude, "/cookie")).status == 200


async def test_a_packed_answer_is_not_unpacked(here: Local, rude: UUID) -> None:
    answer = await here.call(rude, "/zipped")
    assert dict(answer.headers)["content-encoding"] == "gzip"
    assert len(answer.body) < 1 << 20


async def test_an_end_within_an_answer_fails_the_call(way: str, tmp_path: Path) -> None:
    async with local(tmp_path, way) as one:
        lambda_id = await one.started(RUDE)
        with pytest.raises(LambdaFailed, match="it ended with status 7"):
            await one.call(lambda_id, "/dies")
        await one.reaches(lambda_id, lambda state: state.info["restarts"] == "1")


async def test_a_caller_that_goes_away_frees_its_place(here: Local, echo: UUID) -> None:
    for _ in range(6):
        call = asyncio.create_task(here.call(echo, "/sleep", query="seconds=3"))
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert (await here.call(echo)).status == 200


async def test_an_answer_is_taken_in_pieces_as_it_comes(here: Local) -> None:
    lambda_id = await here.started(
        """
import asyncio
from luna_lambda import Response
async def main(request):
    async def pieces():
        for number in range(3):
            yield f"{number}\\n".encode()
            await asyncio.sleep(0.5)
    return Response(pieces())
"""
    )
    async with here.runner.called(lambda_id, HttpCall("GET", "/")) as reply:
        times = [time.monotonic() async for _ in reply.body]
    assert times[-1] - times[0] > 0.8


@pytest.mark.parametrize("method", ["CONNECT", "GET /x HTTP/1.1\r\nX: y\r\n\r\nGET", "", "g"])
async def test_a_verb_that_is_none_is_not_sent(here: Local, echo: UUID, method: str) -> None:
    with pytest.raises(LambdaFailed):
        await here.call(echo, method=method)


@pytest.mark.parametrize("path", ["/a b\r\nX: y", "/\x00", "/a?b", "//double", "no-slash", "/%2e%2e/%00"])
async def test_paths_say_what_they_say(here: Local, echo: UUID, path: str) -> None:
    answer = await here.call(echo, path)
    assert answer.status in (200, 400, 404)
    if answer.status == 200:
        assert answer.json()["method"] == "GET"
        assert not [name for name, _ in answer.json()["headers"] if name == "x"]


async def test_a_lambda_that_is_not_there_is_not_called(here: Local) -> None:
    with pytest.raises(LambdaNotRunning):
        await here.call(UUID(int=1))
