"""Native gRPC through the real Envoy: what passes, what is refused, and what Envoy answers by itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
import pytest_asyncio
import yaml
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from luna.v6 import faces_pb2, images_pb2, lists_pb2, samples_pb2

from gateway.edge import MOST_CALLS, MOST_STREAMS, MOST_WATCHES
from server.errors import Busy, LunaError, Unavailable
from server.rpc.calls import Context, current
from server.rpc.status import message_of
from tests.edge import AUTHORIZATION, KEY, LARGEST, Canned, Edge, envoy, grpc_server, relayed
from tests.ports import free_ports

GET_FACE, DELETE_FACE = "/luna.v6.Faces/GetFace", "/luna.v6.Faces/DeleteFace"
DETECT, LIST_LISTS = "/luna.v6.Samples/DetectFaces", "/luna.v6.Lists/ListLists"
ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"
IMAGE = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=bytes(1 << 20))]).SerializeToString()
FACE = faces_pb2.GetFaceRequest(face_id=ID)
REQUEST_ID = re.compile(r"\d{10},[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LOGIN = tuple(AUTHORIZATION.items())
DETAILS = "grpc-status-details-bin"
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 256 << 10),
    ("grpc.absolute_max_metadata_size", 256 << 10),
]


class Native:
    """A client of a port that calls by path, with whatever metadata."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    def start(self, path: str, request: bytes = b"", *metadata: tuple[str, str | bytes]) -> grpc.aio.UnaryUnaryCall:
        """A call under way."""
        return self.channel.unary_unary(path)(request, metadata=(*LOGIN, *metadata), timeout=20)

    async def call(self, path: str, request: Message | None = None, *metadata: tuple[str, str | bytes]) -> bytes:
        """The bytes of the answer."""
        answer: bytes = await self.start(path, request.SerializeToString() if request else b"", *metadata)
        return answer

    async def fails(self, path: str, data: bytes = b"", *metadata: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
        """The error of a call."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.start(path, data, *metadata)
        return caught.value


@asynccontextmanager
async def native(port: int) -> AsyncIterator[Native]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        yield Native(channel)


@asynccontextmanager
async def coming_from(source: str, port: int) -> AsyncIterator[Native]:
    """A client whose connections to a port come from another address of this machine."""
    async with relayed(port, source) as near, native(near) as client:
        yield client


class Running:
    """An edge, a client of its gRPC port, the servicers behind it and the port of their server."""

    def __init__(self, edge: Edge, client: Native, canned: Canned, port: int) -> None:
        self.edge, self.client, self.canned, self.port = edge, client, canned, port


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def one() -> AsyncIterator[Running]:
    canned = Canned()
    async with grpc_server(canned) as (_, port), envoy([port]) as edge, native(edge.grpc_port) as client:
        yield Running(edge, client, canned, port)


@pytest.fixture
def running(one: Running) -> Running:
    one.canned.answers = {"GetFace": faces_pb2.Face(face_id=ID, user_data="x")}
    one.canned.asked.clear()
    return one


def same(error: grpc.aio.AioRpcError, expected: LunaError, request_id: str) -> None:
    """The error must be the one that a server would have made."""
    status = message_of(expected, request_id)
    trailing = dict(error.trailing_metadata())
    assert (error.code().value[0], error.details()) == (status.code, status.message)
    assert trailing["luna-request-id"] == request_id
    found = status_pb2.Status.FromString(trailing[DETAILS])
    infos = [error_details_pb2.ErrorInfo.FromString(one.details[0].value) for one in (found, status)]
    assert infos[0] == infos[1]
    found.details[0].value = status.details[0].value  # the same entries of a map, in another order
    assert found == status
    assert not any(name.startswith(("luna-reply", "x-envoy")) for name in trailing)


async def test_calls_answers_and_errors_pass_as_they_are(running: Running) -> None:
    call = running.client.start(GET_FACE, FACE.SerializeToString(), ("luna-request-id", "7,mine"))
    assert faces_pb2.Face.FromString(await call) == faces_pb2.Face(face_id=ID, user_data="x")
    assert dict(await call.trailing_metadata())["luna-request-id"] == "7,mine"
    assert not any(name.startswith("x-envoy") for name, _ in await call.initial_metadata())
    error = await running.client.fails(GET_FACE, b"\xff")
    assert (error.code(), error.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT, "the bytes are no luna.v6.GetFaceRequest",
    )  # fmt: skip
    assert DETAILS in dict(error.trailing_metadata())


async def test_too_many_calls_with_images_are_refused_like_by_a_server_and_all_others_go_on() -> None:
    go, arrived = asyncio.Event(), asyncio.Queue[None]()

    async def slow(_request: Message, _context: Context) -> Message:
        arrived.put_nowait(None)
        await go.wait()
        return samples_pb2.DetectFacesResponse()

    canned = Canned({"DetectFaces": slow})
    busy = Busy(message="too many calls are in progress", retry_after=1)
    async with grpc_server(canned) as (_, port), envoy([port], images=2) as edge, native(edge.grpc_port) as client:
        held = [client.start(DETECT, IMAGE) for _ in range(2)]
        for _ in held:
            await asyncio.wait_for(arrived.get(), 10)
        for sent in ("1", "7,mine", 'a"b\\c%1', "x" * 47):
            same(await client.fails(DETECT, IMAGE, ("luna-request-id", sent)), busy, sent)
        for odd in ((), (("luna-request-id", "x" * 48),), (("luna-request-id", "a b"),)):
            error = await client.fails(DETECT, IMAGE, *odd)
            made = str(dict(error.trailing_metadata())["luna-request-id"])
            assert REQUEST_ID.fullmatch(made)
            same(error, busy, made)
        # REST shares the places
        assert (await edge.ask("POST", "/6/detector", b"x", {"content-type": "image/jpeg"})).status == 429
        assert await client.call(LIST_LISTS) == b""
        go.set()
        assert await asyncio.gather(*held) == [b"", b""]
        assert await client.start(DETECT, IMAGE) == b""


async def test_without_a_server_calls_are_unavailable_like_a_servers_own_error() -> None:
    async with envoy(free_ports(1)) as edge, native(edge.grpc_port) as client:
        for path in (GET_FACE, DETECT):
            same(await client.fails(path, b"", ("luna-request-id", "5")), Unavailable(component="the server"), "5")


@pytest.mark.parametrize(
    "path",
    [
        "/luna.facade.Faces/GetFace",
        "/luna.facade.Fallback/Any",
        "/luna.engine.v1.Engine/Detect",
        "/x/y",
        "/luna.v7.A/B",
    ],
)
async def test_what_is_no_service_of_the_api_is_unimplemented_and_reaches_no_server(
    running: Running, path: str
) -> None:
    odd = ("x-envoy-original-path", f"/6/faces/{ID}"), ("x-envoy-original-method", "GET")
    error = await running.client.fails(path, b"", *odd)
    assert (error.code(), error.details()) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    assert running.canned.asked == []
    unknown = await running.client.fails("/luna.v6.Faces/Nothing")
    assert (unknown.code(), unknown.details()) == (error.code(), error.details())


# ------------------------------------------------------------------------------------------- where a client is


async def seen(running: Running, client: Native, *metadata: tuple[str, str]) -> tuple[str, set[str]]:
    """The address that a server takes a client to have, and the names of the headers that it got."""
    found: list[tuple[str, set[str]]] = []

    async def looks(_request: Message, _context: Context) -> Message:
        found.append((current().address, set(current().headers)))
        return faces_pb2.Face()

    running.canned.answers["GetFace"] = looks
    await client.call(GET_FACE, FACE, *metadata)
    return found[0]


FORGED: list[tuple[tuple[str, str], ...]] = [
    (),
    (("luna-client-address", "192.0.2.1"),),
    (("luna-client-address", "192.0.2.1"), ("luna-client-address", "192.0.2.2")),
    (("luna-client-address", "192.0.2.1"), ("luna-edge-key", "x" * 16)),
    (("luna-edge-key", ""), ("luna-client-address", "192.0.2.1"), ("luna-edge-key", "x" * 16)),
    (("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2, 192.0.2.3"), ("forwarded", "for=192.0.2.1")),
    (("x-envoy-external-address", "192.0.2.1"), ("x-envoy-internal", "true"), ("x-real-ip", "192.0.2.1")),
]


@pytest.mark.parametrize("metadata", FORGED)
async def test_a_native_client_has_the_address_that_envoy_saw_whatever_it_says(
    running: Running, metadata: tuple[tuple[str, str], ...]
) -> None:
    async with coming_from("127.0.0.2", running.edge.grpc_port) as client:
        address, headers = await seen(running, client, *metadata)
    assert address == "127.0.0.2"
    assert "luna-edge-key" not in headers
    assert not {name for name in headers if name.startswith(("x-envoy-", "x-forwarded-for"))}


@pytest.mark.parametrize("metadata", FORGED)
async def test_a_client_of_a_servers_own_port_is_judged_by_its_connection(
    running: Running, metadata: tuple[tuple[str, str], ...]
) -> None:
    async with coming_from("127.0.0.3", running.port) as client:
        address, headers = await seen(running, client, *metadata)
    assert address == "127.0.0.3"
    assert not {"luna-edge-key", "luna-client-address"} & headers


@pytest.mark.parametrize(("key", "address"), [(KEY, "127.0.0.2"), (KEY + "x", "127.0.0.1"), (None, "127.0.0.1")])
async def test_the_address_is_believed_of_envoy_with_the_key_alone(
    running: Running, key: str | None, address: str
) -> None:
    async with envoy([running.port], key=key) as edge, coming_from("127.0.0.2", edge.grpc_port) as client:
        assert (await seen(running, client, ("luna-edge-key", "x" * 16)))[0] == address


async def test_nobody_can_tell_envoy_what_to_do(running: Running) -> None:
    called = 0

    async def slow(_request: Message, _context: Context) -> Message:
        nonlocal called
        called += 1
        await asyncio.sleep(0.3)
        return faces_pb2.Face()

    running.canned.answers["GetFace"] = slow
    orders = (
        ("x-envoy-upstream-rq-timeout-ms", "10"), ("x-envoy-upstream-rq-per-try-timeout-ms", "10"),
        ("x-envoy-max-retries", "5"), ("x-envoy-retry-on", "5xx,reset"), ("x-envoy-retry-grpc-on", "unavailable"),
    )  # fmt: skip
    assert await running.client.call(GET_FACE, FACE, *orders) == b""
    assert called == 1


# ------------------------------------------------------------------------------------------------------- limits


async def test_messages_have_the_limits_of_the_servers(running: Running) -> None:
    envelope = lists_pb2.ListListsResponse(lists=[lists_pb2.List(user_data="x" * (LARGEST - 100))])
    running.canned.answers["ListLists"] = envelope
    assert await running.client.call(LIST_LISTS) == envelope.SerializeToString()
    async with native(running.port) as direct:
        for client, told in ((running.client, f"larger than {LARGEST} bytes"), (direct, "larger than max")):
            error = await client.fails(DETECT, bytes(LARGEST))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            error = await client.fails(DETECT, bytes(LARGEST + 1))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert told in str(error.details())
            running.canned.answers["ListLists"] = lists_pb2.ListListsResponse(
                lists=[lists_pb2.List(user_data="x" * LARGEST)]
            )
            error = await client.fails(LIST_LISTS)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger than max" in str(error.details())


async def test_requests_that_do_not_end_take_no_place() -> None:
    async def waits() -> AsyncIterator[bytes]:
        yield IMAGE
        await asyncio.sleep(20)

    canned = Canned()
    async with grpc_server(canned) as (_, port), envoy([port], images=2) as edge, native(edge.grpc_port) as client:
        slow = [client.channel.stream_unary(DETECT)(waits(), metadata=LOGIN, timeout=20) for _ in range(8)]
        await asyncio.sleep(0.5)
        assert await client.start(DETECT, IMAGE) == b""
        for call in slow:
            call.cancel()
    assert len(canned.asked) == 1


async def test_metadata_has_the_limit_of_the_servers(running: Running) -> None:
    many = tuple((f"odd-{number}-bin", bytes(range(200))) for number in range(200))
    assert faces_pb2.Face.FromString(await running.client.call(GET_FACE, FACE, *many)).face_id == ID
    error = await running.client.fails(GET_FACE, b"", *((f"odd-{number}", "x" * (20 << 10)) for number in range(5)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert faces_pb2.Face.FromString(await running.client.call(GET_FACE, FACE)).face_id == ID


async def test_a_deadline_ends_the_call_in_the_server_too(running: Running) -> None:
    ended = asyncio.Event()

    async def slow(_request: Message, _context: Context) -> Message:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            ended.set()
            raise
        return faces_pb2.Face()

    running.canned.answers["GetFace"] = slow
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.client.channel.unary_unary(GET_FACE)(FACE.SerializeToString(), metadata=LOGIN, timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(ended.wait(), 5)
    ended.clear()
    call = running.client.start(GET_FACE, FACE.SerializeToString())
    await asyncio.sleep(0.2)
    call.cancel()
    await asyncio.wait_for(ended.wait(), 5)


async def test_clients_may_ask_often_whether_their_connection_lives(running: Running) -> None:
    """GRPC itself would end a connection whose client pings it twice a second."""
    often = [("grpc.keepalive_time_ms", 500), ("grpc.keepalive_permit_without_calls", 1),
             ("grpc.http2.max_pings_without_data", 0), ("grpc.use_local_subchannel_pool", 1)]  # fmt: skip
    target = f"127.0.0.1:{running.edge.grpc_port}"
    async with grpc.aio.insecure_channel(target, options=often) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)
        assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watch.read(), 4)


# ------------------------------------------------------------------------------------------------ several servers


async def test_one_connection_reaches_every_server() -> None:
    first, second = Canned(), Canned()
    async with (
        grpc_server(first) as (_, one),
        grpc_server(second) as (_, two),
        envoy([one, two]) as edge,
        native(edge.grpc_port) as client,
    ):
        for _ in range(40):
            await client.call(GET_FACE, FACE)
    assert len(first.asked) + len(second.asked) == 40
    assert min(len(first.asked), len(second.asked)) >= 5


async def test_a_server_that_is_gone_is_passed_over_by_calls_that_change_something_too() -> None:
    canned = Canned()
    async with (
        grpc_server(canned) as (first, one),
        grpc_server(canned) as (_, two),
        envoy([one, two]) as edge,
        native(edge.grpc_port) as client,
    ):
        for _ in range(10):
            await client.call(GET_FACE, FACE)
        await first.stop(0)
        await asyncio.gather(*(client.call(DELETE_FACE, faces_pb2.DeleteFaceRequest(face_id=ID)) for _ in range(60)))


async def test_a_call_that_a_server_saw_is_not_tried_again_and_those_of_the_other_go_on() -> None:
    counts, go, arrived = [0, 0], asyncio.Event(), asyncio.Queue[None]()

    def slow(number: int) -> Canned:
        async def behaviour(_request: Message, _context: Context) -> Message:
            counts[number] += 1
            arrived.put_nowait(None)
            await go.wait()
            return faces_pb2.Face(face_id=ID)

        return Canned({"GetFace": behaviour})

    async with (
        grpc_server(slow(0)) as (first, one),
        grpc_server(slow(1)) as (_, two),
        envoy([one, two]) as edge,
        native(edge.grpc_port) as client,
    ):
        calls = [client.start(GET_FACE, FACE.SerializeToString()) for _ in range(8)]
        for _ in calls:
            await asyncio.wait_for(arrived.get(), 10)
        before = list(counts)
        await first.stop(0)
        await asyncio.sleep(0.5)
        assert counts == before
        assert min(before) > 0
        go.set()
        ended = await asyncio.gather(*calls, return_exceptions=True)
    failed = [one for one in ended if isinstance(one, grpc.aio.AioRpcError)]
    assert len(failed) == before[0]
    assert all(error.code() is grpc.StatusCode.UNAVAILABLE for error in failed)


# ------------------------------------------------------------------------------------------------ configuration


async def test_calls_with_images_and_streams_have_clusters_of_their_own(running: Running) -> None:
    config = yaml.safe_load(running.edge.config.read_text())["static_resources"]
    most = {
        cluster["name"]: cluster["circuit_breakers"]["thresholds"][0]["max_requests"] for cluster in config["clusters"]
    }
    assert most == {"servers": MOST_CALLS, "images": 100, "streams": MOST_STREAMS, "watches": MOST_WATCHES}
    (manager,) = (
        one["filter_chains"][0]["filters"][0]["typed_config"] for one in config["listeners"] if one["name"] == "grpc"
    )
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]

    def cluster(path: str) -> str:
        for route in routes:
            match = route["match"]
            if path == match.get("path") or path.startswith(match.get("prefix", "no path")):
                return str(route.get("route", {"cluster": "nobody"})["cluster"])
        return "nobody"

    for path in (DETECT, "/luna.v6.Sdk/Estimate", "/luna.v6.Iso/CheckImages", "/luna.v6.Liveness/PredictLiveness"):
        assert cluster(path) == "images"
    for path in (GET_FACE, "/luna.v6.Samples/GetSample", "/luna.v6.Attributes/ExtractAttributes", DETECT + "s"):
        assert cluster(path) == "servers"
    assert cluster("/grpc.health.v1.Health/Check") == "servers"
    for path in ("/grpc.health.v1.Health/Watch", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"):
        assert cluster(path) == "watches"  # everybody may have them: they take no subscriber's place
    assert cluster("/luna.v6.Subscriptions/Subscribe") == "streams"
    for path in ("/luna.facade.Samples/DetectFaces", "/luna.engine.v1.Engine/Detect", "/lunaXv6.Faces/GetFace", "/"):
        assert cluster(path) == "nobody"
    streams = [route["route"] for route in routes if route.get("route", {}).get("cluster") in {"streams", "watches"}]
    assert {one["timeout"] for one in streams} == {"0s"}
    assert manager["stream_idle_timeout"] == "0s"
