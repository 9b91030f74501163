"""The service that a lambda runs beside, over its own gRPC API.

Every service of the API is an attribute, a typed stub with the methods of its proto:

    face = await request.platform.faces.GetFace(faces_pb2.GetFaceRequest(face_id=...))

Calls act for the account of the lambda, carry the id of the request that they are made for, have a deadline, and raise
`PlatformError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from .calls import request_id
from .errors import PlatformError

if TYPE_CHECKING:
    from luna.v6.attributes_pb2_grpc import AttributesAsyncStub
    from luna.v6.blobs_pb2_grpc import ImagesAsyncStub, ObjectsAsyncStub
    from luna.v6.events_pb2_grpc import EventsAsyncStub
    from luna.v6.faces_pb2_grpc import FacesAsyncStub
    from luna.v6.handlers_pb2_grpc import HandlersAsyncStub
    from luna.v6.lists_pb2_grpc import ListsAsyncStub
    from luna.v6.matcher_pb2_grpc import MatcherAsyncStub
    from luna.v6.samples_pb2_grpc import SamplesAsyncStub
    from luna.v6.sdk_pb2_grpc import SdkAsyncStub
    from luna.v6.verifiers_pb2_grpc import VerifiersAsyncStub

CALL_SECONDS = 30.0
"""Deadline of a call that is given no `timeout`."""
STATUS_KEY = "grpc-status-details-bin"
REQUEST_KEY = "luna-request-id"

Call = Callable[..., Any]


class Platform:
    """Clients of the service, on one connection that is made at the first call.

    Attributes:
        channel: for stubs of services that are no attribute here: `IsoStub(platform.channel)`.
    """

    def __init__(self, target: str, token: str) -> None:
        if not target:
            raise PlatformError("UNAVAILABLE", "the lambda was started without LUNA_LAMBDA_PLATFORM")
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.aio.insecure_channel(target, options=options)
        self.channel = cast("grpc.aio.Channel", _Channel(self._channel, token))

    @cached_property
    def faces(self) -> FacesAsyncStub:
        """Faces and their attributes: luna.v6.faces_pb2."""
        from luna.v6.faces_pb2_grpc import FacesStub

        return FacesStub(self.channel)

    @cached_property
    def lists(self) -> ListsAsyncStub:
        """Lists of faces: luna.v6.lists_pb2."""
        from luna.v6.lists_pb2_grpc import ListsStub

        return ListsStub(self.channel)

    @cached_property
    def attributes(self) -> AttributesAsyncStub:
        """Temporary attributes: luna.v6.attributes_pb2."""
        from luna.v6.attributes_pb2_grpc import AttributesStub

        return AttributesStub(self.channel)

    @cached_property
    def samples(self) -> SamplesAsyncStub:
        """Finding faces, and their samples: luna.v6.samples_pb2."""
        from luna.v6.samples_pb2_grpc import SamplesStub

        return SamplesStub(self.channel)

    @cached_property
    def sdk(self) -> SdkAsyncStub:
        """Estimations of which nothing is stored: luna.v6.sdk_pb2."""
        from luna.v6.sdk_pb2_grpc import SdkStub

        return SdkStub(self.channel)

    @cached_property
    def matcher(self) -> MatcherAsyncStub:
        """Comparing faces, bodies and descriptors: luna.v6.matcher_pb2."""
        from luna.v6.matcher_pb2_grpc import MatcherStub

        return MatcherStub(self.channel)

    @cached_property
    def handlers(self) -> HandlersAsyncStub:
        """Handlers: luna.v6.handlers_pb2."""
        from luna.v6.handlers_pb2_grpc import HandlersStub

        return HandlersStub(self.channel)

    @cached_property
    def events(self) -> EventsAsyncStub:
        """Making, keeping and reading events: luna.v6.events_pb2."""
        from luna.v6.events_pb2_grpc import EventsStub

        return EventsStub(self.channel)

    @cached_property
    def verifiers(self) -> VerifiersAsyncStub:
        """Verifiers: luna.v6.verifiers_pb2."""
        from luna.v6.verifiers_pb2_grpc import VerifiersStub

        return VerifiersStub(self.channel)

    @cached_property
    def images(self) -> ImagesAsyncStub:
        """Stored images: luna.v6.blobs_pb2."""
        from luna.v6.blobs_pb2_grpc import ImagesStub

        return ImagesStub(self.channel)

    @cached_property
    def objects(self) -> ObjectsAsyncStub:
        """Stored bytes of any type: luna.v6.blobs_pb2."""
        from luna.v6.blobs_pb2_grpc import ObjectsStub

        return ObjectsStub(self.channel)

    async def close(self) -> None:
        """End the connection and what is still asked on it."""
        await self._channel.close(None)


class _Channel:
    """A channel as generated stubs use it, whose calls have credentials, a deadline and errors of this package."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._channel = channel
        self._credentials = (("authorization", f"Bearer {token}"),) if token else ()

    def unary_unary(self, *method: Any, **options: Any) -> Call:
        """A method with one answer."""
        call = cast("Call", self._channel.unary_unary(*method, **options))

        async def ask(request: Any, **options: Any) -> Any:
            return await _answered(call(request, **self._completed(options)))

        return ask

    def stream_unary(self, *method: Any, **options: Any) -> Call:
        """A method with many requests and one answer."""
        call = cast("Call", self._channel.stream_unary(*method, **options))

        async def ask(requests: Any, **options: Any) -> Any:
            return await _answered(call(requests, **self._completed(options)))

        return ask

    def unary_stream(self, *method: Any, **options: Any) -> Call:
        """A method with many answers. They come for as long as it is asked, unless it is given a `timeout`."""
        call = cast("Call", self._channel.unary_stream(*method, **options))
        return lambda request, **options: _pieces(call(request, **self._completed({"timeout": None, **options})))

    def stream_stream(self, *method: Any, **options: Any) -> Call:
        """A method with many requests and many answers, likewise."""
        call = cast("Call", self._channel.stream_stream(*method, **options))
        return lambda requests, **options: _pieces(call(requests, **self._completed({"timeout": None, **options})))

    def _completed(self, options: dict[str, Any]) -> dict[str, Any]:
        call_id = request_id.get()
        own = ((REQUEST_KEY, call_id),) if call_id else ()
        metadata = (*self._credentials, *own, *(options.get("metadata") or ()))
        return {"timeout": CALL_SECONDS, **options, "metadata": metadata}


async def _answered(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None


async def _pieces(call: AsyncIterator[Any]) -> AsyncIterator[Any]:
    try:
        async for piece in call:
            yield piece
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None


def _error(error: grpc.aio.AioRpcError) -> PlatformError:
    """What the service said; without its details, what gRPC says."""
    code, detail = error.code().name, error.details() or ""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            for packed in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if packed.Unpack(info):
                    number = info.metadata.get("error_code", "")
                    return PlatformError(
                        code,
                        detail,
                        reason=info.reason,
                        error_code=int(number) if number.isdecimal() else 0,
                        desc=info.metadata.get("desc", ""),
                    )
    return PlatformError(code, detail)
