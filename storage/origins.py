"""Images that lie elsewhere: whoever has them is asked to delete them, at public addresses only.

The rules are those of downloads (`storage.fetch`): the name is resolved once, judged, and the connection goes to the
address that was judged. Redirects are not followed: what they lead to is not what the event named.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

import httpx

from server.errors import OriginNotRemoved
from server.settings import Fetch
from storage import hosts

_SCHEMES: Final = {"http": 80, "https": 443}
_GONE: Final = {httpx.codes.NOT_FOUND, httpx.codes.GONE}


class HttpOrigins:
    """Implements `server.domain.populations.Origins`. It sends no credentials and follows no proxy settings."""

    def __init__(self, settings: Fetch) -> None:
        self._settings = settings

    async def delete(self, url: str) -> None:
        """Ask whoever has an image to delete it; that it is not there is fine.

        Raises:
            OriginNotRemoved: the address is not allowed, does not answer in time, or its answer is no success.
        """
        seconds = self._settings.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                status = await self._send(url)
        except TimeoutError:
            raise OriginNotRemoved(url=url, message=f"no answer in {seconds:g} seconds") from None
        except hosts.NotPublic as error:
            raise OriginNotRemoved(url=url, message=str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, ValueError) as error:
            raise OriginNotRemoved(url=url, message=type(error).__name__) from None
        if not httpx.codes.is_success(status) and status not in _GONE:
            raise OriginNotRemoved(url=url, message=f"status {status}")

    async def _send(self, url: str) -> int:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise OriginNotRemoved(url=url, message="only http and https addresses are allowed")
        if parts.username or parts.password:
            raise OriginNotRemoved(url=url, message="an address with credentials is not allowed")
        port = parts.port or _SCHEMES[parts.scheme]
        address = await hosts.resolve(parts.hostname, port, allow_private=self._settings.allow_private)
        host = parts.hostname if port == _SCHEMES[parts.scheme] else f"{parts.hostname}:{port}"
        client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=self._settings.timeout_seconds)
        async with client:
            request = client.build_request(
                "DELETE",
                httpx.URL(url).copy_with(host=str(address)),
                headers={"host": host},
                extensions={"sni_hostname": parts.hostname},
            )
            response = await client.send(request, stream=True)  # what it has to say is not read
            try:
                return response.status_code
            finally:
                await response.aclose()
