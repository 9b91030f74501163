"""Native gRPC as any client meets it: reflection, health, error details, deadlines, sizes and odd metadata."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cv2
import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from luna import options_pb2
from luna.v6 import (
    accounts_pb2,
    accounts_pb2_grpc,
    errors_pb2,
    faces_pb2,
    faces_pb2_grpc,
    images_pb2,
    platform_pb2,
    platform_pb2_grpc,
    samples_pb2,
    samples_pb2_grpc,
)

from server.application import SERVICES
from tests.robustness.faults import stopped, until
from tests.service import Account, Service, running

LARGEST = 32 << 20
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

METHODS = [method for service in SERVICES.values() for method in service.methods]
D = TypeVar("D", bound=Message)


@pytest.fixture(scope="module")
def narrow() -> Iterator[Service]:
    """A service that works on one image, and lets one more wait."""
    with running(ENGINE__WORKERS="1", ENGINE__MAX_QUEUE="1", GRPC__DRAIN_SECONDS="5") as one:
        yield one


@pytest.fixture(scope="module")
def large_image() -> bytes:
    """An image that takes seconds to look at."""
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    large = cv2.resize(noise, (5000, 5000), interpolation=cv2.INTER_LINEAR)
    encoded, data = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert encoded
    return data.tobytes()


def health(channel: grpc.Channel) -> Any:
    """The stub of grpc.health.v1; its type stubs have no methods."""
    return health_pb2_grpc.HealthStub(channel)


def raw(channel: grpc.Channel, path: str) -> Any:
    """A method that is called with bytes."""
    return channel.unary_unary(path)


def failed(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def detail(error: Any, kind: type[D]) -> D | None:
    status = rpc_status.from_call(error)
    for one in status.details if status is not None else ():
        message = kind()
        if one.Unpack(message):
            return message
    return None


def detect(service: Service, account: Account, data: bytes, seconds: float = 60) -> samples_pb2.DetectFacesResponse:
    with service.channel() as channel:
        request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=data)])
        answer: samples_pb2.DetectFacesResponse = samples_pb2_grpc.SamplesStub(channel).DetectFaces(
            request, metadata=account.metadata, timeout=seconds
        )
        return answer


# ------------------------------------------------------------------------------------------ reflection and health


def test_reflection_lists_what_is_served_and_hides_the_facade(service: Service) -> None:
    with service.channel() as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        served = set(database.get_services())
        pool = DescriptorPool(database)
        face = pool.FindMessageTypeByName("luna.v6.Face")
    assert {one.full_name for one in SERVICES.values()} <= served
    assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= served
    assert not any("facade" in name for name in served)
    assert [field.name for field in face.fields] == [field.name for field in faces_pb2.Face.DESCRIPTOR.fields]


def test_health_is_told_for_the_whole_and_for_each_service(service: Service) -> None:
    with service.channel() as channel:
        stub = health(channel)
        for name in ("", *(one.full_name for one in SERVICES.values())):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status == SERVING
        unknown = failed(lambda: stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10))
    assert unknown.code() is grpc.StatusCode.NOT_FOUND


@contextmanager
def watching(service: Service) -> Iterator[queue.Queue[int]]:
    """The statuses that Watch tells, as they come."""
    told: queue.Queue[int] = queue.Queue()
    with service.channel() as channel:
        stream = health(channel).Watch(health_pb2.HealthCheckRequest(), timeout=90)

        def read() -> None:
            try:
                for answer in stream:
                    told.put(answer.status)
            except grpc.RpcError:
                return

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield told
        finally:
            stream.cancel()
            reader.join(10)


def test_watch_sees_the_database_go_and_come_back(narrow: Service) -> None:
    with watching(narrow) as told:
        assert told.get(timeout=10) == SERVING
        with stopped(narrow, "postgres"):
            assert told.get(timeout=15) == NOT_SERVING
        assert told.get(timeout=15) == SERVING


def test_watch_sees_a_server_that_drains_and_running_calls_end_well(narrow: Service, photos: Path) -> None:
    account = narrow.account()
    photo = (photos / "obama.jpg").read_bytes()
    (server,) = narrow.pids("server")
    with watching(narrow) as told, ThreadPoolExecutor(1) as pool:
        assert told.get(timeout=10) == SERVING
        running_call = pool.submit(detect, narrow, account, photo)
        time.sleep(0.03)
        os.kill(server, signal.SIGTERM)
        assert told.get(timeout=10) == NOT_SERVING
        try:
            assert len(running_call.result(timeout=30).images) == 1
        except grpc.RpcError as error:
            # where the signal came before the call
            assert error.code() is grpc.StatusCode.UNAVAILABLE
    until(lambda: narrow.pids("server") not in ([], [server]), 30)
    narrow.wait(30)


# --------------------------------------------------------------------------------------------------- descriptors


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_every_rpc_says_who_may_call_it_and_is_served(service: Service, method: MethodDescriptor) -> None:
    options = method.GetOptions()
    assert options.HasExtension(options_pb2.access)
    access = options.Extensions[options_pb2.access]
    with service.channel() as channel:
        call = raw(channel, f"/{method.containing_service.full_name}/{method.name}")
        try:
            call(b"", timeout=10)
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            code = error.code()
    expected = (
        {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT} if access.open else {grpc.StatusCode.UNAUTHENTICATED}
    )
    assert code in expected


# ------------------------------------------------------------------------------------------------- error details


def test_an_error_carries_a_reason_of_the_protos_and_the_numbers_of_luna(service: Service, account: Account) -> None:
    face_id = str(uuid.uuid4())
    with service.channel() as channel:
        stub = faces_pb2_grpc.FacesStub(channel)
        metadata = (*account.metadata, ("luna-request-id", "42,mine"))
        error = failed(lambda: stub.GetFace(faces_pb2.GetFaceRequest(face_id=face_id), metadata=metadata, timeout=10))
    info = detail(error, error_details_pb2.ErrorInfo)
    assert info is not None
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, f"Face with id '{face_id}' not found")
    assert errors_pb2.ErrorReason.Value(f"ERROR_REASON_{info.reason}") == errors_pb2.ERROR_REASON_FACE_NOT_FOUND
    assert info.domain == "luna"
    assert dict(info.metadata) == {"error_code": "22002", "desc": "Object not found", "request_id": "42,mine"}
    assert detail(error, error_details_pb2.BadRequest) is None
    assert dict(error.trailing_metadata())["luna-request-id"] == "42,mine"


def test_every_wrong_field_is_a_violation(service: Service, account: Account) -> None:
    request = faces_pb2.ListFacesRequest(page=0, page_size=1001, face_ids=["x"], user_data="y" * 129)
    with service.channel() as channel:
        error = failed(
            lambda: faces_pb2_grpc.FacesStub(channel).ListFaces(request, metadata=account.metadata, timeout=10)
        )
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = detail(error, error_details_pb2.BadRequest)
    assert bad is not None
    assert [one.field for one in bad.field_violations] == ["face_ids.0", "user_data", "page", "page_size"]
    assert all(one.description for one in bad.field_violations)


def test_a_full_queue_tells_when_to_come_again(narrow: Service, large_image: bytes) -> None:
    account = narrow.account()
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(detect, narrow, account, large_image) for _ in range(4)]
        errors = [call.exception() for call in calls]
    refused = [error for error in errors if error is not None]
    assert len(refused) == 2, f"{time.monotonic() - began:.1f} s"
    for error in refused:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
        info, retry = detail(error, error_details_pb2.ErrorInfo), detail(error, error_details_pb2.RetryInfo)
        assert info is not None
        assert info.reason == "BUSY"
        assert retry is not None
        assert retry.retry_delay.ToTimedelta().total_seconds() == 1


# --------------------------------------------------------------------------------------- deadlines, cancellation


def test_a_call_that_waits_past_its_deadline_ends_and_leaves_its_place(narrow: Service, large_image: bytes) -> None:
    account = narrow.account()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(detect, narrow, account, large_image)
        time.sleep(0.3)
        for _ in range(2):
            # each takes the one place in the queue, and gives it back
            error = failed(lambda: detect(narrow, account, large_image, 0.2))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert not first.done()
        second = pool.submit(detect, narrow, account, large_image)
        assert second.exception(60) is None
        assert first.exception(60) is None


def test_the_tiniest_deadline_is_kept(service: Service, account: Account) -> None:
    with service.channel() as channel:
        grpc.channel_ready_future(channel).result(10)
        stub = faces_pb2_grpc.FacesStub(channel)
        for _ in range(50):
            error = failed(
                lambda: stub.ListFaces(faces_pb2.ListFacesRequest(), metadata=account.metadata, timeout=1e-6)
            )
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        stub.ListFaces(faces_pb2.ListFacesRequest(), metadata=account.metadata, timeout=10)


def test_cancelled_calls_leave_the_server_as_it_was(service: Service, account: Account, photos: Path) -> None:
    photo = (photos / "obama.jpg").read_bytes()
    (server,) = service.pids("server")
    with service.channel() as channel:
        samples, faces = samples_pb2_grpc.SamplesStub(channel), faces_pb2_grpc.FacesStub(channel)
        calls: list[Any] = []
        for number in range(60):
            if number % 10 == 0:
                request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=photo)])
                calls.append(samples.DetectFaces.future(request, metadata=account.metadata, timeout=30))
            else:
                create = faces_pb2.CreateFaceRequest(external_id="cancelled")
                calls.append(faces.CreateFace.future(create, metadata=account.metadata, timeout=30))
        for number, call in enumerate(calls):
            time.sleep(0.001 * (number % 3))
            call.cancel()
        assert all(call.cancelled() or call.exception() is None for call in calls)
        for _ in range(100):
            listed = faces.ListFaces(faces_pb2.ListFacesRequest(page_size=1000), metadata=account.metadata, timeout=10)
            counted = faces.CountFaces(faces_pb2.CountFacesRequest(), metadata=account.metadata, timeout=10)
            if len(listed.faces) == counted.faces_count:
                break
            time.sleep(0.1)  # a call that came too late to be stopped makes its face between the two
        assert len(listed.faces) == counted.faces_count
        assert health(channel).Check(health_pb2.HealthCheckRequest(), timeout=10).status == SERVING
    assert service.pids("server") == [server]


# -------------------------------------------------------------------------------------------- sizes and metadata


def test_a_message_just_under_the_limit_passes_and_one_above_is_refused(
    service: Service, account: Account, photos: Path
) -> None:
    photo = (photos / "obama.jpg").read_bytes()
    under = LARGEST - 4096
    answer = detect(service, account, photo + bytes(under - len(photo)))
    assert len(answer.images[0].detections.samples) == 1
    with grpc.insecure_channel(service.target, options=[("grpc.max_send_message_length", -1)]) as channel:
        request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=bytes(LARGEST + 1))])
        error = failed(
            lambda: samples_pb2_grpc.SamplesStub(channel).DetectFaces(request, metadata=account.metadata, timeout=60)
        )
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        platform_pb2_grpc.PlatformStub(channel).CheckHealth(platform_pb2.CheckHealthRequest(), timeout=10)


@pytest.mark.parametrize("sent", ["a", "1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a", "!~", "x" * 47])
def test_a_request_id_comes_back_with_success_too(service: Service, sent: str) -> None:
    with service.channel() as channel:
        stub = platform_pb2_grpc.PlatformStub(channel)
        _, call = stub.CheckHealth.with_call(
            platform_pb2.CheckHealthRequest(), metadata=(("luna-request-id", sent),), timeout=10
        )
    assert dict(call.trailing_metadata())["luna-request-id"] == sent


@pytest.mark.parametrize(
    "metadata",
    [
        (("luna-request-id", "x" * 48),),
        (("luna-request-id", "a b"),),
        (("luna-request-id-bin", b"\xff\x00"),),
        (("luna-request-id", "one"), ("luna-request-id", "two"), ("odd", "")),
        (("authorization", "\x7e" * 4000),),
        (("authorization-bin", bytes(range(256))),),
        (("x-envoy-original-path", "/6/faces"), ("x-envoy-original-method", "DELETE")),
        (("luna-account-id", "00000000-0000-0000-0000-000000000000"),),
        tuple((f"odd-{number}-bin", os.urandom(32)) for number in range(200)),
    ],
)  # fmt: skip
def test_odd_metadata_does_no_harm(service: Service, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
    with service.channel() as channel:
        platform = platform_pb2_grpc.PlatformStub(channel)
        _, call = platform.CheckHealth.with_call(platform_pb2.CheckHealthRequest(), metadata=metadata, timeout=10)
        assert dict(call.trailing_metadata())["luna-request-id"]
        accounts = accounts_pb2_grpc.AccountsStub(channel)
        error = failed(lambda: accounts.GetAccount(accounts_pb2.GetAccountRequest(), metadata=metadata, timeout=10))
        assert error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def test_bytes_that_are_no_message_are_refused_and_more_are_served(service: Service, account: Account) -> None:
    with service.channel() as channel:
        call = raw(channel, "/luna.v6.Faces/GetFace")
        for data in (b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe"):
            error = failed(lambda data=data: call(data, metadata=account.metadata, timeout=10))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert error.details() == "the bytes are no luna.v6.GetFaceRequest"
        # what newer clients send and this server does not know is passed over
        error = failed(lambda: call(b"\xfa\x7f\x03abc", metadata=account.metadata, timeout=10))
        info = detail(error, error_details_pb2.ErrorInfo)
        assert info is not None
        assert info.reason == "MISSING_FIELD"


def test_an_unknown_method_is_unimplemented(service: Service) -> None:
    with service.channel() as channel:
        for path in ("/luna.v6.Faces/Nothing", "/luna.v7.Faces/GetFace", "/x/y"):
            error = failed(lambda path=path: raw(channel, path)(b"", timeout=10))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
