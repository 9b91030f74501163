"""A real Envoy in front of a gRPC server whose services answer what a test tells them to."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib
import json
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import UUID

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from pydantic import SecretStr

from gateway.edge import render
from gateway.handlers import rest_handlers
from server.domain.access import Principal
from server.domain.accounts import Account, AccountType
from server.domain.audit import AuditEntry, Change
from server.domain.registry import AccountRegistry
from server.domain.tokens import TokenRegistry
from server.errors import CredentialsWrong, TokenNotFound
from server.rpc.authorization import Authorizer
from server.rpc.calls import Context
from server.rpc.dispatcher import Dispatcher
from server.rpc.methods import collect
from server.rpc.native import handlers
from server.settings import Grpc, Lambdas, Rest, Settings, Tls
from tests.ports import free_ports

ACCOUNT = UUID("00000000-0000-4000-8000-000000000001")
AUTHORIZATION = {"authorization": "Basic dTpw"}
"""Login u, password p."""
LARGEST = 8 << 20
KEY = 'one of 100% "odd" characters'
ENVOY = str(Path(sys.executable).with_name("envoy"))

Answer = Callable[[Message, Context], Awaitable[Message]]


def services() -> list[ServiceDescriptor]:
    """Every service of the core."""
    names = (
        *("platform", "accounts", "tokens", "sdk", "iso", "samples", "blobs", "attributes", "faces", "lists"),
        *("matcher", "liveness", "documents", "handlers", "events", "verifiers", "lambdas"),
    )
    files = [importlib.import_module(f"luna.v6.{name}_pb2").DESCRIPTOR for name in names]
    return [service for file in files for service in file.services_by_name.values()]


class OneAccount:
    """An account registry with one account, login u and password p."""

    async def by_password(self, login: str, password: str, address: str) -> Account:
        if (login, password) != ("u", "p"):
            raise CredentialsWrong
        return _account(ACCOUNT)

    async def get(self, account_id: UUID) -> Account:
        return _account(account_id)


class NoTokens:
    """A token registry without tokens."""

    async def principal(self, text: str) -> Principal:
        raise TokenNotFound(token_id=text)


def _account(account_id: UUID) -> Account:
    now = datetime.now(UTC)
    return Account(account_id, "u", "", AccountType.USER, "", now, now)


class NoTrail:
    """An audit trail that forgets."""

    async def begin(self, objects: Iterable[UUID] = ()) -> None:
        pass

    async def complete(self, change: Change, objects: Iterable[UUID] = ()) -> None:
        pass

    async def newest(self, account_id: UUID | None, limit: int) -> list[AuditEntry]:
        return []


@dataclass
class Canned:
    """Servicers that answer what they were told, or empty messages, and remember what they were asked."""

    answers: dict[str, Message | Exception | Answer] = field(default_factory=dict)
    asked: list[Message] = field(default_factory=list)

    def servicer(self, service: ServiceDescriptor) -> object:
        """A servicer of one service."""

        def behaviour(name: str) -> Answer:
            empty = GetMessageClass(service.methods_by_name[name].output_type)

            async def serve(request: Message, context: Context) -> Message:
                self.asked.append(request)
                answer = self.answers.get(name, empty())
                if isinstance(answer, Exception):
                    raise answer
                return answer if isinstance(answer, Message) else await answer(request, context)

            return serve

        return type(
            service.name, (), {method.name: staticmethod(behaviour(method.name)) for method in service.methods}
        )()


@asynccontextmanager
async def grpc_server(
    canned: Canned, port: int = 0, *, facade: bool = True, limited: bool = True
) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """A server of all services, native and facade, with health."""
    authorizer = Authorizer(
        cast("AccountRegistry", OneAccount()), cast("TokenRegistry", NoTokens()), account_header=False
    )
    dispatcher = Dispatcher(collect({one: canned.servicer(one) for one in services()}), authorizer, NoTrail())
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", LARGEST),
            ("grpc.max_send_message_length", LARGEST),
            ("grpc.max_metadata_size", 64 << 10),
            ("grpc.so_reuseport", 0),
        ]
    )
    health = HealthServicer()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_generic_rpc_handlers(
        [*handlers(dispatcher, key=KEY), *(rest_handlers(dispatcher, LARGEST * limited, KEY) if facade else ())]
    )
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield server, bound
    finally:
        await server.stop(0)


@dataclass(frozen=True)
class Response:
    """An HTTP response; `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def json(self) -> dict[str, object]:
        """The body of JSON."""
        value: dict[str, object] = json.loads(self.data)
        return value


@dataclass(frozen=True)
class Edge:
    """A running Envoy. Requests come from the address `source`."""

    port: int
    grpc_port: int
    config: Path
    source: str | None = None
    tls: ssl.SSLContext | None = None
    pid: int = 0

    async def ask(
        self,
        verb: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        authorized: bool = True,
    ) -> Response:
        """Send a request exactly as it is written here."""
        return await asyncio.to_thread(
            self._ask, verb, target, body, {**(AUTHORIZATION if authorized else {}), **(headers or {})}
        )

    def _ask(
        self, verb: str, target: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]
    ) -> Response:
        source = None if self.source is None else (self.source, 0)
        where = ("127.0.0.1", self.port)
        connection: http.client.HTTPConnection
        if self.tls is None:
            connection = http.client.HTTPConnection(*where, timeout=30, source_address=source)
        else:
            connection = http.client.HTTPSConnection(*where, timeout=30, source_address=source, context=self.tls)
        try:
            connection.putrequest(verb, target, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if isinstance(body, bytes):
                connection.putheader("content-length", str(len(body)))
            elif body is not None:
                connection.putheader("transfer-encoding", "chunked")
            # an answer may come before the body has been taken, and the rest of the body is then refused
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders(body, encode_chunked=not isinstance(body, bytes | None))
            response = connection.getresponse()
            data = response.read()
            return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, data)
        finally:
            connection.close()

    async def send(self, data: bytes) -> bytes:
        """Send bytes as they are, and give back everything until the connection ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def relayed(port: int, source: str) -> AsyncIterator[int]:
    """A port from which connections go on to another one, and come there from the address `source`."""
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        writers.extend((writer, back))
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


@asynccontextmanager
async def envoy(
    ports: list[int],
    *,
    timeout_seconds: float = 10,
    key: str | None = KEY,
    images: int = 100,
    sockets: Sequence[int] = (),
    proxied: str = "",
    lambdas: Lambdas | None = None,
    tls: Tls | None = None,
    connections: int = 0,
    memory_bytes: int = 0,
) -> AsyncIterator[Edge]:
    """A running Envoy in front of servers on some ports, and of the process that `proxied` is the address of."""
    port, grpc_port = free_ports(2)
    rest = Rest(
        port=port,
        timeout_seconds=timeout_seconds,
        key=None if key is None else SecretStr(key),
        connections=connections,
        memory_bytes=memory_bytes,
    )
    grpc_group = Grpc(port=grpc_port, max_message_bytes=LARGEST)
    settings = Settings(rest=rest, grpc=grpc_group, lambdas=lambdas or Lambdas(), tls=tls or Tls())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "edge"
        files = render(settings, services(), ports, place, images=images, sockets=sockets, proxied=proxied, workers=1)
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(files.argv(ENVOY), stdout=log, stderr=log)  # noqa: ASYNC220
        try:
            await _answers(port, process, Path(folder) / "log")
            yield Edge(port, grpc_port, files.config, pid=process.pid)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 20)


async def _answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until Envoy listens and has found its servers, or not."""
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        # until Envoy has closed its end, too, this connection is one of those that it counts
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        return
    message = f"Envoy does not start: {log.read_text()}"  # noqa: ASYNC240 it has failed already
    raise RuntimeError(message)
