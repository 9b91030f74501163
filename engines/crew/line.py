"""A line between an engine and one of its processes: objects go over a socket, one at a time and by turns."""

from __future__ import annotations

import io
import pickle
import socket
import struct
from contextlib import suppress
from typing import Final

_LENGTH = struct.Struct("=Q")

_ROOM = 1 << 18
"""Bytes that are read at once: nearly every message is. Larger ones are read into memory of their own."""

_BUFFERS = 1 << 20
"""Bytes that the kernel is asked to keep of each direction, so that a picture is handed over in one piece."""

_PROTOCOL = 5

SPOKEN: Final = frozenset(
    {
        "engines.crew.crew",
        "engines.packs.errors",
        "engines.runtime.runtime",
        "server.domain.attributes",
        "server.domain.checks",
        "server.domain.vision",
    }
)
"""Modules whose classes answers are made of, besides those of `server.errors`."""

_NUMBERS = frozenset({("numpy", "dtype"), ("numpy._core.multiarray", "scalar")})
"""What makes numbers of numpy, where one has got into an answer: it does for a number of Python."""


class Line:
    """One end of a line.

    Objects are pickled. That is safe towards a process: it hears from its parent alone, nobody else has the socket, and
    what strangers send stays bytes in bytes. Towards the parent it is meant to be: a process decodes pictures of
    strangers with native code, so where one is taken over, its answers can name classes of `SPOKEN` and little else.

    Args:
        connection: a connected stream socket that blocks. It may have timeouts of the kernel, and is the line's own.
        wary: take only answers.
    """

    def __init__(self, connection: socket.socket, *, wary: bool) -> None:
        self._connection = connection
        self._wary = wary
        self._room = bytearray(_ROOM)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, _BUFFERS)

    def send(self, message: bytes) -> None:
        """Send what `packed` gave.

        Raises:
            OSError: the other end is gone, or a timeout has passed.
        """
        length = _LENGTH.pack(len(message))
        sent = self._connection.sendmsg((length, message))
        if sent < len(length) + len(message):
            self._connection.sendall(memoryview(length + message)[sent:])

    def receive(self) -> object:
        """The next object.

        Raises:
            EOFError: the other end is gone.
            OSError: so it is, or a timeout has passed.
            pickle.UnpicklingError: it is none that may be sent.
        """
        room = memoryview(self._room)
        got = 0
        while got < _LENGTH.size:
            got += self._read(room[got:])
        end = _LENGTH.size + int(_LENGTH.unpack_from(room)[0])
        if end > len(room):
            larger = memoryview(bytearray(end))
            larger[:got] = room[:got]
            room = larger
        while got < end:
            got += self._read(room[got:end])
        packet = room[_LENGTH.size : end]
        return _Answers(io.BytesIO(packet)).load() if self._wary else pickle.loads(packet)  # noqa: S301 - see the class

    def close(self) -> None:
        """Hang up. Whoever waits at either end is told."""
        # the other one may have done so already
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _read(self, room: memoryview) -> int:
        got = self._connection.recv_into(room)
        if got == 0:
            raise EOFError
        return got


def packed(message: object) -> bytes:
    """An object as it is sent."""
    return pickle.dumps(message, _PROTOCOL)


class _Answers(pickle.Unpickler):
    """Makes objects of the classes that answers are made of."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _NUMBERS:
            return super().find_class(module, name)
        if module in SPOKEN or module.startswith("server.errors."):
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        message = f"no answer has a {module}.{name}"
        raise pickle.UnpicklingError(message)
