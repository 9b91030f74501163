"""What clients can make Envoy hold: connections and memory are bounded, and others are served all the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
from luna.v6 import documents_pb2, faces_pb2, faces_pb2_grpc

from tests.edge import AUTHORIZATION, LARGEST, Canned, Edge, envoy, grpc_server
from tests.ports import free_ports

ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"
PATH = f"/6/faces/{ID}"
SPECIFICATION = "/luna.v6.Documents/GetSpecification"
DETECT = "/luna.v6.Samples/DetectFaces"
LOGIN = tuple(AUTHORIZATION.items())
MEMORY = 128 << 20
UNFINISHED, CLIENTS = 7 << 20, 60
"""Bytes that each of so many clients sends of a body: more than three times the memory."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def allocated(edge: Edge) -> int:
    """Bytes of Envoy's heap that are in use."""
    address = edge.config.with_name("admin.address").read_text()
    with urllib.request.urlopen(f"http://{address}/memory", timeout=10) as answer:
        return int(json.load(answer)["allocated"])


async def most_allocated(edge: Edge, until: asyncio.Future[object]) -> int:
    """The most that Envoy holds until something is done."""
    most = 0
    while not until.done():
        most = max(most, await asyncio.to_thread(allocated, edge))
        await asyncio.wait([until], timeout=0.1)
    return most


async def comes_to(edge: Edge, state: Callable[[int], bool]) -> bool:
    """True where what Envoy holds is so within some seconds."""
    for _ in range(150):
        if state(await asyncio.to_thread(allocated, edge)):
            return True
        await asyncio.sleep(0.1)
    return False


