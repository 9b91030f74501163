"""The way to the platform's gRPC without a network: a socket in the sandbox, whose bytes go to the platform's port."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from server.edge_client import LastingTrust

CONNECTIONS = 16
"""Most connections of one lambda; gRPC needs one for each channel."""
_PIECE = 64 << 10
_CONNECT_SECONDS = 5.0


class Relay:
    """Relays the connections of one lambda.

    Args:
        path: where the socket is made.
        host, port: where the bytes go.
        trust: what is believed there, where the way to it is TLS; lambdas themselves speak plain text.
    """

    def __init__(self, path: Path, host: str, port: int, trust: LastingTrust | None = None) -> None:
        self._path = path
        self._host = host
        self._port = port
        self._trust = trust
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the socket cannot be made.
        """
        # the path of a socket has at most 107 bytes, that of a data folder may have more
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            short = f"/proc/self/fd/{folder}/{self._path.name}"
            self._server = await asyncio.start_unix_server(self._accept, short, limit=_PIECE)
        finally:
            os.close(folder)
        # whoever sees it in a sandbox may use it; its folder is closed to everybody else
        self._path.chmod(0o666)

    async def close(self) -> None:
        """Listen no more, and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        try:
            await self._relay(reader, writer)
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_CONNECT_SECONDS):
            tls = await asyncio.to_thread(self._trust.context, ("h2",)) if self._trust is not None else None
            there, back = await asyncio.open_connection(self._host, self._port, limit=_PIECE, ssl=tls)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, back))
                group.create_task(_pump(there, writer))
        except* OSError:
            pass
        finally:
            back.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(_PIECE):
        target.write(piece)
        await target.drain()
    with suppress(OSError):
        # TLS has no half of a connection
        target.write_eof() if target.can_write_eof() else target.close()
