"""A client of the service for the commands that use it as anybody would, over gRPC.

Errors:
    ClientError             what a command prints before it ends
      Unreachable           nothing that speaks gRPC answers
      CallFailed            the service answered with an error
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from luna.v6 import (
    attributes_pb2,
    attributes_pb2_grpc,
    faces_pb2,
    faces_pb2_grpc,
    lists_pb2,
    lists_pb2_grpc,
    matcher_pb2_grpc,
    platform_pb2,
    platform_pb2_grpc,
    samples_pb2,
    samples_pb2_grpc,
    sdk_pb2_grpc,
)
from rich.console import Console

from server.certificates import mistrust
from server.edge_client import Trust

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

MAX_MESSAGE_BYTES = 32 << 20
"""Largest message either way: the server's own default (`grpc.max_message_bytes`)."""

GREETING_SECONDS = 5.0
CLEANUP_SECONDS = 10.0

_SILENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class ClientError(Exception):
    """Something that ends a command, said for the person who ran it."""


def complain(error: BaseException) -> None:
    """Print an error and its notes on standard error."""
    console = Console(stderr=True)
    for line in (str(error), *getattr(error, "__notes__", ())):
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)


class Unreachable(ClientError):
    """Nothing answers at the target."""


class CallFailed(ClientError):
    """The service answered with an error.

    Attributes:
        code: gRPC's status code.
        reason: Luna's reason, or the name of the code where the answer is not Luna's.
        from_luna: true where it carries Luna's details.
        retry_after: seconds after which the call may be tried again; None where that does not help.
    """

    def __init__(self, call: str, error: grpc.RpcError) -> None:
        self.code: grpc.StatusCode = error.code()
        self.reason = self.code.name
        self.from_luna = False
        self.retry_after: float | None = None
        fields = ""
        for detail in _details(error):
            if isinstance(detail, error_details_pb2.ErrorInfo):
                self.reason, self.from_luna = detail.reason, True
            elif isinstance(detail, error_details_pb2.RetryInfo):
                self.retry_after = detail.retry_delay.ToMilliseconds() / 1000
            elif isinstance(detail, error_details_pb2.BadRequest):
                fields = "".join(f"; {one.field}: {one.description}" for one in detail.field_violations)
        super().__init__(f"{call} failed with {self.reason}: {error.details()}{fields}")


class Client:
    """A connection to one server, as one account. Safe to use from several threads.

    Args:
        target: host and port of the gRPC server.
        credentials: login and password.
        trust: what is believed of the server; None is plain text.
        seconds: deadline of a call, waiting for a busy server included.
    """

    def __init__(
        self, target: str, credentials: tuple[str, str], trust: Trust | None = None, *, seconds: float = 60.0
    ) -> None:
        self._target = target
        self._trust = trust
        self._seconds = seconds
        basic = base64.b64encode(":".join(credentials).encode()).decode()
        self._metadata = (("authorization", f"Basic {basic}"),)
        self._channel = _channel(target, trust)
        self.platform = platform_pb2_grpc.PlatformStub(self._channel)
        self.samples = samples_pb2_grpc.SamplesStub(self._channel)
        self.sdk = sdk_pb2_grpc.SdkStub(self._channel)
        self.attributes = attributes_pb2_grpc.AttributesStub(self._channel)
        self.faces = faces_pb2_grpc.FacesStub(self._channel)
        self.lists = lists_pb2_grpc.ListsStub(self._channel)
        self.matcher = matcher_pb2_grpc.MatcherStub(self._channel)

    def __enter__(self) -> Self:
        """See that the service is there.

        Raises:
            Unreachable: it is not.
        """
        try:
            self.call(self.platform.GetVersion, platform_pb2.GetVersionRequest(), seconds=GREETING_SECONDS)
        except CallFailed as error:
            self._channel.close()
            if error.code in _SILENT:
                message = f"no service answers at {self._target}: {self._silence(str(error))}"
                raise Unreachable(message) from None
            if not error.from_luna:
                message = f"what answers at {self._target} is not Luna's gRPC port"
                raise Unreachable(message) from None
            raise
        return self

    def _silence(self, error: str) -> str:
        """What may be the matter where nothing answers; gRPC says no more than that, in many words."""
        if self._trust is None:
            return "is `luna up` running there? With TLS it is https://HOST:PORT, and --ca says whom to believe"
        return mistrust(error) or "is `luna up` running there? It may want a certificate: LUNA_TLS__CLIENT_CERTIFICATE"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._channel.close()

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        seconds: float | None = None,
    ) -> Response:
        """Call a method of one of the stubs. A busy server is asked again when it says, until the deadline.

        Raises:
            CallFailed: the service answered with an error, or not in time.
        """
        end = time.monotonic() + (self._seconds if seconds is None else seconds)
        while True:
            try:
                return method(request, timeout=max(0.0, end - time.monotonic()), metadata=self._metadata)
            except grpc.RpcError as error:
                failure = CallFailed(type(request).__name__.removesuffix("Request"), error)
            wait = failure.retry_after
            if wait is None or time.monotonic() + wait >= end:
                raise failure from None
            time.sleep(wait)


class Belongings:
    """What a command has made in the service. It is deleted when the block ends, whatever ends it.

    What is gone already counts as deleted. A failure to delete is raised, or, where the block ends with an error of its
    own, noted on that error.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._deletions: list[Callable[[], object]] = []

    def sample(self, sample_id: str) -> None:
        """Take a sample in."""
        self._add(self._client.samples.DeleteSample, samples_pb2.DeleteSampleRequest(sample_id=sample_id))

    def attribute(self, attribute_id: str) -> None:
        """Take a temporary attribute in."""
        request = attributes_pb2.DeleteAttributeRequest(attribute_id=attribute_id)
        self._add(self._client.attributes.DeleteAttribute, request)

    def face(self, face_id: str) -> None:
        """Take a face in."""
        self._add(self._client.faces.DeleteFace, faces_pb2.DeleteFaceRequest(face_id=face_id))

    def face_list(self, list_id: str) -> None:
        """Take a list in."""
        self._add(self._client.lists.DeleteList, lists_pb2.DeleteListRequest(list_id=list_id))

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete everything, the last first."""
        failure = self._delete()
        if failure is None:
            return
        if error is None:
            raise failure
        error.add_note(f"Not everything could be deleted: {failure}")

    def _add(self, method: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> None:
        self._deletions.append(lambda: self._client.call(method, request, seconds=CLEANUP_SECONDS))

    def _delete(self) -> CallFailed | None:
        first: CallFailed | None = None
        while self._deletions:
            try:
                self._deletions.pop()()
            except CallFailed as failure:
                if failure.code is grpc.StatusCode.NOT_FOUND:
                    continue
                first = first or failure
                if failure.code in _SILENT:
                    break
        return first


def _channel(target: str, trust: Trust | None) -> grpc.Channel:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # passwords and faces go to the target itself, whatever the environment names as a proxy
        ("grpc.enable_http_proxy", 0),
    ]
    if trust is None:
        return grpc.insecure_channel(target, options=options)
    credentials, more = trust.channel()
    return grpc.secure_channel(target, credentials, options=[*options, *more])


def _details(error: grpc.RpcError) -> list[Message]:
    """The details of an error that are known here; none where it is not Luna's."""
    try:
        status = rpc_status.from_call(cast("grpc.Call", error))
    except ValueError:
        return []
    found: list[Message] = []
    for packed in status.details if status is not None else ():
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.BadRequest):
            detail = kind()
            if packed.Unpack(detail):
                found.append(detail)
    return found
