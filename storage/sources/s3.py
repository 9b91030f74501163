"""Buckets of S3. The keys are those of the caller, never those that the machine has of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from aiohttp.abc import AbstractResolver, ResolveResult
from botocore import UNSIGNED
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from server.domain.task_contents import S3Source
from server.errors import InvalidInput, Unavailable
from storage import hosts
from storage.sources.listing import Limits, Listing, too_large, unreadable

COMPONENT: Final = "The S3 server"
_CHUNK: Final = 1 << 20
_SIGNATURES: Final = {"s3v4": "s3v4", "s3v2": "s3"}
_REGION: Final = "us-east-1"
_OF_FILE: Final = frozenset({"NoSuchKey", "404", "InvalidObjectState", "AccessDenied", "403"})
"""What a server says of one file, the bucket being there."""


class _Judging(AbstractResolver):
    """Resolves names for aiohttp, which connects to no address but those that it gets here."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - aiohttp names it
    ) -> list[ResolveResult]:
        try:
            address = await hosts.resolve(host, port, allow_private=self._allow_private)
        except (hosts.NotPublic, UnicodeError) as error:
            raise OSError(str(error)) from None
        known = socket.AF_INET6 if isinstance(address, ipaddress.IPv6Address) else socket.AF_INET
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [ResolveResult(hostname=host, host=str(address), port=port, family=known, proto=0, flags=flags)]

    async def close(self) -> None:
        """Nothing is open."""


class S3Files:
    """Implements `server.domain.image_files.ImageFiles` for a bucket. Use `opened`."""

    def __init__(self, client: Any, source: S3Source, limits: Limits, check: Callable[[], None]) -> None:
        self._client = client
        self._source = source
        self._limits = limits
        self._check = check

    async def names(self, after: str = "") -> AsyncIterator[str]:
        """The keys, without those that stand for folders. See `ImageFiles.names`."""
        wanted = {"Bucket": self._source.bucket, "Prefix": self._source.prefix}
        if not self._source.recursive:
            wanted["Delimiter"] = "/"
        listing = Listing(self._limits, self._check)
        try:
            async for page in self._client.get_paginator("list_objects_v2").paginate(**wanted):
                for entry in page.get("Contents", ()):
                    if not entry["Key"].endswith("/"):
                        listing.add(entry["Key"])
        except (ClientError, BotoCoreError, OSError) as error:
            raise _meaning(error) from None
        for name in listing.after(after):
            yield name

    async def read(self, name: str) -> bytes:
        """The bytes of a file. See `ImageFiles.read`."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._read(name)
        except TimeoutError:
            raise unreadable(name, f"no answer in {self._limits.seconds:g} seconds") from None
        except ClientError as error:
            if _code(error) in _OF_FILE:
                raise unreadable(name, _code(error)) from None
            raise _meaning(error) from None
        except (BotoCoreError, OSError) as error:
            raise _meaning(error) from None

    async def _read(self, name: str) -> bytes:
        answer = await self._client.get_object(Bucket=self._source.bucket, Key=name)
        data = bytearray()
        async with answer["Body"] as body:
            if answer.get("ContentLength", 0) > self._limits.file_bytes:
                raise too_large(name, self._limits.file_bytes)
            while chunk := await body.read(_CHUNK):
                self._check()
                data += chunk
                if len(data) > self._limits.file_bytes:
                    raise too_large(name, self._limits.file_bytes)
        return bytes(data)


@asynccontextmanager
async def opened(
    source: S3Source, limits: Limits, check: Callable[[], None], *, allow_private: bool
) -> AsyncIterator[S3Files]:
    """Open a bucket.

    Raises:
        InvalidInput: its address is not allowed, or cannot be made of what is given.
    """
    if source.endpoint:
        await _judge(source.endpoint, allow_private=allow_private)
    config = AioConfig(
        connector_args={"resolver": _Judging(allow_private=allow_private), "use_dns_cache": False},
        signature_version=_SIGNATURES.get(source.signature, "s3v4") if source.access_key else UNSIGNED,
        connect_timeout=limits.seconds,
        read_timeout=limits.seconds,
        retries={"max_attempts": 2, "mode": "standard"},
        ignore_configured_endpoint_urls=True,
        # the default tells buckets from hosts by names that only AWS has
        s3={"addressing_style": "path" if source.endpoint else "auto"},
        response_checksum_validation="when_required",
        proxies={},
    )
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(
                AioSession().create_client(
                    "s3",
                    endpoint_url=source.endpoint or None,
                    region_name=source.region or _REGION,
                    # without any, botocore would look for those of the machine
                    aws_access_key_id=source.access_key or "none",
                    aws_secret_access_key=source.secret_key or "none",
                    config=config,
                )
            )
        except (BotoCoreError, ValueError) as error:
            raise InvalidInput(message=f"the bucket cannot be used: {type(error).__name__}") from None
        yield S3Files(client, source, limits, check)


async def _judge(endpoint: str, *, allow_private: bool) -> None:
    """Judge the host of an address: aiohttp resolves no host that is an address already.

    Raises:
        InvalidInput: it is not allowed.
        Unavailable: there is no such host.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(message="the endpoint must be an http or https address")
    try:
        await hosts.resolve(parts.hostname, parts.port or 443, allow_private=allow_private)
    except hosts.NotPublic as error:
        raise InvalidInput(message=f"the endpoint cannot be used: {error}") from None
    except (OSError, UnicodeError):
        raise Unavailable(component=COMPONENT) from None


def _code(error: ClientError) -> str:
    """The server's word for what went wrong; nothing else of its answer is told, which may repeat a key."""
    return re.sub(r"[^A-Za-z0-9]", "", str(error.response.get("Error", {}).get("Code", "")))[:64]


def _meaning(error: Exception) -> InvalidInput | Unavailable:
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 or _code(error) in {"SlowDown", "RequestTimeout"}:
            return Unavailable(component=COMPONENT)
        return InvalidInput(message=f"the bucket cannot be read: {_code(error) or status}")
    if isinstance(error, HTTPClientError | NoConnection | OSError):
        return Unavailable(component=COMPONENT)
    return InvalidInput(message=f"the bucket cannot be read: {type(error).__name__}")
