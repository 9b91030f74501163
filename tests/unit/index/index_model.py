"""What the index is held against: objects in a dict, filters in plain Python, cosines in float64, a sort."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from server.domain.access import Scope
from server.domain.descriptors import LAYOUTS, Descriptor
from server.domain.search import Hit, IndexedObject, Query, Where

START = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = UUID(int=1 << 100)


def indexed(
    object_id: UUID,
    *descriptors: Descriptor,
    account_id: UUID = ACCOUNT,
    seconds: float = 0,
    external_id: str = "",
    origin_id: UUID | None = None,
    groups: tuple[UUID, ...] = (),
) -> IndexedObject:
    """An indexed object with defaults."""
    created = START + timedelta(seconds=seconds)
    return IndexedObject(object_id, account_id, created, external_id, descriptors, groups, origin_id)


def query(
    descriptor: Descriptor,
    where: Where | None = None,
    *,
    limit: int = 10,
    account_id: UUID | None = ACCOUNT,
    min_cosine: float = -1.0,
    filters: str | None = None,
) -> Query[str]:
    """A query with defaults. Filters that only the database knows are a text."""
    return Query(descriptor, Scope(account_id), where or Where(), limit, min_cosine, filters)


def halves(vector: NDArray[np.float64] | NDArray[np.float32]) -> Descriptor:
    """A descriptor of version 1001 from 128 numbers."""
    return Descriptor(1001, vector.astype("<f2").tobytes())


def unpacked(ids: bytes) -> set[bytes]:
    """The ids of 16 bytes each."""
    return {ids[start : start + 16] for start in range(0, len(ids), 16)}


def selects(where: Where, scope: Scope, one: IndexedObject) -> bool:
    """Whether conditions let an object through, one by one."""
    return all(
        (
            scope.account_id in (None, one.account_id),
            where.account_id in (None, one.account_id),
            where.ids is None or one.object_id in where.ids,
            where.selected is None or one.object_id.bytes in unpacked(where.selected),
            where.external_ids is None or one.external_id in where.external_ids,
            where.origin_id is None or one.origin_id == where.origin_id,
            where.group_id is None or where.group_id in one.group_ids,
            where.create_time_gte is None or one.create_time >= where.create_time_gte,
            where.create_time_lt is None or one.create_time < where.create_time_lt,
            where.id_gte is None or one.object_id >= where.id_gte,
            where.id_lt is None or one.object_id < where.id_lt,
        )
    )


@dataclass(slots=True)
class Model:
    """The index as it should be."""

    objects: dict[UUID, IndexedObject] = field(default_factory=dict)
    units: dict[Descriptor, NDArray[np.float64]] = field(default_factory=dict)

    def unit(self, descriptor: Descriptor) -> NDArray[np.float64]:
        """The descriptor with length 1, or zeros where it has no direction."""
        if descriptor not in self.units:
            vector = np.frombuffer(descriptor.data, LAYOUTS[descriptor.version].element.value).astype(np.float64)
            norm = float(np.linalg.norm(vector)) if np.isfinite(vector).all() else 0.0
            self.units[descriptor] = vector / norm if norm else np.zeros_like(vector)
        return self.units[descriptor]

    def search(self, query: Query[str]) -> list[Hit]:
        """Every selected object that reaches the cosine, best first and ties by id. Equal descriptors score equal."""
        asked = self.unit(query.descriptor)
        scores: dict[Descriptor, float] = {}
        hits = []
        for one in self.objects.values():
            for descriptor in one.descriptors:
                if descriptor.version != query.descriptor.version or not selects(query.where, query.scope, one):
                    continue
                if descriptor not in scores:
                    scores[descriptor] = float(np.clip(np.dot(self.unit(descriptor), asked), -1, 1))
                if scores[descriptor] >= query.min_cosine:
                    hits.append(Hit(one.object_id, scores[descriptor]))
        return sorted(hits, key=lambda hit: (-hit.cosine, hit.object_id))


def agree(hits: list[Hit], every: list[Hit], limit: int, nearly: float = 1e-9) -> None:
    """Fail unless hits are the first `limit` of all expected hits; cosines that are nearly equal may change places."""
    assert len(hits) == min(limit, len(every))
    cosine = {hit.object_id: hit.cosine for hit in every}
    assert len({hit.object_id for hit in hits}) == len(hits)
    for hit, expected in zip(hits, every, strict=False):
        assert abs(hit.cosine - expected.cosine) <= nearly
        assert abs(hit.cosine - cosine[hit.object_id]) <= nearly
    for one, other in pairwise(hits):
        assert (-one.cosine, one.object_id) < (-other.cosine, other.object_id)
        if cosine[one.object_id] == cosine[other.object_id]:
            assert one.object_id < other.object_id
