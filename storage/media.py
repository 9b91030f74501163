"""Images and objects: rows in PostgreSQL, bytes in the blob store."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, delete, insert, select

from server.domain.access import Scope
from server.domain.media import Media, MediaKind
from server.errors import Conflict
from storage.blobs import BlobStore
from storage.database import ConstraintViolated, Database
from storage.filters import inside
from storage.schema import media


def media_folder(kind: MediaKind, shard: str) -> str:
    """The folder of what is kept of a kind and whose id ends in two hexadecimal digits."""
    return f"{kind.value}/{shard}"


def media_key(kind: MediaKind, media_id: UUID) -> str:
    """Where the bytes are; the last digits choose the folder, as for samples."""
    return f"{media_folder(kind, media_id.hex[-2:])}/{media_id}"


def media_columns(new: Media) -> dict[str, object]:
    """The row of something new."""
    return {
        "media_id": new.media_id,
        "account_id": new.account_id,
        "kind": new.kind.value,
        "content_type": new.content_type,
        "size": new.size,
        "sha256": new.sha256,
        "create_time": new.create_time,
        "meta": dict(new.meta),
    }


class PostgresMediaStore:
    """Implements `server.domain.media.MediaStore`."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def add(self, new: Media, data: bytes) -> None:
        """Keep something new: bytes, then row.

        Raises:
            Conflict: the id exists already; what is there stays as it is.
        """
        await self._blobs.create(media_key(new.kind, new.media_id), data)
        try:
            async with self._database.transaction(made=(new.media_id,)) as connection:
                await connection.execute(insert(media).values(media_columns(new)))
        except ConstraintViolated as violated:
            raise Conflict(message=f"'{new.media_id}' exists already") from violated

    async def get(self, scope: Scope, kind: MediaKind, media_id: UUID) -> Media | None:
        """The row of something inside the scope."""
        rows = await self._database.fetch(select(media).where(*_one(scope, kind, media_id)))
        return Media(**{**rows[0]._mapping, "kind": kind}) if rows else None

    async def read(self, kept: Media) -> bytes | None:
        """The bytes of something; None where it has been deleted since."""
        return await self._blobs.get(media_key(kept.kind, kept.media_id))

    async def remove(self, scope: Scope, kind: MediaKind, media_id: UUID) -> bool:
        """Delete something: row, then bytes."""
        async with self._database.transaction() as connection:
            found = (await connection.execute(delete(media).where(*_one(scope, kind, media_id)))).rowcount
        if found:
            await self._blobs.delete(media_key(kind, media_id))
        return bool(found)


def _one(scope: Scope, kind: MediaKind, media_id: UUID) -> list[ColumnElement[bool]]:
    return [media.c.media_id == media_id, media.c.kind == kind.value, *inside(media.c.account_id, scope)]