async def native(edge: Edge) -> str:
    """The code of a call by gRPC on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.grpc_port}", options=options) as channel:
        try:
            await faces_pb2_grpc.FacesStub(channel).GetFace(
                faces_pb2.GetFaceRequest(face_id=ID), metadata=LOGIN, timeout=10
            )
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return "OK"


@contextlib.asynccontextmanager
async def connected(port: int, count: int) -> AsyncIterator[list[Connection]]:
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        yield connections
    finally:
        for _, writer in connections:
            writer.close()


async def closed(connection: Connection) -> bool:
    """True where the other end has closed a connection on which nothing was sent."""
    try:
        return await asyncio.wait_for(connection[0].read(1), 1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


async def test_no_more_connections_are_taken_than_allowed_and_those_that_are_go_on() -> None:
    async with grpc_server(Canned()) as (_, port), envoy([port], connections=5) as edge:
        await asyncio.sleep(0.2)  # until the connection that has found it ready is gone
        async with connected(edge.port, 5) as held, connected(edge.port, 2) as refused:
            assert [await closed(one) for one in refused] == [True, True]
            reader, writer = held[-1]
            writer.write(b"GET /6/version HTTP/1.1\r\nhost: edge\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"200"
            assert await native(edge) == "OK"
        await asyncio.sleep(0.2)
        assert (await edge.ask("GET", PATH)).status == 200


async def test_envoy_outlives_more_connections_than_it_has_files_for() -> None:
    (nobody,) = free_ports(1)
    upgrade = b"GET /6/ws HTTP/1.1\r\nhost: edge\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    async with grpc_server(Canned()) as (_, port), envoy([port], connections=20, sockets=[nobody]) as edge:
        files = 64 + 16 + 4 * 20
        assert len(list(Path(f"/proc/{edge.pid}/fd").iterdir())) < files  # noqa: ASYNC240 not a disk
        resource.prlimit(edge.pid, resource.RLIMIT_NOFILE, (files, files))
        async with connected(edge.port, files) as held, connected(edge.grpc_port, files):
            await asyncio.sleep(3)  # Envoy asks for the health of servers every 2 seconds
            for _, writer in held[:20]:
                writer.write(upgrade)
            answers = [(await asyncio.wait_for(reader.readline(), 10)).split()[1] for reader, _ in held[:20]]
            assert b"502" in answers  # nobody is there, and Envoy has looked
        await asyncio.sleep(0.5)
        assert (await edge.ask("GET", PATH)).status == 200


async def test_bodies_that_do_not_end_take_no_more_memory_than_allowed_and_others_are_served() -> None:
    head = (
        f"POST /6/detector HTTP/1.1\r\nhost: edge\r\ncontent-type: image/jpeg\r\ncontent-length: {LARGEST - 4096}\r\n"
    )

    async def flood(connection: Connection) -> None:
        with contextlib.suppress(ConnectionError):
            connection[1].write(f"{head}\r\n".encode())
            for _ in range(UNFINISHED >> 16):
                connection[1].write(bytes(1 << 16))
                await connection[1].drain()

    async with (
        grpc_server(Canned()) as (_, port),
        envoy([port], memory_bytes=MEMORY) as edge,
        connected(edge.port, CLIENTS) as connections,
    ):
        flooding = asyncio.gather(*map(flood, connections))
        assert await most_allocated(edge, flooding) < 1.5 * MEMORY
        await asyncio.sleep(0.5)
        assert (await edge.ask("GET", PATH)).status == 200
        assert await native(edge) == "OK"


async def test_messages_that_do_not_end_take_no_more_memory_than_allowed_and_others_are_served() -> None:
    async with grpc_server(Canned()) as (_, port), envoy([port], memory_bytes=MEMORY) as edge:
        target = f"127.0.0.1:{edge.grpc_port}"
        async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:

            async def flood() -> str:
                call = channel.stream_unary(DETECT)(metadata=LOGIN, timeout=60)
                try:
                    for _ in range(UNFINISHED >> 18):
                        await call.write(bytes(1 << 18))
                    await asyncio.sleep(0.5)
                    return "held"
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    return "ended"
                finally:
                    call.cancel()

            flooding = asyncio.gather(*(flood() for _ in range(CLIENTS)))
            assert await most_allocated(edge, flooding) < 1.5 * MEMORY
            assert "ended" in await flooding
        assert await native(edge) == "OK"
        assert (await edge.ask("GET", PATH)).status == 200


async def test_as_many_of_the_largest_bodies_as_there_is_room_for_all_pass() -> None:
    async with grpc_server(Canned()) as (_, port), envoy([port], memory_bytes=4 * MEMORY) as edge:
        body = bytes(LARGEST - 4096)
        asks = (edge.ask("POST", "/6/detector", body, {"content-type": "image/jpeg"}) for _ in range(16))
        assert {answer.status for answer in await asyncio.gather(*asks)} == {201}


async def unread_by_rest(edge: Edge) -> AsyncIterator[None]:
    async with connected(edge.port, 10) as connections:
        for _, writer in connections:
            writer.write(b"GET /docs/spec HTTP/1.1\r\nhost: edge\r\n\r\n")
        yield


async def unread_by_grpc(edge: Edge) -> AsyncIterator[None]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.grpc_port}", options=options) as channel:
        calls = [channel.unary_stream(SPECIFICATION)(b"") for _ in range(10)]
        yield
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("unread", [unread_by_rest, unread_by_grpc])
async def test_answers_that_nobody_reads_are_not_kept(
    unread: Callable[[Edge], AsyncIterator[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.edge.UNUSED_TIMEOUT", "2s")
    monkeypatch.setattr("gateway.grpc_listener.FLUSH_TIMEOUT", "2s")
    long = documents_pb2.Document(data=bytes(LARGEST - 8192), content_type="text/html")
    canned = Canned({"GetSpecification": long})
    async with grpc_server(canned) as (_, port), envoy([port]) as edge:
        before = allocated(edge)
        async with contextlib.asynccontextmanager(unread)(edge):
            assert await comes_to(edge, lambda held: held - before > 5 * LARGEST)
            assert await comes_to(edge, lambda held: held - before < LARGEST)
        assert len(canned.asked) == 10
