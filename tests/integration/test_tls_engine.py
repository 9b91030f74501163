"""A shared engine by TLS: which certificates servers believe, what else is refused, and how one is replaced."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.errors import LunaError
from server.inference.remote import EngineUnreachable
from tests.certificates import Made, authority, certificate, moved, placed
from tests.engines import LUNA, EngineProcess, client

NAME = "engines.example.com"


@dataclass(frozen=True)
class Secured:
    """An engine process, who signed its certificate, and where that is."""

    process: EngineProcess
    signs: Made
    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def shows(self) -> bytes:
        """The certificate of a new connection."""
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", self.process.ports[0])))


@pytest.fixture(scope="module")
async def one(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    folder, signs = tmp_path_factory.mktemp("engine"), authority()
    chain, key = placed(certificate(NAME, "127.0.0.1", by=signs), folder)
    moved(folder / "ca.pem", signs.pem)
    process = EngineProcess({"ENGINE__CERTIFICATE": str(chain), "ENGINE__KEY": str(key)})
    process.start()
    try:
        yield Secured(process, signs, folder)
    finally:
        process.end()


async def test_a_server_believes_the_authority_and_checks_the_address(one: Secured) -> None:
    async with client(one.process, ca=one.ca) as remote:
        assert await remote.ready()
    async with client(one.process, ca=one.ca, name=NAME) as remote:
        assert await remote.ready()


async def test_several_engines_have_one_name(one: Secured) -> None:
    async with client(one.process, one.process, ca=one.ca, name=NAME) as remote:
        assert await remote.ready()
    with pytest.raises(EngineUnreachable, match="LUNA_ENGINE__NAME is empty"):
        async with client(one.process, one.process, ca=one.ca, start=False):
            pass


async def test_the_secret_is_still_wanted(one: Secured) -> None:
    with pytest.raises(EngineUnreachable, match="LUNA_ENGINE__SECRET"):
        async with client(one.process, ca=one.ca, secret="another one"):
            pass


async def test_another_authority_another_name_and_plain_text_are_no_way_in(one: Secured) -> None:
    moved(one.folder / "other.pem", authority("another authority of tests").pem)
    for more, said in (
        ({"ca": one.folder / "other.pem"}, "signed by nobody"),
        ({"ca": one.ca, "name": "other.example.com"}, "has not the name"),
        ({}, "did not serve"),
    ):
        async with client(one.process, start=False, **more) as remote:
            with pytest.raises(LunaError):
                await remote.ready()
            with pytest.raises(EngineUnreachable, match=said):
                await remote.start(seconds=2)


async def test_an_engine_with_a_key_of_another_certificate_does_not_start(one: Secured, tmp_path: Path) -> None:
    chain, key = placed(certificate(NAME), tmp_path)
    moved(key, certificate(NAME).key)
    environment = {"LUNA_ENGINE__CERTIFICATE": str(chain), "LUNA_ENGINE__KEY": str(key), "LUNA_DATA": str(tmp_path)}
    ended = await asyncio.to_thread(
        subprocess.run, [LUNA, "engine"], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert "LUNA_ENGINE__KEY: " in ended.stderr


async def test_a_file_that_is_no_authority_is_named(one: Secured) -> None:
    (one.folder / "wrong.pem").write_text("nothing")
    with pytest.raises(EngineUnreachable, match=r"LUNA_ENGINE__CA: .*wrong\.pem holds no certificate"):
        async with client(one.process, ca=one.folder / "wrong.pem"):
            pass


async def test_a_replaced_certificate_counts_for_new_connections_and_a_wrong_one_does_not(one: Secured) -> None:
    async with client(one.process, ca=one.ca) as remote:
        newer = certificate(NAME, "127.0.0.1", by=one.signs)
        before = await asyncio.to_thread(one.shows)
        moved(one.folder / "server.pem", newer.pem)
        assert await asyncio.to_thread(one.shows) == before
        moved(one.folder / "server.key", newer.key)
        assert await asyncio.to_thread(one.shows) == newer.der
        assert await remote.ready()
    async with client(one.process, ca=one.ca) as remote:
        assert await remote.ready()
