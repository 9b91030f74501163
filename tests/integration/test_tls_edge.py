"""TLS through the real Envoy: what it speaks and refuses, who is let in, and how certificates are replaced."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import grpc
import pytest
from aiohttp import web
from luna.v6 import faces_pb2, faces_pb2_grpc
from websockets.asyncio.client import connect

from gateway import edge_secrets
from server.edge_client import LastingTrust, Trust, trust_of
from server.lambdas.local.relay import Relay
from server.rpc.calls import Context, current
from server.settings import Tls
from tests.certificates import Made, authority, certificate, moved, placed
from tests.edge import AUTHORIZATION, Canned, Edge, envoy, grpc_server
from tests.ports import free_ports

ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"
FACE = faces_pb2.GetFaceRequest(face_id=ID)
PATH = f"/6/faces/{ID}"
LOGIN = tuple(AUTHORIZATION.items())
NAME = "faces.example.com"


@dataclass(frozen=True)
class Secured:
    """An edge with TLS, its settings, the folder of its certificates, and the addresses that calls came from."""

    edge: Edge
    tls: Tls
    folder: Path
    addresses: list[str]

    @property
    def trust(self) -> Trust:
        found = trust_of(self.tls)
        assert found is not None
        return found

    async def rest(self, context: ssl.SSLContext | None = None) -> int:
        """The status of a request."""
        edge = replace(self.edge, tls=context or self.trust.context())
        return (await edge.ask("GET", PATH)).status

    async def native(self, trust: Trust | None = None) -> str:
        """The code of a call by gRPC."""
        credentials, options = (trust or self.trust).channel()
        return await self._call(grpc.aio.secure_channel(self.target, credentials, [*options, *OPTIONS]))

    async def plain(self) -> str:
        """The code of a call by gRPC in plain text."""
        return await self._call(grpc.aio.insecure_channel(self.target, OPTIONS))

    async def _call(self, channel: grpc.aio.Channel) -> str:
        async with channel:
            try:
                await faces_pb2_grpc.FacesStub(channel).GetFace(FACE, metadata=LOGIN, timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code().name
        return "OK"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.edge.grpc_port}"

    def sees(self, port: int = 0) -> bytes:
        """The certificate that a new connection is shown."""
        with handshake(port or self.edge.port, anybody()) as connection:
            found = connection.getpeercert(binary_form=True)
        assert found
        return found


OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]


def anybody() -> ssl.SSLContext:
    """A client that believes everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def handshake(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A new connection."""
    plain = socket.create_connection(("127.0.0.1", port), 10)
    try:
        return context.wrap_socket(plain, server_hostname=NAME)
    except BaseException:
        plain.close()
        raise


@asynccontextmanager
async def secured(folder: Path, made: Made | None = None, **more: Path) -> AsyncIterator[Secured]:
    """A running edge with a certificate for another name than that of the address it is reached at."""
    chain, key = placed(made or certificate(NAME), folder)
    tls = Tls(certificate=chain, key=key, **more)
    addresses: list[str] = []

    async def get(request: object, context: Context) -> faces_pb2.Face:
        addresses.append(current().address)
        return faces_pb2.Face(face_id=ID)

    async def echo(request: web.Request) -> web.StreamResponse:
        if request.path != "/6/ws":
            return web.Response()
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        async for message in answer:
            await answer.send_str(f"{request.headers['luna-client-address']}: {message.data}")
        return answer

    application = web.Application()
    application.router.add_get("/{path:.*}", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    canned = Canned({"GetFace": get})
    try:
        async with grpc_server(canned) as (_, server), envoy([server], sockets=[port], tls=tls) as edge:
            yield Secured(edge, tls, folder, addresses)
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
async def one(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    """An edge that wants nothing of its clients."""
    async with secured(tmp_path_factory.mktemp("certificates")) as running:
        yield running


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 - it is Envoy that is waited for
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_rest_speaks_tls_of_two_versions_and_clients_keep_their_address(
    one: Secured, version: ssl.TLSVersion
) -> None:
    context = one.trust.context()
    context.minimum_version = context.maximum_version = version
    one.addresses.clear()
    assert await one.rest(context) == 200
    assert one.addresses == ["127.0.0.1"]


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_grpc_speaks_tls_of_two_versions(one: Secured, version: str) -> None:
    context = anybody()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_alpn_protocols(["h2", "http/1.1"])
    with handshake(one.edge.grpc_port, context) as connection:
        assert connection.selected_alpn_protocol() == "h2"
    one.addresses.clear()
    assert await one.native() == "OK"
    assert one.addresses == ["127.0.0.1"]


async def test_rest_offers_http_2_and_http_1(one: Secured) -> None:
    for protocol in ("h2", "http/1.1"):
        context = anybody()
        context.set_alpn_protocols([protocol])
        with handshake(one.edge.port, context) as connection:
            assert connection.selected_alpn_protocol() == protocol


async def test_websockets_are_taken_by_tls(one: Secured) -> None:
    url = f"wss://127.0.0.1:{one.edge.port}/6/ws"
    async with connect(url, ssl=one.trust.context(), server_hostname=NAME, proxy=None) as there:
        await there.send("hello")
        assert await there.recv() == "127.0.0.1: hello"


async def test_older_versions_and_ciphers_without_forward_secrecy_are_refused(one: Secured) -> None:
    old = anybody()
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    weak = anybody()
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-GCM-SHA256:AES128-SHA:ECDHE-ECDSA-AES128-SHA")
    for context in (old, weak):
        for port in (one.edge.port, one.edge.grpc_port):
            with pytest.raises(ssl.SSLError, match=r"(?i)alert|version"):
                await asyncio.to_thread(handshake, port, context)


async def test_plain_text_is_refused_on_both_ports(one: Secured) -> None:
    with pytest.raises((ConnectionError, OSError)):
        await replace(one.edge, tls=None).ask("GET", PATH)
    assert await one.plain() == "UNAVAILABLE"


async def test_who_does_not_believe_the_certificate_does_not_talk(one: Secured) -> None:
    stranger = Trust(authority().pem, NAME)
    with pytest.raises(ssl.SSLCertVerificationError):
        await one.rest(stranger.context())
    assert await one.native(stranger) == "UNAVAILABLE"
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        await one.rest(Trust(one.trust.roots).context())
    assert await one.native(Trust(one.trust.roots)) == "UNAVAILABLE"


async def test_keys_are_named_and_never_copied(one: Secured) -> None:
    secret = one.folder.joinpath("server.key").read_text().splitlines()[1]
    files = list(one.edge.config.parent.iterdir())
    assert {"certificate.json", "envoy.yaml"} <= {file.name for file in files}
    assert not any(secret.encode() in file.read_bytes() for file in files)
    admin = one.edge.config.with_name("admin.address").read_text()
    async with aiohttp.ClientSession() as session, session.get(f"http://{admin}/config_dump") as answer:
        told = await answer.text()
    assert base64.b64encode(one.folder.joinpath("server.pem").read_bytes()).decode() in told
    assert base64.b64encode(b"[redacted]").decode() in told
    assert base64.b64encode(one.folder.joinpath("server.key").read_bytes()).decode() not in told
    assert stat.S_IMODE(one.edge.config.stat().st_mode) == 0o600


async def test_a_certificate_of_clients_is_wanted_where_the_settings_say_so(tmp_path: Path) -> None:
    signs, other = authority(), authority("another authority of tests")
    moved(tmp_path / "clients.pem", signs.pem)
    own = placed(certificate("a client", by=signs), tmp_path, "client")
    strange = placed(certificate("a client", by=other), tmp_path, "strange")
    async with secured(tmp_path, client_ca=tmp_path / "clients.pem") as running:
        for shown in (None, strange):
            trust = replace(running.trust, own=shown)
            # the alert, or the end of the connection, whichever is met first
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await running.rest(trust.context())
            assert await running.native(trust) == "UNAVAILABLE"
        trust = replace(running.trust, own=own)
        assert await running.rest(trust.context()) == 200
        assert await running.native(trust) == "OK"
        # other authorities count for the next connection
        moved(tmp_path / "clients.pem", other.pem)

        async def turned() -> bool:
            return await running.native(replace(running.trust, own=strange)) == "OK"

        await until(turned)
        assert await running.native(trust) == "UNAVAILABLE"


async def test_a_replaced_certificate_is_shown_to_new_connections_and_old_ones_go_on(tmp_path: Path) -> None:
    async with secured(tmp_path) as running:
        before, trust = running.sees(), running.trust
        credentials, options = trust.channel()
        connector = aiohttp.TCPConnector(ssl=trust.context())
        async with (
            grpc.aio.secure_channel(running.target, credentials, [*options, *OPTIONS]) as channel,
            aiohttp.ClientSession(f"https://127.0.0.1:{running.edge.port}", connector=connector) as session,
            connect(
                f"wss://127.0.0.1:{running.edge.port}/6/ws", ssl=trust.context(), server_hostname=NAME, proxy=None
            ) as there,
        ):
            face = faces_pb2_grpc.FacesStub(channel).GetFace
            await face(FACE, metadata=LOGIN, timeout=10)
            async with session.get(PATH, headers=AUTHORIZATION) as answer:
                assert answer.status == 200
            newer = certificate(NAME)
            placed(newer, tmp_path)

            async def shown() -> bool:
                return await asyncio.to_thread(running.sees) == newer.der

            await until(shown)
            assert await asyncio.to_thread(running.sees, running.edge.grpc_port) == newer.der != before
            # they would not believe the new certificate: these are their connections of before
            await face(FACE, metadata=LOGIN, timeout=10)
            async with session.get(PATH, headers=AUTHORIZATION) as answer:
                assert answer.status == 200
            await there.send("still")
            assert await there.recv() == "127.0.0.1: still"


async def test_a_pair_that_does_not_fit_changes_nothing_until_it_does(tmp_path: Path) -> None:
    async with secured(tmp_path) as running:
        before, newer = running.sees(), certificate(NAME)
        for wrong in (newer.pem, b"no certificate", b""):
            moved(tmp_path / "server.pem", wrong)
            await asyncio.sleep(0.3)
            assert await asyncio.to_thread(running.sees) == before
        moved(tmp_path / "server.pem", newer.pem)
        moved(tmp_path / "server.key", newer.key)

        async def shown() -> bool:
            return await asyncio.to_thread(running.sees) == newer.der

        await until(shown)
        assert await running.native() == "OK"


async def test_what_kubernetes_replaces_is_taken_up(tmp_path: Path) -> None:
    for number, made in enumerate((certificate(NAME), certificate(NAME))):
        (tmp_path / f"..{number}").mkdir()
        placed(made, tmp_path / f"..{number}")
    (tmp_path / "..data").symlink_to("..0")
    for name in ("server.pem", "server.key"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    tls = Tls(certificate=tmp_path / "server.pem", key=tmp_path / "server.key")
    async with grpc_server(Canned()) as (_, server), envoy([server], tls=tls) as edge:
        running = Secured(edge, tls, tmp_path, [])
        before = running.sees()
        (tmp_path / "..next").symlink_to("..1")
        (tmp_path / "..next").replace(tmp_path / "..data")

        async def shown() -> bool:
            return await asyncio.to_thread(running.sees) != before

        await until(shown)
        assert await running.native() == "OK"


async def test_what_is_written_over_is_taken_up_when_its_place_is_named_anew(tmp_path: Path) -> None:
    async with secured(tmp_path) as running:
        for turn in (1, 2, 3):
            newer = certificate(NAME)
            (tmp_path / "server.pem").write_bytes(newer.pem)
            (tmp_path / "server.key").write_bytes(newer.key)
            edge_secrets.write(running.tls, running.edge.config.parent, turn)

            async def shown(newer: Made = newer) -> bool:
                return await asyncio.to_thread(running.sees) == newer.der

            await until(shown)


async def test_lambdas_reach_it_in_plain_text_through_their_relay(tmp_path: Path) -> None:
    signs = authority()
    moved(tmp_path / "clients.pem", signs.pem)
    chain, key = placed(certificate("a client", by=signs), tmp_path, "client")
    more = {"client_ca": tmp_path / "clients.pem", "client_certificate": chain, "client_key": key}
    async with secured(tmp_path, **more) as running:
        relay = Relay(tmp_path / "platform.sock", "127.0.0.1", running.edge.grpc_port, LastingTrust(running.tls))
        await relay.start()
        try:
            for wrong in (None, b"no certificate"):
                if wrong is not None:
                    # what is no good is neither shown nor believed
                    moved(tmp_path / "server.pem", wrong)
                async with grpc.aio.insecure_channel(f"unix:{tmp_path}/platform.sock", OPTIONS) as channel:
                    await faces_pb2_grpc.FacesStub(channel).GetFace(FACE, metadata=LOGIN, timeout=10)
            newer = certificate(NAME)
            placed(newer, tmp_path)

            async def shown() -> bool:
                return await asyncio.to_thread(running.sees) == newer.der

            await until(shown)
            async with grpc.aio.insecure_channel(f"unix:{tmp_path}/platform.sock", OPTIONS) as channel:
                await faces_pb2_grpc.FacesStub(channel).GetFace(FACE, metadata=LOGIN, timeout=10)
        finally:
            await relay.close()
