"""The engine of another process: what a server gets from it, and what happens when it is busy, gone or another one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import cv2
import pytest
import skimage.data

from engines.engine import DefaultEngine
from server.domain.deadline import within
from server.domain.engine import Engine as Port
from server.domain.engine import Look
from server.domain.vision import BODIES, Estimation, Rect
from server.errors import (
    Busy,
    DeadlineExceeded,
    EngineFailure,
    FeatureOff,
    ImageTooLarge,
    LunaError,
    NotAnImage,
    Unavailable,
    VersionNotEstimated,
    WrongSampleSize,
)
from server.inference.remote import EngineUnreachable, RemoteEngine, target
from server.settings import Engine
from tests.engines import LUNA, EngineProcess, client, engine
from tests.packs import default_pack

MAX_PIXELS = 30_000_000


def encoded(height: int = 512, width: int = 512, kind: str = ".jpg") -> bytes:
    """A portrait."""
    picture = cv2.resize(skimage.data.astronaut()[..., ::-1], (width, height))
    return cv2.imencode(kind, picture)[1].tobytes()


PORTRAIT = encoded()
LARGE = encoded(4500, 4500)
"""Keeps a thread busy for two seconds or more."""


@pytest.fixture(scope="module")
async def process() -> AsyncIterator[EngineProcess]:
    async with engine(ENGINE__MAX_PIXELS=str(MAX_PIXELS)) as one:
        yield one


@pytest.fixture(scope="module")
async def remote(process: EngineProcess) -> AsyncIterator[RemoteEngine]:
    async with client(process) as one:
        yield one


@pytest.fixture(scope="module")
async def local() -> AsyncIterator[DefaultEngine]:
    one = DefaultEngine([default_pack()], Engine(landmarks68=True, max_pixels=MAX_PIXELS))
    await one.start()
    yield one
    await one.close()


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(true):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def back(remote: RemoteEngine) -> None:
    """Wait until an engine answers again, be it with an error."""
    end = time.monotonic() + 20
    while True:
        try:
            await remote.to_jpeg(PORTRAIT)
        except Unavailable:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        except EngineFailure:
            return
        else:
            return


async def test_it_gives_what_an_engine_of_the_own_process_gives(remote: RemoteEngine, local: DefaultEngine) -> None:
    port: Port = remote
    subjects: list[Estimation | str] = [*Estimation, BODIES]
    assert [port.needs(one) for one in subjects] == [local.needs(one) for one in subjects]
    assert port.descriptor_version == local.descriptor_version
    served = frozenset(one for one in Estimation if local.needs(one) is None)
    assert Estimation.DESCRIPTOR in served
    for look in (
        Look(),
        Look(estimations=served - {one for one in served if one.of_body}, extract_exif=True),
        Look(face_box=Rect(150, 40, 150, 150), warps=False),
        Look(faces=False),
    ):
        assert await port.detect(PORTRAIT, look) == await local.detect(PORTRAIT, look)
    warp = (await local.detect(PORTRAIT)).faces[0].warp
    asked = frozenset({Estimation.DESCRIPTOR, Estimation.EYES})
    assert await port.inspect(warp, estimations=asked) == await local.inspect(warp, estimations=asked)
    described = await port.describe([warp] * 70)
    assert described == await local.describe([warp] * 70)
    assert port.aggregate(described[:2]) == local.aggregate(described[:2])
    body = encoded(256, 128, ".png")
    assert await port.inspect_body(body) == await local.inspect_body(body)
    assert await port.normalise(body, width=128, height=256) == await local.normalise(body, width=128, height=256)
    assert await port.to_jpeg(body) == await local.to_jpeg(body)
    assert await port.describe([]) == []


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda one: one.detect(b"nothing"), NotAnImage),
        (lambda one: one.detect(encoded(6000, 6000)), ImageTooLarge),
        (lambda one: one.inspect(PORTRAIT), WrongSampleSize),
        (lambda one: one.inspect_body(PORTRAIT), WrongSampleSize),
        (lambda one: one.detect(PORTRAIT, Look(estimations=frozenset({Estimation.EMOTIONS}))), FeatureOff),
        (lambda one: one.describe([PORTRAIT], version=4711), VersionNotEstimated),
    ],
    ids=["no-image", "too-large", "no-sample", "no-body-sample", "feature", "version"],
)
async def test_its_errors_are_those_of_an_engine_of_the_own_process(
    remote: RemoteEngine, local: DefaultEngine, call: Callable[[Port], Awaitable[object]], kind: type[LunaError]
) -> None:
    raised = []
    for one in (remote, local):
        with pytest.raises(kind) as caught:
            await call(one)
        raised.append((type(caught.value), caught.value.detail, caught.value.values))
    assert raised[0] == raised[1]


async def test_a_saturated_engine_refuses_quickly_and_serves_the_rest() -> None:
    async with engine(ENGINE__WORKERS="1", ENGINE__MAX_QUEUE="3") as one, client(one) as remote:
        refused: list[float] = []

        async def ask() -> bool:
            began = time.perf_counter()
            try:
                return len((await remote.detect(PORTRAIT)).faces) == 1
            except Busy as busy:
                refused.append(time.perf_counter() - began)
                assert int(busy.values["retry_after"]) >= 1
                return False

        busy = asyncio.create_task(remote.detect(LARGE))
        await asyncio.sleep(0.3)
        answers = await asyncio.gather(*(ask() for _ in range(20)))
        await busy
        assert answers.count(True) == 3
        assert len(refused) == 17
        # far below the second that a call would have waited; the machine is busy with other things as well
        assert sorted(refused)[8] < 0.25
        found = one.metrics()
        assert found["luna_engine_turns_total", "detect", "busy"] == 17
        assert found["luna_engine_turns_total", "detect", "ok"] == 4
        assert found["luna_engine_queue_length",] == 0


async def test_what_is_cancelled_here_is_never_worked_on_there() -> None:
    async with engine(ENGINE__WORKERS="1") as one, client(one) as remote:
        first = asyncio.create_task(remote.detect(LARGE))
        await asyncio.sleep(0.3)
        waiting = [asyncio.create_task(remote.detect(PORTRAIT)) for _ in range(3)]
        await until(lambda: one.metrics()["luna_engine_queue_length",] == 3)
        for task in waiting:
            task.cancel()
        await until(lambda: one.metrics()["luna_engine_queue_length",] == 0)
        assert not first.done()
        await first
        assert [task.cancelled() for task in waiting] == [True] * 3
        found = one.metrics()
        assert found["luna_engine_turns_total", "detect", "cancelled"] == 3
        assert found["luna_engine_queue_seconds_count", "detect"] == 1


async def test_a_deadline_of_the_server_ends_the_work_that_waits_there() -> None:
    async with engine(ENGINE__WORKERS="1") as one, client(one) as remote:
        first = asyncio.create_task(remote.detect(LARGE))
        await asyncio.sleep(0.3)
        with pytest.raises((TimeoutError, DeadlineExceeded)):
            async with within(0.2):
                await remote.detect(PORTRAIT)
        await until(lambda: one.metrics()["luna_engine_queue_length",] == 0)
        await first
        assert one.metrics()["luna_engine_queue_seconds_count", "detect"] == 1


async def test_an_engine_that_is_killed_is_unavailable_and_comes_back_by_itself() -> None:
    async with engine() as one, client(one) as remote:
        await remote.detect(PORTRAIT)
        one.end(signal.SIGKILL)
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                await remote.detect(PORTRAIT)
            assert (caught.value.code, caught.value.status) == (11, 502)
            assert time.monotonic() - began < 3
        with pytest.raises(Unavailable):
            await remote.ready()
        one.start()
        await back(remote)
        assert len((await remote.detect(PORTRAIT)).faces) == 1
        assert await remote.ready()


async def test_an_engine_that_comes_back_with_other_descriptors_is_refused() -> None:
    async with engine() as one, client(one) as remote:
        version = remote.descriptor_version
        one.end()
        one.start(ENGINE__FLIP_AVERAGING="true")
        async with client(one) as other:
            assert other.descriptor_version != version
            assert await other.ready()
        await back(remote)
        with pytest.raises(
            EngineFailure, match=f"version {other.descriptor_version}, and the server expects {version}"
        ):
            await remote.detect(PORTRAIT)
        assert remote.descriptor_version == version


async def test_of_two_engines_both_work_and_one_may_die() -> None:
    async with engine(ENGINE__WORKERS="1") as one, engine(ENGINE__WORKERS="1") as two, client(one, two) as remote:
        for _ in range(40):
            await remote.to_jpeg(PORTRAIT)
            if all(each.metrics().get(("luna_engine_turns_total", "to_jpeg", "ok"), 0) > 2 for each in (one, two)):
                break
        else:
            raise AssertionError("one of them never worked")
        calls = [asyncio.create_task(remote.detect(PORTRAIT)) for _ in range(8)]
        await asyncio.sleep(0.1)
        one.end(signal.SIGKILL)
        # those that were in the killed one are asked again of the other
        assert [len(found.faces) for found in await asyncio.gather(*calls)] == [1] * 8
        for _ in range(10):
            assert len((await remote.detect(PORTRAIT)).faces) == 1


async def test_an_engine_that_is_stopped_finishes_what_it_has_begun() -> None:
    async with engine(GRPC__DRAIN_SECONDS="100") as one, client(one) as remote:
        begun = asyncio.create_task(remote.detect(LARGE))
        await asyncio.sleep(0.3)
        # it waits for the call and not for the connection, which stays
        assert await asyncio.to_thread(one.end, signal.SIGTERM) == 0
        assert ((await begun).width, (await begun).height) == (4500, 4500)


async def test_a_wrong_secret_is_refused_at_the_start_and_later(process: EngineProcess) -> None:
    for secret in ("another secret", "", "ä"):
        with pytest.raises(EngineUnreachable, match="LUNA_ENGINE__SECRET"):
            async with client(process, secret=secret):
                pass
    async with client(process, secret="another secret", start=False) as stranger:
        with pytest.raises(Unavailable):
            await stranger.to_jpeg(PORTRAIT)


async def test_a_server_tells_clearly_that_nobody_is_there() -> None:
    async with client(EngineProcess(), start=False) as remote:
        with pytest.raises(Unavailable):
            _ = remote.descriptor_version
        began = time.monotonic()
        with pytest.raises(EngineUnreachable, match=r"\(LUNA_ENGINE__ADDRESS\) did not serve within 0.5 s"):
            await remote.start(0.5)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("secret", [{}, {"LUNA_ENGINE__SECRET": ""}], ids=["none", "empty"])
def test_an_engine_that_others_reach_does_not_start_without_a_secret(secret: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNA_")}
    ended = subprocess.run(
        [LUNA, "engine"],
        env={**environment, "LUNA_ENGINE__HOST": "0.0.0.0", **secret},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "LUNA_ENGINE__SECRET" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("engine.example.com:50041", "dns:///engine.example.com:50041"),
        ("10.0.0.5:50041", "dns:///10.0.0.5:50041"),
        ("10.0.0.5:50041, 10.0.0.6:50041", "ipv4:10.0.0.5:50041,10.0.0.6:50041"),
        ("[::1]:1,[::2]:2", "ipv6:[::1]:1,[::2]:2"),
    ],
)
def test_addresses_are_targets_of_grpc(address: str, expected: str) -> None:
    assert target(address) == expected


@pytest.mark.parametrize("address", ["a:1,b:2", "10.0.0.5:1,[::1]:1", "10.0.0.5,10.0.0.6", "10.0.0.5:0,10.0.0.6:1"])
def test_lists_that_grpc_cannot_take_are_refused(address: str) -> None:
    with pytest.raises(EngineUnreachable, match="LUNA_ENGINE__ADDRESS"):
        target(address)
