"""Folders of Samba shares. Referrals to other servers and links are not followed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import smbclient
from smbprotocol.exceptions import SMBAuthenticationError, SMBException, SMBOSError, SMBResponseException
from smbprotocol.tree import TreeConnect

from server.domain.task_contents import SambaSource
from server.errors import InvalidInput, Unavailable
from storage.sources.ftp import server_address
from storage.sources.listing import Limits, Listing, is_name, too_large, unreadable

T = TypeVar("T")

COMPONENT: Final = "The Samba server"
_CHUNK: Final = 1 << 20
_GUEST: Final = "guest"


class SambaFiles:
    """Implements `server.domain.image_files.ImageFiles` for a folder of a share.

    Args:
        source: the folder.
        address: the server.
        limits: limits of the source.
        check: called in every loop.
    """

    def __init__(self, source: SambaSource, address: str, limits: Limits, check: Callable[[], None]) -> None:
        self._source = source
        self._limits = limits
        self._check = check
        self._address = address
        steps = [step for step in source.path.replace("\\", "/").split("/") if step]
        if not steps or not all(is_name(step) for step in steps):
            raise InvalidInput(message="path must be a share, or a share and a folder: share/folder")
        self._share = f"\\\\{address}\\{steps[0]}"
        self._root = "\\".join([self._share, *steps[1:]])
        self._connections: dict[str, Any] = {}
        self._one = asyncio.Lock()
        self._options: dict[str, Any] = {
            # without a name or a password the library would look for those of the machine's own user
            "username": source.user or _GUEST,
            "password": source.password or _GUEST,
            "port": source.port,
            "connection_timeout": limits.seconds,
            "connection_cache": self._connections,
            "auth_protocol": "ntlm",
            "require_signing": bool(source.user),  # guests have no key to sign with
        }

    async def close(self) -> None:
        """End the session."""
        if self._connections:
            with suppress(SMBException, OSError, ValueError, TimeoutError):
                async with asyncio.timeout(self._limits.seconds):
                    await asyncio.to_thread(smbclient.reset_connection_cache, False, self._connections)
        self._cut()

    async def names(self, after: str = "") -> AsyncIterator[str]:
        """The names of the files. See `ImageFiles.names`."""
        try:
            for name in await self._in_thread(self._list, after, None):
                yield name
        except TimeoutError:
            raise Unavailable(component=COMPONENT) from None
        except SMBOSError as error:
            raise InvalidInput(message=f"the folder of the share cannot be read: {error.strerror}") from None

    async def read(self, name: str) -> bytes:
        """The bytes of a file. See `ImageFiles.read`."""
        if not all(is_name(step) for step in name.split("/")):
            raise unreadable(name, "its name cannot be said to the server")
        try:
            return await self._in_thread(self._read, name, self._limits.seconds)
        except TimeoutError:
            raise unreadable(name, f"no answer in {self._limits.seconds:g} seconds") from None
        except SMBOSError as error:
            raise unreadable(name, str(error.strerror)) from None

    async def _in_thread(self, work: Callable[[str], T], given: str, seconds: float | None) -> T:
        """Do something with the one connection.

        Raises:
            SMBOSError: the server refuses it.
            TimeoutError: it takes too long; the connection is cut, which ends the thread.
        """
        async with self._one:
            try:
                async with asyncio.timeout(seconds):
                    return await asyncio.to_thread(work, given)
            except SMBOSError:
                raise
            except SMBAuthenticationError:
                raise InvalidInput(message="the Samba server refuses the login") from None
            except SMBResponseException as error:
                raise InvalidInput(message=f"the share cannot be used: {type(error).__name__}") from None
            except TimeoutError:
                self._cut()
                raise
            except (SMBException, OSError, ValueError):
                self._cut()
                raise Unavailable(component=COMPONENT) from None
            except BaseException:
                self._cut()
                raise

    def _connect(self) -> None:
        """Make the session and reach the share, which the library would do by referrals where it is not there.

        Guests have no key to verify with what was negotiated.
        """
        if self._connections:
            return
        session = smbclient.register_session(self._address, **self._options)
        TreeConnect(session, self._share).connect(require_secure_negotiate=bool(self._source.user))

    def _list(self, after: str) -> list[str]:
        self._connect()
        listing = Listing(self._limits, self._check, self._source.prefix, self._source.postfix)
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            above = waiting.pop()
            listing.enter()
            with smbclient.scandir("\\".join([self._root, *above]), **self._options) as entries:
                for entry in entries:
                    if not is_name(entry.name) or entry.is_symlink():
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if self._source.recursive:
                            waiting.append((*above, entry.name))
                    else:
                        listing.add("/".join([*above, entry.name]), entry.name)
        return listing.after(after)

    def _read(self, name: str) -> bytes:
        self._connect()
        path = "\\".join([self._root, *name.split("/")])
        data = bytearray()
        with smbclient.open_file(path, mode="rb", buffering=0, share_access="rw", **self._options) as file:
            while chunk := file.read(_CHUNK):
                self._check()
                data += chunk
                if len(data) > self._limits.file_bytes:
                    raise too_large(name, self._limits.file_bytes)
        return bytes(data)

    def _cut(self) -> None:
        """Close what is left of connections without a word to the server."""
        for connection in self._connections.values():
            with suppress(Exception):
                connection.transport._sock.shutdown(socket.SHUT_RDWR)
        self._connections.clear()


@asynccontextmanager
async def opened(
    source: SambaSource, limits: Limits, check: Callable[[], None], *, allow_private: bool
) -> AsyncIterator[SambaFiles]:
    """Open a folder of a share.

    Raises:
        InvalidInput: the host is not allowed, or the path is none.
        Unavailable: there is no such host.
    """
    # a referral could lead to any host
    smbclient.ClientConfig(skip_dfs=True)
    address = await server_address(source.host, source.port, COMPONENT, allow_private=allow_private)
    files = SambaFiles(source, address, limits, check)
    try:
        yield files
    finally:
        await files.close()
