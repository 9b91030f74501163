"""The engine of another process, used like one of this process."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import grpc
from luna.engine.v1 import engine_pb2 as pb
from luna.engine.v1 import engine_pb2_grpc

from server.certificates import CertificateUnusable, mistrust
from server.domain import deadline
from server.domain.descriptors import Calibration
from server.domain.engine import Look
from server.domain.vision import DetectedBody, DetectedFace, DetectedImage, Estimation, ExtractedDescriptor
from server.errors import LunaError, Unavailable
from server.inference.credentials import SeveralEngines, trusted
from server.inference.failures import COMPONENT, error_of
from server.inference.guard import REQUEST_ID, SECRET, SERVICE, VERSION
from server.inference.messages import from_message, to_estimations, to_message
from server.rpc import calls
from server.rpc.options import METADATA_BYTES, PING_MS
from server.settings import Engine

log = logging.getLogger(__name__)

START_SECONDS = 60.0
"""How long the start of a server waits for the engine."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

Aggregate = Callable[[Sequence[ExtractedDescriptor]], ExtractedDescriptor]
Asked = Callable[[str, str, float], None]
"""Is told of each call: the method of the port, `ok`, `cancelled` or the reason of an error, and seconds."""

_LOOK = Look()

_GROUP = 64
"""Samples in one message."""

_POLICY = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": SERVICE},
    # what an engine has not answered is asked once more, of another engine where there is one
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 2,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}


class EngineUnreachable(Exception):
    """A server cannot start, because its shared engine does not answer or does not let it in."""


class _Method(Protocol[T_contra, T_co]):
    """A unary method of a stub."""

    def __call__(
        self,
        request: T_contra,
        /,
        *,
        timeout: float | None,
        metadata: Sequence[tuple[str, str | bytes]],
        wait_for_ready: bool,
    ) -> Awaitable[T_co]: ...


