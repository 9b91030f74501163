"""Keeping a batch: what is not in PostgreSQL first, then everything else in one transaction.

Blobs and temporary attributes of a batch that fails are taken back where it is certain that nothing was committed.
Where it is not, because the connection broke while the commit was on its way, they stay: a row never lacks its bytes.
What stays for nothing is removed by `storage.sweeper`, and attributes end by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.access import Scope
from server.domain.attributes import AttributeStore
from server.domain.events import Batch, NewEvent
from server.domain.task_notes import AlreadyNoted
from server.errors import Conflict, EventIdTaken, LunaError, TaskNotFound
from storage.blobs import BlobStore
from storage.database import ConstraintViolated, Database
from storage.event_rows import columns_of, kept_time
from storage.face_rows import add_faces, refused
from storage.media import media_columns, media_key
from storage.samples import sample_columns, sample_key
from storage.schema import event_descriptors, event_outbox, events, media, samples
from storage.side_by_side import side_by_side
from storage.task_notes import add_note

log = logging.getLogger(__name__)

TAKE_BACK_SECONDS: Final = 5.0
"""How long is spent on taking back what a failed batch has written."""

Undo = Callable[[], Awaitable[object]]


class BatchWriter:
    """Keeps batches of events with all that belongs to them."""

    def __init__(self, database: Database, blobs: BlobStore, attributes: AttributeStore) -> None:
        self._database = database
        self._blobs = blobs
        self._attributes = attributes

    async def keep(self, batch: Batch) -> None:
        """Keep everything of a batch, or nothing. See `server.domain.events.EventStore.keep`.

        Raises:
            ListsNotFound: a list is not there or belongs to another account.
            AlreadyNoted, TaskNotFound: the batch has a note, which exists already, or whose task is gone.
            Conflict, EventIdTaken, AttributeBound: something with one of the ids exists already.
            Unavailable, Busy, DeadlineExceeded, InvalidInput: as for `Database.transaction`.
        """
        undo: list[Undo] = []
        committing = False
        try:
            await self._write_outside(batch, undo)
            async with self._database.transaction(made=_made(batch)) as connection:
                await _write_rows(connection, batch)
                committing = True
        except BaseException as error:
            if not committing or isinstance(error, ConstraintViolated):
                await _take_back(undo)
            if isinstance(error, ConstraintViolated):
                raise _meaning(error, batch) from error
            raise

    async def _write_outside(self, batch: Batch, undo: list[Undo]) -> None:
        """Write bytes and temporary attributes, side by side. What was written can be undone."""
        blobs = [(sample_key(one.sample_type, one.sample_id), data) for one, data in batch.samples]
        blobs += [(media_key(one.kind, one.media_id), data) for one, data in batch.images]

        async def write(key: str, data: bytes) -> None:
            await self._blobs.create(key, data)
            undo.append(lambda: self._blobs.delete(key))

        await side_by_side(write(key, data) for key, data in blobs)

        async def add(position: int) -> None:
            attribute, seconds = batch.attributes[position]
            await self._attributes.add(attribute, seconds)
            undo.append(lambda: self._attributes.remove(Scope(attribute.account_id), attribute.attribute_id))

        await side_by_side(add(position) for position in range(len(batch.attributes)))


async def _write_rows(connection: AsyncConnection, batch: Batch) -> None:
    """Write all rows, those that others wait for last. A note comes first: where there is one, the rest is in vain."""
    if batch.note is not None:
        await add_note(connection, batch.note)
    if batch.samples:
        await connection.execute(insert(samples), [sample_columns(one) for one, _ in batch.samples])
    if batch.images:
        await connection.execute(insert(media), [media_columns(one) for one, _ in batch.images])
    stored = [one for one in batch.events if one.stored]
    if stored:
        await connection.execute(insert(events), [columns_of(one.record) for one in stored])
    if vectors := [row for one in stored for row in _descriptor_rows(one)]:
        await connection.execute(insert(event_descriptors), vectors)
    await add_faces(connection, batch.faces)
    notices = [
        {"account_id": one.record.account_id, "notice": one.notice} for one in batch.events if one.notice is not None
    ]
    if notices:
        await connection.execute(insert(event_outbox), notices)


def _descriptor_rows(event: NewEvent) -> Iterable[dict[str, object]]:
    for one in event.descriptors:
        yield {
            "event_id": event.record.event_id,
            "create_time": kept_time(event.record.create_time),
            "kind": one.kind.value,
            "version": one.descriptor.version,
            "data": one.descriptor.data,
            "score": one.score,
        }


def _made(batch: Batch) -> Sequence[UUID]:
    return (
        *(one.record.event_id for one in batch.events if one.stored),
        *(one.face.face_id for one in batch.faces),
        *(list_id for one in batch.faces for list_id in one.list_ids),
        *(one.sample_id for one, _ in batch.samples),
        *(one.media_id for one, _ in batch.images),
    )


def _meaning(violated: ConstraintViolated, batch: Batch) -> Exception:
    """What a violated constraint means; those of a partition are named after it."""
    if batch.note is not None and violated.constraint.startswith("task_notes"):
        return AlreadyNoted() if violated.constraint == "task_notes_pkey" else TaskNotFound(task_id=batch.note.task_id)
    table = violated.constraint.removesuffix("_pkey")
    if table in {"samples", "media"}:
        return Conflict(message="A sample or an image with one of the new ids exists already")
    if batch.faces and violated.constraint.startswith("face"):
        return refused(violated, batch.faces)
    return EventIdTaken(event_id=batch.events[0].record.event_id)


async def _take_back(undo: Iterable[Undo]) -> None:
    try:
        async with asyncio.timeout(TAKE_BACK_SECONDS):
            for outcome in await asyncio.gather(*(step() for step in undo), return_exceptions=True):
                if isinstance(outcome, LunaError):
                    log.warning("what a failed batch has written is left behind: %s", outcome)
    except TimeoutError:
        log.warning("what a failed batch has written is left behind")
