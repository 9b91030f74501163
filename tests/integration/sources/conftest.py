"""Sources on loopback, and how tests look into them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from server.domain.access import Scope
from server.domain.image_files import ImageFiles
from server.domain.media import Media, MediaKind
from server.domain.task_contents import Source
from server.errors import LunaError
from server.settings import Fetch, Tasks
from storage.fetch import HttpFetcher
from storage.sources.opening import Sources
from tests.task_contexts import MemoryFiles

OURS, THEIRS = UUID(int=1), UUID(int=2)


@dataclass
class MemoryMedia:
    """Objects of accounts."""

    objects: dict[UUID, tuple[UUID, bytes]] = field(default_factory=dict)

    async def get(self, scope: Scope, kind: MediaKind, media_id: UUID) -> Media | None:
        owner, data = self.objects.get(media_id, (None, b""))
        if owner is None or not scope.includes(owner) or kind is not MediaKind.OBJECTS:
            return None
        return Media(media_id, owner, kind, "application/zip", len(data), b"", None)  # type: ignore[arg-type]

    async def read(self, media: Media) -> bytes | None:
        return self.objects[media.media_id][1]


@dataclass
class Looking:
    """Opens sources and looks into them, each time with the same files of one task."""

    sources: Sources
    media: MemoryMedia
    files: MemoryFiles = field(default_factory=MemoryFiles)
    check: Callable[[], None] = lambda: None

    def open(self, source: Source, account_id: UUID = OURS) -> AbstractAsyncContextManager[ImageFiles]:
        return self.sources.open(source, Scope(account_id), self.files, lambda: self.check())

    async def names(self, source: Source, after: str = "") -> list[str]:
        async with self.open(source) as files:
            return [name async for name in files.names(after)]

    async def all(self, source: Source) -> dict[str, bytes | str]:
        """What every file has, or why it cannot be read."""
        async with self.open(source) as files:
            return {name: await read(files, name) async for name in files.names()}


async def read(files: ImageFiles, name: str) -> bytes | str:
    try:
        return await files.read(name)
    except LunaError as error:
        assert error.status == 422, error
        return error.values["message"]


MakeLooking = Callable[..., Looking]


@pytest.fixture
async def looking() -> AsyncIterator[MakeLooking]:
    """Makes what looks into sources, with settings; loopback is allowed unless they say otherwise."""
    fetchers: list[HttpFetcher] = []

    def make(*, allow_private: bool = True, max_bytes: int = 1 << 20, **tasks: Any) -> Looking:
        fetch = Fetch(allow_private=allow_private, max_bytes=max_bytes, timeout_seconds=5)
        fetchers.append(HttpFetcher(fetch))
        media = MemoryMedia()
        return Looking(Sources(fetch, Tasks(**{"source_timeout_seconds": 5, **tasks}), fetchers[-1], media), media)  # type: ignore[arg-type] # the rest of the store is not used

    yield make
    for fetcher in fetchers:
        await fetcher.close()
