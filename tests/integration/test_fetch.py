"""Images given as addresses: what a real HTTP server is asked for, under which limits, and what is never asked."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from server.errors import DownloadFailed
from server.settings import Fetch
from storage import hosts
from storage.fetch import HttpFetcher
from storage.hosts import is_public

IMAGE = bytes(range(256)) * 40
LIMIT = 16_384

ZEROS = gzip.compress(bytes(30 << 20))
"""30 MiB in 30 KB."""


@dataclass
class Host:
    """An HTTP server on loopback that answers by path, and remembers what it was asked."""

    port: int = 0
    asked: list[bytes] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            path = head.split(b" ", 2)[1].decode()
            await self._answer(path, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        kind, _, rest = path[1:].partition("?")[0].partition("/")
        match kind:
            case "image":
                await _write(writer, 200, IMAGE)
            case "status":
                await _write(writer, int(rest), IMAGE)
            case "bytes":
                await _write(writer, 200, bytes(int(rest)))
            case "to":
                await _write(writer, 302, b"", f"location: {rest}\r\n")
            case "hops":
                left = int(rest)
                await _write(
                    writer, 302, b"", f"location: /hops/{left - 1}\r\n" if left > 1 else "location: /image\r\n"
                )
            case "loop":
                await _write(writer, 307, b"", "location: /loop\r\n")
            case "silent":
                await asyncio.sleep(30)
            case "drip":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                for _ in range(300):
                    writer.write(b".")
                    await writer.drain()
                    await asyncio.sleep(0.1)
            case "endless":
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                while True:
                    writer.write(b"1000\r\n" + bytes(4096) + b"\r\n")
                    await writer.drain()
            case "bomb":
                await _write(writer, 200, gzip.compress(ZEROS), "content-encoding: gzip, gzip\r\n")
            case "garbage":
                writer.write(b"\xff\xfe not http\r\n\r\n")
            case _:
                writer.write(b"")


async def _write(writer: asyncio.StreamWriter, status: int, body: bytes, headers: str = "") -> None:
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    one = Host()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()


@pytest.fixture
async def trusting() -> AsyncIterator[HttpFetcher]:
    """A fetcher that may go to loopback."""
    one = HttpFetcher(Fetch(timeout_seconds=1, max_bytes=LIMIT, max_redirects=2, allow_private=True))
    yield one
    await one.close()


@pytest.fixture
async def careful() -> AsyncIterator[HttpFetcher]:
    """A fetcher as it is by default."""
    one = HttpFetcher(Fetch(timeout_seconds=3))
    yield one
    await one.close()


async def refused(fetcher: HttpFetcher, url: str) -> str:
    with pytest.raises(DownloadFailed) as caught:
        await fetcher.fetch(url)
    assert caught.value.values["url"] == url
    return caught.value.values["message"]


async def test_the_bytes_behind_an_address_come_as_they_are(host: Host, trusting: HttpFetcher) -> None:
    assert await trusting.fetch(f"{host.base}/image?a=b#c") == IMAGE
    head = host.asked[0].lower()
    assert head.startswith(b"get /image?a=b http/1.1\r\n")
    assert f"\r\nhost: 127.0.0.1:{host.port}\r\n".encode() in head
    assert b"cookie" not in head
    assert b"authorization" not in head


async def test_a_download_may_have_the_greatest_size_and_not_a_byte_more(host: Host, trusting: HttpFetcher) -> None:
    assert len(await trusting.fetch(f"{host.base}/bytes/{LIMIT}")) == LIMIT
    assert "larger" in await refused(trusting, f"{host.base}/bytes/{LIMIT + 1}")
    assert "larger" in await refused(trusting, f"{host.base}/endless")


async def test_a_packed_answer_is_refused_before_it_is_unpacked(host: Host, trusting: HttpFetcher) -> None:
    assert "encoding" in await refused(trusting, f"{host.base}/bomb")
    assert b"\r\naccept-encoding: identity\r\n" in host.asked[0].lower()


async def test_redirects_are_followed_up_to_their_limit(host: Host, trusting: HttpFetcher) -> None:
    assert await trusting.fetch(f"{host.base}/hops/2") == IMAGE
    assert "redirects" in await refused(trusting, f"{host.base}/hops/3")
    assert "redirects" in await refused(trusting, f"{host.base}/loop")


@pytest.mark.parametrize("status", [204, 301, 304, 400, 403, 404, 500, 503])
async def test_only_200_is_an_image(host: Host, trusting: HttpFetcher, status: int) -> None:
    assert str(status) in await refused(trusting, f"{host.base}/status/{status}")


@pytest.mark.parametrize("path", ["silent", "drip"])
async def test_a_slow_host_is_given_up_in_time(host: Host, trusting: HttpFetcher, path: str) -> None:
    began = time.monotonic()
    await refused(trusting, f"{host.base}/{path}")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("path", ["garbage", "nothing"])
async def test_a_host_that_does_not_speak_http_is_an_error_of_the_address(
    host: Host, trusting: HttpFetcher, path: str
) -> None:
    await refused(trusting, f"{host.base}/{path}")


async def test_a_port_that_nobody_listens_on_is_an_error_of_the_address(trusting: HttpFetcher) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        await refused(trusting, f"http://127.0.0.1:{probe.getsockname()[1]}/")


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:1/", "data:image/png;base64,AAAA"],
)
async def test_a_redirect_to_another_scheme_is_refused(host: Host, trusting: HttpFetcher, target: str) -> None:
    await refused(trusting, f"{host.base}/to/{target}")
    assert len(host.asked) == 1


async def test_a_redirect_with_credentials_is_refused(host: Host, trusting: HttpFetcher) -> None:
    assert "credentials" in await refused(trusting, f"{host.base}/to/http://a:b@127.0.0.1:{host.port}/image")
    assert len(host.asked) == 1


async def test_a_redirect_from_an_allowed_host_to_a_private_one_is_refused(
    host: Host, careful: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 127.0.0.1 stands for the internet here: nothing public can be listened on in a test
    allowed = ipaddress.ip_address("127.0.0.1")
    monkeypatch.setattr(hosts, "is_public", lambda address: address == allowed or is_public(address))
    assert await careful.fetch(f"{host.base}/image") == IMAGE
    for private in ("127.0.0.2", "10.0.0.1", "[::1]", "169.254.169.254", "2130706434"):
        assert "public" in await refused(careful, f"{host.base}/to/http://{private}:{host.port}/image")


async def test_a_name_that_changes_between_judgement_and_use_gains_nothing(
    host: Host, careful: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["127.0.0.1", "127.0.0.2"])

    def changing(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert name == "changing.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    allowed = ipaddress.ip_address("127.0.0.1")
    monkeypatch.setattr(hosts, "is_public", lambda address: address == allowed)
    monkeypatch.setattr(socket, "getaddrinfo", changing)
    assert await careful.fetch(f"http://changing.example:{host.port}/image") == IMAGE
    assert f"\r\nhost: changing.example:{host.port}\r\n".encode() in host.asked[0].lower()
    assert "public" in await refused(careful, f"http://changing.example:{host.port}/image")
    assert len(host.asked) == 1


async def test_names_that_nobody_answers_for_keep_nothing_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(name: str, _port: int, **_: object) -> list[tuple[object, ...]]:
        time.sleep(2)
        raise socket.gaierror(name)

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    fetcher = HttpFetcher(Fetch(timeout_seconds=0.5))
    try:
        asks = [asyncio.create_task(refused(fetcher, f"http://{one}.example/")) for one in range(64)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(1):
            await asyncio.to_thread(int)  # what writes files, reads handlers and makes pages
        assert set(await asyncio.gather(*asks)) == {"no answer in 0.5 seconds"}
    finally:
        await fetcher.close()


async def test_a_name_with_one_private_address_among_public_ones_is_refused(
    careful: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def several(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("8.8.8.8", "192.168.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    assert "public" in await refused(careful, "http://several.example/")


@pytest.mark.parametrize(
    "written",
    [
        "127.0.0.1", "127.1", "127.255.255.254", "0.0.0.0", "0", "2130706433", "0177.0.0.1", "0x7f.0.0.1",
        "0x7f000001", "017700000001", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "[::1]", "[::]", "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]",
        "[ff02::1]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]",
        "localhost", "LOCALHOST", "１２７.0.0.1",
    ],
)  # fmt: skip
async def test_no_spelling_of_a_private_address_is_asked(host: Host, careful: HttpFetcher, written: str) -> None:
    assert "public" in await refused(careful, f"http://{written}:{host.port}/image")
    assert host.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "/image", "image.jpg", "http://", "http:///x", "http://:80/", "ftp://8.8.8.8/", "file:///etc/passwd",
        "gopher://8.8.8.8/", "data:image/png;base64,AAAA", "javascript:1", "unix:///run/x", "http://a@8.8.8.8/",
        "http://a:b@8.8.8.8/", "http://:b@8.8.8.8/", "http://8.8.8.8:99999/", "http://8.8.8.8:-1/", "http://[::1",
        "http://a b/", "http://a\nb/", "http://\x00/", "http://" + "a" * 70 + ".example/", "http://..../",
        "http://127.0.0.1\\@8.8.8.8/", "http://no-such-name.invalid/", "http://localhost.:1/",
    ],
)  # fmt: skip
async def test_what_is_no_plain_address_of_http_is_refused(careful: HttpFetcher, url: str) -> None:
    await refused(careful, url)


@pytest.mark.parametrize("public", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(public: str) -> None:
    assert is_public(ipaddress.ip_address(public))
