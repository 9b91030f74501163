"""The feed of faces: every change of what an index knows of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text

from server.domain.access import Scope
from server.domain.descriptors import Descriptor
from server.domain.faces import FaceFilter
from server.domain.search import FeedUpdate, IndexedObject
from storage.database import Database
from storage.feed import BATCH, LATER, PRESENT, RUNNING, PostgresFeed
from storage.filters import face_conditions
from storage.listener import Listener
from storage.schema import CHANNEL, faces

STATE: Final = """
    SELECT
        face.face_id, face.account_id, face.create_time, face.external_id, face.event_id,
        ARRAY(SELECT list_id FROM list_faces WHERE list_faces.face_id = face.face_id ORDER BY list_id) AS list_ids,
        descriptors.versions, descriptors.vectors
    FROM faces AS face
    CROSS JOIN LATERAL (
        SELECT array_agg(version ORDER BY version) AS versions, array_agg(data ORDER BY version) AS vectors
        FROM face_descriptors WHERE face_descriptors.face_id = face.face_id
    ) AS descriptors
    WHERE descriptors.versions IS NOT NULL
"""
SOME: Final = text(f"{STATE} AND face.face_id = ANY (CAST(:face_ids AS uuid[]))")


class PostgresFaceFeed(PostgresFeed):
    """Implements `server.domain.search.Feed` for faces. A notification tells of each commit."""

    changes = text(f"""
        SELECT {PRESENT},
            ARRAY(
                SELECT face_id FROM index_changes WHERE {LATER}
                UNION
                SELECT face_id FROM index_changes WHERE {RUNNING}
            ) AS face_ids
    """)  # noqa: S608 - of constants
    state = STATE

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._listener = Listener(database, CHANNEL)

    async def update(self, noted: Row[*tuple[Any, ...]]) -> FeedUpdate:
        """The present state of the faces that were noted."""
        face_ids: list[UUID] = noted.face_ids
        changed: list[IndexedObject] = []
        for start in range(0, len(face_ids), BATCH):
            rows = await self._database.fetch(SOME, {"face_ids": face_ids[start : start + BATCH]})
            changed.extend(self.indexed(row) for row in rows)
        gone = set(face_ids).difference(face.object_id for face in changed)
        return FeedUpdate(tuple(changed), tuple(gone))

    async def wait(self, seconds: float) -> None:
        """Return once something may have changed, or after the time."""
        await self._listener.wait(seconds)

    async def select(self, scope: Scope, filters: FaceFilter) -> bytes:
        """Ids of the faces under filters."""
        return await self.packed(faces.c.face_id, face_conditions(scope, filters))

    async def close(self) -> None:
        """Stop listening. The database belongs to whoever made it."""
        await self._listener.close()

    @staticmethod
    def indexed(row: Iterable[Any]) -> IndexedObject:
        """The face of a row."""
        face_id, account_id, create_time, external_id, event_id, list_ids, versions, vectors = row
        descriptors = tuple(map(Descriptor, versions, vectors))
        return IndexedObject(face_id, account_id, create_time, external_id, descriptors, tuple(list_ids), event_id)
