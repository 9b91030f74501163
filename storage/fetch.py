"""Images given as addresses: downloaded under limits, from public addresses only.

The name is resolved once, every address is judged, and the connection goes to the address that was judged, so that a
name which changes between check and use gains nothing. Every redirect is judged anew.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

import httpx

from server.errors import DownloadFailed
from server.settings import Fetch

_REDIRECTS = {301, 302, 303, 307, 308}
_SCHEMES = {"http": 80, "https": 443}
_HEADERS = {"accept": "image/*", "accept-encoding": "identity"}

_EMBEDDING = [ipaddress.IPv6Network(one) for one in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")]
"""Networks whose last 32 bits are an IPv4 address that something on the way may turn it into: IPv4-compatible
(RFC 4291), IPv4-translated (RFC 2765) and NAT64 (RFC 6052)."""

_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
"""Translation inside one network (RFC 8215). Older releases of Python take it for global."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class HttpFetcher:
    """Downloads images over http and https. It sends no credentials, no cookies and follows no proxy settings."""

    def __init__(self, settings: Fetch) -> None:
        self._settings = settings
        self._client = httpx.AsyncClient(
            trust_env=False, follow_redirects=False, timeout=settings.timeout_seconds, headers=_HEADERS
        )

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def fetch(self, url: str) -> bytes:
        """The bytes behind an address.

        Raises:
            DownloadFailed: the address is not allowed, does not answer with 200 in time, or its answer is too large.
        """
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await self._follow(url)
        except TimeoutError:
            raise DownloadFailed(url=url, message=f"no answer in {self._settings.timeout_seconds:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, ValueError) as error:
            raise DownloadFailed(url=url, message=type(error).__name__) from None

    async def _follow(self, url: str) -> bytes:
        target = url
        for _ in range(self._settings.max_redirects + 1):
            request = await self._request(url, target)
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
                return await self._read(url, response)
            finally:
                await response.aclose()
        raise DownloadFailed(url=url, message=f"more than {self._settings.max_redirects} redirects")

    async def _request(self, url: str, target: str) -> httpx.Request:
        parts = urlsplit(target)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise DownloadFailed(url=url, message="only http and https addresses are allowed")
        if parts.username or parts.password:
            raise DownloadFailed(url=url, message="an address with credentials is not allowed")
        port = parts.port or _SCHEMES[parts.scheme]
        address = await self._resolve(url, parts.hostname, port)
        host = parts.hostname if port == _SCHEMES[parts.scheme] else f"{parts.hostname}:{port}"
        return self._client.build_request(
            "GET",
            httpx.URL(target).copy_with(host=str(address)),
            headers={"host": host},
            extensions={"sni_hostname": parts.hostname},
        )

    async def _resolve(self, url: str, host: str, port: int) -> Address:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not self._settings.allow_private and not all(is_public(address) for address in addresses):
            raise DownloadFailed(url=url, message="the address is not a public one")
        return addresses[0]

    async def _read(self, url: str, response: httpx.Response) -> bytes:
        limit = self._settings.max_bytes
        data = bytearray()
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > limit:
                raise DownloadFailed(url=url, message=f"larger than {limit} bytes")
        return bytes(data)


def is_public(address: Address) -> bool:
    """True for an address of the public internet: not private, loopback, link-local (cloud metadata), or reserved."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and any(address in network for network in _EMBEDDING):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address in _LOCAL_NAT64:
            return False
    return address.is_global and not address.is_multicast
