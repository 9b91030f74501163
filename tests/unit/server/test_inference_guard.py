"""What a shared engine does with calls around the engine itself: the secret, ids, deadlines, unknown errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from luna.engine.v1 import engine_pb2 as pb
from luna.engine.v1 import engine_pb2_grpc

from server.domain.deadline import remaining
from server.domain.descriptors import Calibration
from server.domain.engine import Engine
from server.errors import DeadlineExceeded, Internal
from server.inference.failures import error_of
from server.inference.guard import REQUEST_ID, SECRET, Guard
from server.inference.remote import RemoteEngine
from server.inference.service import InferenceService
from server.rpc.calls import Call, enter
from server.settings import Engine as Settings

PRIVATE = "the picture of a person"
CALLER = "1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a"


class Odd:
    """An engine whose two methods do what no engine should, and tell of the deadline."""

    descriptor_version = 1001
    calibrations: ClassVar[Mapping[int, Calibration]] = {1003: Calibration(20.0, 0.9)}
    places = 12

    def __init__(self) -> None:
        self.left: float | None = None

    def needs(self, subject: object) -> str | None:
        return None

    async def to_jpeg(self, image: bytes) -> bytes:
        raise RuntimeError(PRIVATE)

    async def normalise(self, image: bytes, *, width: int, height: int) -> bytes:
        self.left = remaining()
        await asyncio.sleep(30)
        return image


@asynccontextmanager
async def serving(engine: Odd, secret: str | None = None) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=[Guard(secret, engine.descriptor_version)])
    engine_pb2_grpc.add_InferenceServicer_to_server(InferenceService(cast("Engine", engine)), server)
    health = HealthServicer()
    for name in ("", "luna.engine.v1.Inference"):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def remote_of(address: str, **settings: Any) -> AsyncIterator[RemoteEngine]:
    told: list[tuple[str, str]] = []
    remote = RemoteEngine(
        Settings(address=address, **settings),
        max_message_bytes=1 << 20,
        aggregate=lambda descriptors: descriptors[0],
        asked=lambda kind, result, _: told.append((kind, result)),
    )
    remote.told = told  # type: ignore[attr-defined]
    await remote.start()
    yield remote
    await remote.close()


async def test_an_unknown_exception_tells_the_id_of_the_request_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    enter(Call("luna.v6.Images.CreateImage", CALLER))
    async with serving(Odd()) as address, remote_of(address) as remote:
        with pytest.raises(Internal) as caught, caplog.at_level(logging.ERROR):
            await remote.to_jpeg(b"")
        assert remote.told == [("to_jpeg", "internal")]  # type: ignore[attr-defined]
    assert caught.value.values == {"request_id": CALLER}
    cause = caught.value.__cause__
    assert isinstance(cause, grpc.aio.AioRpcError)
    assert PRIVATE not in f"{cause.details()}{cause.trailing_metadata()}"
    assert CALLER in caplog.text


async def test_a_call_without_a_deadline_has_that_of_the_settings() -> None:
    odd = Odd()
    async with serving(odd) as address, remote_of(address, timeout_seconds=0.3) as remote:
        with pytest.raises(DeadlineExceeded):
            await remote.normalise(b"", width=1, height=1)
        assert remote.told == [("normalise", "deadline_exceeded")]  # type: ignore[attr-defined]
    assert odd.left is not None
    # gRPC sends whole milliseconds, rounded up
    assert 0 < odd.left <= 0.31


async def test_a_server_learns_calibrations_and_places_of_every_engine() -> None:
    async with serving(Odd()) as address, remote_of(address) as remote:
        assert (remote.calibrations, remote.places) == (Odd.calibrations, Odd.places)


@pytest.mark.parametrize("sent", [None, b"", b"wrong", b"hunter22", b"\xff\x00"])
async def test_without_the_secret_no_method_is_served_but_health(sent: bytes | None) -> None:
    async with serving(Odd(), "hunter2") as address, grpc.aio.insecure_channel(address) as channel:
        stub = engine_pb2_grpc.InferenceStub(channel)
        metadata = () if sent is None else ((SECRET, sent),)
        for method, request in (
            (stub.GetInfo, pb.GetInfoRequest()),
            (stub.Detect, pb.DetectRequest()),
            (stub.Inspect, pb.InspectRequest()),
            (stub.InspectBody, pb.InspectBodyRequest()),
            (stub.Describe, pb.DescribeRequest()),
            (stub.Normalise, pb.NormaliseRequest()),
            (stub.ToJpeg, pb.ToJpegRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(request, metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        check = health_pb2_grpc.HealthStub(channel).Check
        assert (await check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        info = await stub.GetInfo(pb.GetInfoRequest(), metadata=((SECRET, b"hunter2"),))
        assert info.descriptor_version == 1001


async def test_a_request_id_that_cannot_be_one_is_replaced() -> None:
    async with serving(Odd()) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            stub = engine_pb2_grpc.InferenceStub(channel)
            await stub.ToJpeg(pb.ToJpegRequest(), metadata=((REQUEST_ID, "x" * 99),))
    error = error_of(caught.value)
    assert isinstance(error, Internal)
    assert "xx" not in error.values["request_id"]
