"""Samples: rows in PostgreSQL, bytes in the blob store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, delete, insert, select

from server.domain.access import Scope
from server.domain.samples import Sample, SampleType
from server.errors import Conflict
from storage.blobs import BlobStore
from storage.database import ConstraintViolated, Database
from storage.filters import among, inside
from storage.rows import columns_of
from storage.schema import samples
from storage.side_by_side import side_by_side

_INSERT: Final = insert(samples)

FOLDER: Final = "samples"
SHARDS: Final = tuple(f"{number:02x}" for number in range(256))


def shard_folder(sample_type: SampleType, shard: str) -> str:
    """The folder of the samples of a type whose id ends in two hexadecimal digits."""
    return f"{FOLDER}/{sample_type.value}/{shard}"


def sample_key(sample_type: SampleType, sample_id: UUID) -> str:
    """Where the bytes of a sample are.

    The last digits choose the folder: the first ones of a UUIDv7 are its time, and would fill one folder for years.
    """
    return f"{shard_folder(sample_type, sample_id.hex[-2:])}/{sample_id}.jpg"


def sample_columns(sample: Sample) -> dict[str, object]:
    """The row of a sample."""
    return columns_of(sample) | {"sample_type": sample.sample_type.value}


class PostgresSampleStore:
    """Implements `server.domain.samples.SampleStore`."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def add(self, sample: Sample, data: bytes) -> None:
        """Keep a new sample: bytes, then row. What stays behind without a row is removed by `storage.sweeper`.

        Raises:
            Conflict: a sample with this id exists already; it stays as it is.
        """
        await self.add_all([(sample, data)])

    async def add_all(self, kept: Sequence[tuple[Sample, bytes]]) -> None:
        """Keep several new samples: their bytes side by side, then all rows in one transaction.

        Raises:
            Conflict: a sample with one of these ids exists already; it stays as it is, and no row is added.
        """
        if not kept:
            return
        ids = [one.sample_id for one, _ in kept]
        await side_by_side(self._blobs.create(sample_key(one.sample_type, one.sample_id), data) for one, data in kept)
        try:
            async with self._database.transaction(made=ids) as connection:
                await connection.execute(_INSERT, [sample_columns(one) for one, _ in kept])
        except ConstraintViolated as violated:
            raise Conflict(message=f"a sample exists already: one of {', '.join(map(str, ids))}") from violated

    async def get(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> Sample | None:
        """The row of a sample inside the scope."""
        conditions = _conditions(scope, sample_type)
        rows = await self._database.fetch(select(samples).where(samples.c.sample_id == sample_id, *conditions))
        return Sample(**{**rows[0]._mapping, "sample_type": sample_type}) if rows else None

    async def read(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> bytes | None:
        """The JPEG bytes of a sample inside the scope."""
        if await self.get(scope, sample_type, sample_id) is None:
            return None
        return await self._blobs.get(sample_key(sample_type, sample_id))

    async def missing(self, scope: Scope, sample_type: SampleType, sample_ids: Collection[UUID]) -> set[UUID]:
        """Those of the ids that name no sample inside the scope."""
        if not sample_ids:
            return set()
        conditions = (among(samples.c.sample_id, sample_ids), *_conditions(scope, sample_type))
        rows = await self._database.fetch(select(samples.c.sample_id).where(*conditions))
        return set(sample_ids) - {row.sample_id for row in rows}

    async def remove(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> bool:
        """Delete a sample: row, then bytes."""
        conditions = (samples.c.sample_id == sample_id, *_conditions(scope, sample_type))
        async with self._database.transaction() as connection:
            found = (await connection.execute(delete(samples).where(*conditions))).rowcount
        if found:
            await self._blobs.delete(sample_key(sample_type, sample_id))
        return bool(found)


def _conditions(scope: Scope, sample_type: SampleType) -> list[ColumnElement[bool]]:
    return [samples.c.sample_type == sample_type.value, *inside(samples.c.account_id, scope)]
