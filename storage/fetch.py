"""What is given as addresses: downloaded under limits, from public addresses only.

The name is resolved once, every address is judged, and the connection goes to the address that was judged
(`storage.hosts`). Every redirect is judged anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias
from urllib.parse import urlsplit

import httpx

from server.errors import DownloadFailed
from server.settings import Fetch
from storage import hosts

_REDIRECTS = {301, 302, 303, 307, 308}
_SCHEMES = {"http": 80, "https": 443}
_HEADERS = {"accept-encoding": "identity"}

_LOOK_UPS = 32
"""Names that are looked up at the same time."""

Sink: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Takes what has come, piece by piece."""


class HttpFetcher:
    """Downloads over http and https. It sends no credentials, no cookies and follows no proxy settings.

    Names are looked up on threads of its own: callers choose them, and one whose server is silent keeps its thread for
    as long as the system asks, whoever has stopped to wait for it.
    """

    def __init__(self, settings: Fetch) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="look-up")
        self._client = httpx.AsyncClient(
            trust_env=False, follow_redirects=False, timeout=settings.timeout_seconds, headers=_HEADERS
        )

    async def close(self) -> None:
        """End the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._client.aclose()

    async def fetch(self, url: str) -> bytes:
        """The bytes of an image behind an address.

        Raises:
            DownloadFailed: the address is not allowed, does not answer with 200 in time, or its answer is too large.
        """
        data = bytearray()

        async def add(chunk: bytes) -> None:
            data.extend(chunk)

        settings = self._settings
        await self.download(url, add, limit=settings.max_bytes, seconds=settings.timeout_seconds, accept="image/*")
        return bytes(data)

    async def download(self, url: str, sink: Sink, *, limit: int, seconds: float, accept: str = "*/*") -> None:
        """Hand what is behind an address to a sink.

        Args:
            url: the address.
            sink: takes the bytes, in their order.
            limit: most bytes.
            seconds: the longest that all of it may take.
            accept: types of content that are wanted.

        Raises:
            DownloadFailed: as for `fetch`.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._follow(url, sink, limit, accept)
        except TimeoutError:
            raise DownloadFailed(url=url, message=f"no answer in {seconds:g} seconds") from None
        except hosts.NotPublic as error:
            raise DownloadFailed(url=url, message=str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, ValueError) as error:
            raise DownloadFailed(url=url, message=type(error).__name__) from None

    async def _follow(self, url: str, sink: Sink, limit: int, accept: str) -> None:
        target = url
        for _ in range(self._settings.max_redirects + 1):
            request = await self._request(url, target, accept)
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    target = str(httpx.URL(target).join(response.headers["location"]))
                    continue
                if response.status_code != httpx.codes.OK:
                    raise DownloadFailed(url=url, message=f"status {response.status_code}")
                # images are packed already; unpacking, perhaps in several layers, could fill the memory at once
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise DownloadFailed(url=url, message="a content encoding, and none was asked for")
                await _read(url, response, sink, limit)
                return
            finally:
                await response.aclose()
        raise DownloadFailed(url=url, message=f"more than {self._settings.max_redirects} redirects")

    async def _request(self, url: str, target: str, accept: str) -> httpx.Request:
        parts = urlsplit(target)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise DownloadFailed(url=url, message="only http and https addresses are allowed")
        if parts.username or parts.password:
            raise DownloadFailed(url=url, message="an address with credentials is not allowed")
        port = parts.port or _SCHEMES[parts.scheme]
        address = await hosts.resolve(
            parts.hostname, port, allow_private=self._settings.allow_private, threads=self._threads
        )
        host = parts.hostname if port == _SCHEMES[parts.scheme] else f"{parts.hostname}:{port}"
        return self._client.build_request(
            "GET",
            httpx.URL(target).copy_with(host=str(address)),
            headers={"host": host, "accept": accept},
            extensions={"sni_hostname": parts.hostname},
        )


async def _read(url: str, response: httpx.Response, sink: Sink, limit: int) -> None:
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > limit:
            raise DownloadFailed(url=url, message=f"larger than {limit} bytes")
        await sink(chunk)
