"""Calls with images are bounded, and what is too much is refused before anybody is asked for anything."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from luna.v6 import events_pb2, faces_pb2, samples_pb2, verifiers_pb2

from server.errors import BadBody, Busy
from server.rpc.admission import Admission, takes_images
from server.rpc.authorization import Authorizer
from server.rpc.dispatcher import Context, Dispatcher
from server.rpc.methods import Method

DETECT = samples_pb2.DESCRIPTOR.services_by_name["Samples"].methods_by_name["DetectFaces"]
GET_FACE = faces_pb2.DESCRIPTOR.services_by_name["Faces"].methods_by_name["GetFace"]


async def nothing(request: Any, context: Any) -> Any:
    raise AssertionError


def method(descriptor: Any) -> Method:
    return Method(descriptor, nothing)


def test_as_many_calls_with_images_are_admitted_as_there_are_places() -> None:
    admission = Admission(2)
    with admission.admitted(method(DETECT)), admission.admitted(method(DETECT)):
        with pytest.raises(Busy) as refused, admission.admitted(method(DETECT)):
            pytest.fail("it was admitted")
        assert float(refused.value.values["retry_after"]) == 1
        with admission.admitted(method(GET_FACE)):
            pass  # calls without images need no place
    with admission.admitted(method(DETECT)):
        pass


def test_a_place_is_free_again_whatever_ends_the_call() -> None:
    admission = Admission(1)
    for failure in (BadBody(field="x", message="y"), asyncio.CancelledError(), KeyboardInterrupt()):
        with pytest.raises(type(failure)), admission.admitted(method(DETECT)):
            raise failure
    with admission.admitted(method(DETECT)):
        pass


@pytest.mark.parametrize(
    "request_type",
    [
        samples_pb2.DetectFacesRequest,
        events_pb2.GenerateEventsRequest,
        events_pb2.GenerateStreamEventsRequest,
        verifiers_pb2.PerformVerificationRequest,
    ],
)
def test_a_place_is_needed_in_whatever_form_images_come(request_type: Any) -> None:
    assert takes_images(request_type.DESCRIPTOR)
    assert not takes_images(verifiers_pb2.VerifyRawRequest.DESCRIPTOR)


async def test_a_refused_call_is_not_even_authorized() -> None:
    asked = []

    class Asked(Authorizer):
        def __init__(self) -> None:
            pass

        async def caller(self, *_: Any) -> Any:
            asked.append(1)
            await asyncio.sleep(10)

    class Unbounded:
        def peer(self) -> str:
            return "ipv4:127.0.0.1:1"

        def time_remaining(self) -> float | None:
            return None

    dispatcher = Dispatcher({}, Asked(), cast("Any", None), Admission(1))

    def call() -> Any:
        request = samples_pb2.DetectFacesRequest()
        context = cast("Context", Unbounded())
        return dispatcher.call(method(DETECT), request, context, headers={}, request_id="1,abc")

    running = asyncio.create_task(call())
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await call()
    assert asked == [1]

    # the caller of the first one goes away, and its place is free
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    again = asyncio.create_task(call())
    await asyncio.sleep(0)
    assert asked == [1, 1]
    again.cancel()
