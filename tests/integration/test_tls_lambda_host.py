"""The lambda host by TLS: what servers and Envoy believe of it, and how its certificate is replaced."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from server.edge_client import Trust
from server.errors import Unavailable
from server.lambdas.credentials import context_of
from server.settings import Lambdas
from tests.certificates import Made, authority, certificate, moved, placed
from tests.edge import AUTHORIZATION, envoy
from tests.lambda_hosts import Running, lambda_host, remote
from tests.ports import free_ports

NAME = "lambdas.example.com"


@dataclass(frozen=True)
class Secured:
    running: Running
    signs: Made
    folder: Path

    def believing(self, made: Made) -> ssl.SSLContext:
        return Trust(made.pem).context()

    def shows(self) -> bytes:
        """The certificate of a new connection."""
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", self.running.port)))


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Secured]:
    signs = authority()
    moved(tmp_path / "ca.pem", signs.pem)
    chain, key = placed(certificate(NAME, "127.0.0.1", by=signs), tmp_path)
    async with lambda_host(tls=context_of(Lambdas(certificate=chain, key=key))) as running:
        yield Secured(running, signs, tmp_path)


async def greet(request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def test_servers_reach_it_by_the_authority_and_a_name(one: Secured) -> None:
    for name in ("", NAME):
        async with remote(one.running, tls=one.believing(one.signs), name=name) as host:
            await host.check()
    strangers = (
        (one.believing(authority("another authority of tests")), ""),
        (one.believing(one.signs), "other.example.com"),
    )
    for context, name in strangers:
        async with remote(one.running, tls=context, name=name) as host:
            with pytest.raises(Unavailable):
                await host.check()
    async with remote(one.running) as host:
        with pytest.raises(Unavailable):
            await host.check()


@pytest.mark.parametrize(("name", "status"), [("", 200), (NAME, 200), ("other.example.com", 502)])
async def test_envoy_reaches_it_by_the_authority_and_a_name(one: Secured, name: str, status: int) -> None:
    lambda_id = await one.running.add(greet)
    lambdas = Lambdas(ca=one.folder / "ca.pem", name=name)
    async with envoy(free_ports(1), proxied=one.running.address, lambdas=lambdas) as edge:
        answer = await edge.ask("GET", f"/6/lambdas/{lambda_id}/proxy/", headers=AUTHORIZATION)
        assert answer.status == status


async def test_a_replaced_certificate_counts_for_new_connections_and_a_wrong_one_does_not(one: Secured) -> None:
    async with remote(one.running, tls=one.believing(one.signs)) as host:
        await host.check()
        before = await asyncio.to_thread(one.shows)
        newer = certificate(NAME, "127.0.0.1", by=one.signs)
        moved(one.folder / "server.pem", newer.pem)
        assert await asyncio.to_thread(one.shows) == before
        moved(one.folder / "server.key", newer.key)
        assert await asyncio.to_thread(one.shows) == newer.der
        await host.check()
