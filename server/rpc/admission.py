"""How many calls with images may be in progress: what is too much is refused before anything has been done for it.

The engine's own queue refuses as well, but only after a call has been authorized: a question to the database, for which
the calls that are served have to wait too. Under a flood the refusals would then cost more than the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf.descriptor import Descriptor
from luna.v6.events_pb2 import StreamSource
from luna.v6.images_pb2 import ImageInput, Source

from server.errors import Busy
from server.rpc.methods import Method

BRINGS_IMAGES = frozenset(message.DESCRIPTOR.full_name for message in (ImageInput, Source, StreamSource))
"""Messages of images: a request with a field of one of them may bring some."""

RETRY_AFTER = 1
"""Seconds that a refused client is told to wait; Envoy tells the same (`gateway.edge`)."""


class Admission:
    """Counts the calls that bring images. Belongs to one event loop.

    Args:
        most: so many may be in progress.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running = 0
        self._known: dict[str, bool] = {}

    @contextmanager
    def admitted(self, method: Method) -> Iterator[None]:
        """A place for the length of the block, for a call of a method that takes images; nothing for others.

        Raises:
            Busy: every place is taken.
        """
        if not self._bounds(method):
            yield
            return
        if self._running >= self._most:
            raise Busy(message=f"{self._running} calls with images are in progress", retry_after=RETRY_AFTER)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def _bounds(self, method: Method) -> bool:
        if method.name not in self._known:
            self._known[method.name] = takes_images(method.input)
        return self._known[method.name]


def takes_images(request: Descriptor) -> bool:
    """True for requests that may bring images: those with a field of them."""
    return any(
        field.message_type is not None and field.message_type.full_name in BRINGS_IMAGES for field in request.fields
    )
