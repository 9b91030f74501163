"""ZIP archives of a table and pictures, written to a local file piece by piece, whatever their size."""

from __future__ import annotations

import asyncio
import tempfile
import zipfile
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path


class Archive:
    """An archive that is being written. Its entries all have the time of the task."""

    def __init__(self, target: zipfile.ZipFile, moment: datetime) -> None:
        self._target = target
        self._time = moment.astimezone(UTC).timetuple()[:6]

    async def table(self, name: str, pieces: AsyncIterable[bytes]) -> None:
        """A compressed entry of pieces of any length."""
        entry = self._entry(name, zipfile.ZIP_DEFLATED)
        with self._target.open(entry, "w", force_zip64=True) as target:
            async for piece in pieces:
                await _finished(target.write, piece)

    async def pictures(self, pictures: Sequence[tuple[str, bytes]]) -> None:
        """Entries that are compressed already."""

        def write() -> None:
            for name, data in pictures:
                self._target.writestr(self._entry(name, zipfile.ZIP_STORED), data)

        await _finished(write)

    def _entry(self, name: str, compression: int) -> zipfile.ZipInfo:
        entry = zipfile.ZipInfo(name, (max(self._time[0], 1980), *self._time[1:]))
        entry.compress_type = compression
        entry.external_attr = 0o644 << 16
        return entry


@asynccontextmanager
async def archive(moment: datetime) -> AsyncIterator[tuple[Archive, Path]]:
    """An archive in a temporary file, which is complete behind the block; where that fails, it is gone."""
    with tempfile.NamedTemporaryFile(prefix="luna-task-", suffix=".zip", delete=False) as file:
        path = Path(file.name)
        try:
            with zipfile.ZipFile(file, "w") as target:
                yield Archive(target, moment), path
        except BaseException:
            _discard(path)
            raise


async def _finished(write: Callable[..., object], *args: object) -> None:
    """Write in a thread. Whoever is cancelled meanwhile waits for it: nobody closes a file that is written to."""
    running = asyncio.ensure_future(asyncio.to_thread(write, *args))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)