class RemoteEngine:
    """Port `server.domain.engine.Engine` over `luna.engine.v1`.

    Several engines take turns (round robin); one that does not serve is left out until its health is good again. Calls
    carry the deadline of the call in progress and end with it; a call that is cancelled here is cancelled there.
    `start` before use, `close` after it.

    Args:
        settings: address, secret and the longest wait for an answer.
        max_message_bytes: largest message.
        aggregate: what `Engine.aggregate` does; it needs no network and stays in this process.
        asked: is told of each call.

    Raises:
        EngineUnreachable: several engines are given in a way that gRPC cannot use, or the file of the authorities
            that they are known by is no good.
    """

    def __init__(
        self, settings: Engine, *, max_message_bytes: int, aggregate: Aggregate, asked: Asked | None = None
    ) -> None:
        self._address = settings.address
        self._secret = settings.secret
        self._longest = settings.timeout_seconds
        self._aggregate = aggregate
        self._asked = asked
        self._version: int | None = None
        self._needs: Mapping[str, str] = {}
        self._calibrations: Mapping[int, Calibration] = {}
        self._places = 1
        self._channel = _channel(settings, max_message_bytes)
        self._stub = engine_pb2_grpc.InferenceStub(self._channel)

    @property
    def descriptor_version(self) -> int:
        """Version of the face descriptors; the engine's at `start`, and from then on no other one is taken."""
        if self._version is None:
            raise Unavailable(component=COMPONENT)
        return self._version

    @property
    def calibrations(self) -> Mapping[int, Calibration]:
        """Calibrations that were measured for the engine's models; as of the last `start` or `ready`."""
        return self._calibrations

    @property
    def places(self) -> int:
        """Images that all engines together work on and keep waiting."""
        return self._places

    async def start(self, seconds: float = START_SECONDS) -> None:
        """Wait until the engine serves, and learn what.

        Raises:
            EngineUnreachable: it does not within `seconds`, or refuses the secret.
        """
        try:
            info = await self._stub.GetInfo(
                pb.GetInfoRequest(), timeout=seconds, metadata=self._metadata(), wait_for_ready=True
            )
        except grpc.aio.AioRpcError as failed:
            why = self._why(failed, seconds)
            if failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                why += await self._mistrusted()
            raise EngineUnreachable(why) from failed
        self._version = info.descriptor_version
        self._learn(info)

    async def _mistrusted(self) -> str:
        """What is wrong with its certificate, if that kept this server waiting; only who does not wait is told."""
        try:
            await self._stub.GetInfo(pb.GetInfoRequest(), timeout=1, metadata=self._metadata(), wait_for_ready=False)
        except grpc.aio.AioRpcError as failed:
            why = mistrust(failed.details() or "")
            return f": {why} (LUNA_ENGINE__CA, LUNA_ENGINE__NAME)" if why else ""
        return ""

    async def close(self) -> None:
        """Close the connections; calls that are under way end."""
        await self._channel.close()

    async def ready(self) -> bool:
        """Ask the engine whether it serves, and learn anew what: it may have come back with other packs.

        Raises:
            LunaError: it does not answer.
        """
        info = await self._call("info", self._stub.GetInfo, pb.GetInfoRequest())
        self._learn(info)
        return info.descriptor_version == self._version

    def needs(self, subject: Estimation | str) -> str | None:
        """What must be installed or switched on; as of the last `start` or `ready`."""
        word = subject.value if isinstance(subject, Estimation) else subject
        return self._needs.get(word, "an engine of the version of this server") or None

    async def detect(self, image: bytes, look: Look = _LOOK) -> DetectedImage:
        """As `Engine.detect`."""
        request = pb.DetectRequest(image=image, look=to_message(look, pb.Look))
        answer = await self._call("detect", self._stub.Detect, request)
        return from_message(DetectedImage, answer.image)

    async def inspect(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedFace:
        """As `Engine.inspect`."""
        request = pb.InspectRequest(sample=sample, estimations=to_estimations(estimations))
        answer = await self._call("inspect", self._stub.Inspect, request)
        return from_message(DetectedFace, answer.face)

    async def inspect_body(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedBody:
        """As `Engine.inspect_body`."""
        request = pb.InspectBodyRequest(sample=sample, estimations=to_estimations(estimations))
        answer = await self._call("inspect_body", self._stub.InspectBody, request)
        return from_message(DetectedBody, answer.body)

    async def describe(self, samples: Sequence[bytes], *, version: int | None = None) -> list[ExtractedDescriptor]:
        """As `Engine.describe`."""
        wanted = version or self.descriptor_version
        described: list[ExtractedDescriptor] = []
        for begin in range(0, len(samples), _GROUP):
            request = pb.DescribeRequest(samples=samples[begin : begin + _GROUP], version=wanted)
            answer = await self._call("describe", self._stub.Describe, request)
            described += [from_message(ExtractedDescriptor, one) for one in answer.descriptors]
        return described

    async def normalise(self, image: bytes, *, width: int, height: int) -> bytes:
        """As `Engine.normalise`."""
        request = pb.NormaliseRequest(image=image, width=width, height=height)
        return (await self._call("normalise", self._stub.Normalise, request)).image

    async def to_jpeg(self, image: bytes) -> bytes:
        """As `Engine.to_jpeg`."""
        return (await self._call("to_jpeg", self._stub.ToJpeg, pb.ToJpegRequest(image=image))).image

    def aggregate(self, descriptors: Sequence[ExtractedDescriptor]) -> ExtractedDescriptor:
        """As `Engine.aggregate`."""
        return self._aggregate(descriptors)

    async def _call(self, kind: str, method: _Method[T, T_co], request: T) -> T_co:
        left = deadline.remaining()
        seconds = self._longest if left is None else min(left, self._longest)
        async with self._told(kind):
            try:
                return await method(request, timeout=seconds, metadata=self._metadata(), wait_for_ready=False)
            except grpc.aio.AioRpcError as failed:
                if failed.code() is grpc.StatusCode.UNAUTHENTICATED:
                    log.error(self._why(failed, seconds))
                raise error_of(failed) from failed

    @asynccontextmanager
    async def _told(self, kind: str) -> AsyncIterator[None]:
        began, result = time.perf_counter(), "failed"
        try:
            yield
            result = "ok"
        except LunaError as error:
            result = error.reason.lower()
            raise
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        finally:
            if self._asked is not None:
                self._asked(kind, result, time.perf_counter() - began)

    def _metadata(self) -> list[tuple[str, str | bytes]]:
        sent: list[tuple[str, str | bytes]] = []
        if self._secret:
            sent.append((SECRET, self._secret.get_secret_value().encode()))
        if self._version is not None:
            sent.append((VERSION, str(self._version)))
        call = calls.known()
        return sent if call is None else [*sent, (REQUEST_ID, call.request_id)]

    def _learn(self, info: pb.GetInfoResponse) -> None:
        if info.descriptor_version != self._version:
            log.error(
                "the engine at %s makes descriptors of version %d now, and this server was started with %d: restart it",
                self._address,
                info.descriptor_version,
                self._version,
            )
        self._needs = dict(info.needs)
        self._calibrations = {one.version: Calibration(one.steepness, one.midpoint) for one in info.calibrations}
        self._places = max(1, info.places * len(self._address.split(",")))

    def _why(self, failed: grpc.aio.AioRpcError, seconds: float) -> str:
        if failed.code() is grpc.StatusCode.UNAUTHENTICATED:
            return f"The engine at {self._address} refuses this server: LUNA_ENGINE__SECRET is not the engine's"
        if failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"The engine at {self._address} (LUNA_ENGINE__ADDRESS) did not serve within {seconds:g} s"
        return f"The engine at {self._address} (LUNA_ENGINE__ADDRESS) cannot be used: {failed.details()}"


def _channel(settings: Engine, max_message_bytes: int) -> grpc.aio.Channel:
    to, options = target(settings.address), _options(max_message_bytes)
    try:
        tls = trusted(settings)
    except SeveralEngines as error:
        message = "LUNA_ENGINE__NAME is empty: several engines by TLS have one name in all of their certificates"
        raise EngineUnreachable(message) from error
    except CertificateUnusable as error:
        raise EngineUnreachable(str(error)) from error
    if tls is None:
        return grpc.aio.insecure_channel(to, options=options)
    credentials, more = tls
    return grpc.aio.secure_channel(to, credentials, options=[*options, *more])


def target(address: str) -> str:
    """The target of a channel: one name or address with its port, or several IP addresses with theirs.

    A name stands for all of its addresses; gRPC takes no list of names.

    Raises:
        EngineUnreachable: several are given, and not all are IP addresses of one family with a port.
    """
    addresses = [one.strip() for one in address.split(",")]
    if len(addresses) == 1:
        return f"dns:///{addresses[0]}"
    families = {_family(one) for one in addresses}
    if len(families) > 1 or None in families:
        message = f"LUNA_ENGINE__ADDRESS: several engines are IP addresses with ports, or one name of all: {address}"
        raise EngineUnreachable(message)
    return f"ipv{families.pop()}:{','.join(addresses)}"


def _family(address: str) -> int | None:
    host, _, port = address.rpartition(":")
    try:
        return ipaddress.ip_address(host.strip("[]")).version if 0 < int(port) < 65536 else None
    except ValueError:
        return None


def _options(max_message_bytes: int) -> list[tuple[str, int | str]]:
    return [
        ("grpc.service_config", json.dumps(_POLICY)),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_metadata_size", METADATA_BYTES),
        # a message that is larger than this is not sent a second time
        ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
        ("grpc.keepalive_time_ms", PING_MS),
        ("grpc.enable_http_proxy", 0),
        # an engine that comes back is found within two seconds; gRPC alone may wait for two minutes
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
