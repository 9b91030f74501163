"""Folders of FTP servers. Data connections go to the address that was judged, whatever address the server names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import Any, Final

import aioftp

from server.domain.task_contents import FtpSource
from server.errors import InvalidInput, LunaError, Unavailable
from storage import hosts
from storage.sources.listing import Limits, Listing, is_name, too_large, unreadable

COMPONENT: Final = "The FTP server"
_ANONYMOUS: Final = "anonymous"
_TROUBLE: Final = (OSError, EOFError, aioftp.AIOFTPException, UnicodeError, ValueError, asyncio.IncompleteReadError)


class _Client(aioftp.Client):
    """A session that closes its data connection also where the server then refuses to use it."""

    _data: asyncio.StreamWriter | None = None

    async def get_passive_connection(
        self, conn_type: Any = "I", commands: Sequence[str] | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.end_data()
        reader, self._data = await super().get_passive_connection(conn_type, commands)
        return reader, self._data

    def end_data(self) -> None:
        """Close the last data connection."""
        if self._data is not None:
            self._data.close()
            self._data = None


class FtpFiles:
    """Implements `server.domain.image_files.ImageFiles` for a folder of an FTP server.

    Links are not followed: where they lead only the server knows.

    Args:
        source: the folder.
        address: the server.
        limits: limits of the source.
        check: called in every loop.
    """

    def __init__(self, source: FtpSource, address: str, limits: Limits, check: Callable[[], None]) -> None:
        self._source = source
        self._address = address
        self._limits = limits
        self._check = check
        self._root = PurePosixPath(source.path or ".")
        self._idle: list[_Client] = []
        self._sessions = asyncio.Semaphore(source.sessions)

    async def close(self) -> None:
        """End the sessions."""
        while self._idle:
            self._idle.pop().close()

    async def names(self, after: str = "") -> AsyncIterator[str]:
        """The names of the files. See `ImageFiles.names`."""
        listing = Listing(self._limits, self._check, self._source.prefix, self._source.postfix)
        try:
            async with self._session() as client:
                await self._walk(client, listing)
        except aioftp.StatusCodeError as error:
            raise InvalidInput(message=f"the folder of the FTP server cannot be read: {_codes(error)}") from None
        except (UnicodeError, ValueError):
            raise InvalidInput(message="the FTP server lists what cannot be read as UTF-8") from None
        except _TROUBLE:
            raise Unavailable(component=COMPONENT) from None
        for name in listing.after(after):
            yield name

    async def read(self, name: str) -> bytes:
        """The bytes of a file. See `ImageFiles.read`."""
        if not all(is_name(step) for step in name.split("/")):
            raise unreadable(name, "its name cannot be said to the server")
        try:
            async with self._session() as client, asyncio.timeout(self._limits.seconds):
                return await self._read(client, name)
        except TimeoutError:
            raise unreadable(name, f"no answer in {self._limits.seconds:g} seconds") from None
        except aioftp.StatusCodeError as error:
            raise unreadable(name, _codes(error)) from None
        except _TROUBLE:
            raise Unavailable(component=COMPONENT) from None

    async def _walk(self, client: aioftp.Client, listing: Listing) -> None:
        waiting = [""]
        while waiting:
            above = waiting.pop()
            listing.enter()
            async for path, info in client.list(self._root / above):
                if not is_name(path.name):
                    continue
                if info["type"] == "file":
                    listing.add(above + path.name, path.name)
                elif info["type"] == "dir" and self._source.recursive:
                    waiting.append(f"{above}{path.name}/")

    async def _read(self, client: aioftp.Client, name: str) -> bytes:
        data = bytearray()
        async with client.download_stream(self._root / name) as stream:
            async for block in stream.iter_by_block():
                self._check()
                data += block
                if len(data) > self._limits.file_bytes:
                    raise too_large(name, self._limits.file_bytes)
        return bytes(data)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[_Client]:
        """A session of one's own. One that something went wrong in is not used again."""
        async with self._sessions:
            client = self._idle.pop() if self._idle else await self._connect()
            try:
                yield client
            except BaseException as error:
                client.end_data()
                sound = isinstance(error, aioftp.StatusCodeError) and error.received_codes[-1].matches("5xx")
                if sound:
                    self._idle.append(client)
                else:
                    client.close()
                raise
            self._idle.append(client)

    async def _connect(self) -> _Client:
        client = _Client(
            socket_timeout=self._limits.seconds,
            connection_timeout=self._limits.seconds,
            trust_server_pasv_ipv4_address=False,
        )
        try:
            async with asyncio.timeout(self._limits.seconds):
                await client.connect(self._address, self._source.port)
                await client.login(self._source.user or _ANONYMOUS, self._source.password or "anonymous@")
        except aioftp.StatusCodeError as error:
            client.close()
            raise InvalidInput(message=f"the FTP server refuses the login: {_codes(error)}") from None
        except _TROUBLE:
            client.close()
            raise Unavailable(component=COMPONENT) from None
        return client


@asynccontextmanager
async def opened(
    source: FtpSource, limits: Limits, check: Callable[[], None], *, allow_private: bool
) -> AsyncIterator[FtpFiles]:
    """Open a folder of an FTP server.

    Raises:
        InvalidInput: the host is not allowed.
        Unavailable: there is no such host.
    """
    if any(one in "\r\n\0" for text in (source.path, source.user, source.password) for one in text):
        raise InvalidInput(message="path, user and password of an FTP server are single lines")
    address = await server_address(source.host, source.port, COMPONENT, allow_private=allow_private)
    files = FtpFiles(source, address, limits, check)
    try:
        yield files
    finally:
        await files.close()


async def server_address(host: str, port: int, component: str, *, allow_private: bool) -> str:
    """The address of a file server.

    Raises:
        InvalidInput: the host is not allowed.
        Unavailable: there is no such host.
    """
    try:
        return str(await hosts.resolve(host, port, allow_private=allow_private))
    except hosts.NotPublic as error:
        raise InvalidInput(message=f"the host cannot be used: {error}") from None
    except (OSError, UnicodeError):
        raise _unreachable(component) from None


def _unreachable(component: str) -> LunaError:
    return Unavailable(component=component)


def _codes(error: aioftp.StatusCodeError) -> str:
    """What the server answered, as numbers: its words may repeat what was said to it."""
    return "status " + ", ".join(str(code) for code in error.received_codes)
