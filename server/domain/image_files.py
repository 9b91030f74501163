"""Files of images outside: the sources that an estimator's task works through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from server.domain.access import Scope
from server.domain.task_contents import Source
from server.domain.tasks import TaskFiles


class ImageFiles(Protocol):
    """The files of one source, while it is open."""

    def names(self, after: str = "") -> AsyncIterator[str]:
        """The names of the files, ascending, each once: those behind `after`. A name is a path below the source.

        What cannot be read is listed too: reading it says why.

        Raises:
            InvalidInput: there is no such source, it cannot be used, or it has too many files.
            Unavailable: it cannot be reached.
        """
        ...

    async def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            ImageNotAccessible: it is not there, is too large, or cannot be read.
            InvalidInput: the source cannot be used.
            Unavailable: the source cannot be reached.
        """
        ...


class ImageSources(Protocol):
    """Opens sources. No error names a password or a key."""

    def open(
        self, source: Source, scope: Scope, files: TaskFiles, check: Callable[[], None]
    ) -> AbstractAsyncContextManager[ImageFiles]:
        """Open a source.

        Args:
            source: the source.
            scope: whose objects it may be.
            files: where something of it may be kept from one step of a task to the next.
            check: called in loops and from threads; what it raises ends them.
        """
        ...
