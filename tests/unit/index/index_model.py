"""What the index is held against: faces in a dict, filters in plain Python, cosines in float64, a sort."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from server.domain.access import Scope
from server.domain.descriptors import Descriptor, spec
from server.domain.faces import FaceFilter
from server.domain.search import FaceQuery, Hit, IndexedFace

START = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = UUID(int=1 << 100)


def face(
    face_id: UUID,
    *descriptors: Descriptor,
    account_id: UUID = ACCOUNT,
    seconds: float = 0,
    external_id: str = "",
    event_id: UUID | None = None,
    lists: tuple[UUID, ...] = (),
) -> IndexedFace:
    """An indexed face with defaults."""
    created = START + timedelta(seconds=seconds)
    return IndexedFace(face_id, account_id, created, external_id, event_id, lists, descriptors)


def query(
    descriptor: Descriptor,
    where: FaceFilter | None = None,
    *,
    limit: int = 10,
    account_id: UUID | None = ACCOUNT,
    min_cosine: float = -1.0,
) -> FaceQuery:
    """A query with defaults."""
    return FaceQuery(descriptor, Scope(account_id), where or FaceFilter(), limit, min_cosine)


def halves(vector: NDArray[np.float64] | NDArray[np.float32]) -> Descriptor:
    """A descriptor of version 1001 from 128 numbers."""
    return Descriptor(1001, vector.astype("<f2").tobytes())


def selects(where: FaceFilter, scope: Scope, face: IndexedFace) -> bool:
    """Whether a filter lets a face through, condition by condition."""
    return all(
        (
            scope.account_id in (None, face.account_id),
            where.face_ids is None or face.face_id in where.face_ids,
            where.external_ids is None or face.external_id in where.external_ids,
            where.event_id is None or face.event_id == where.event_id,
            where.list_id is None or where.list_id in face.list_ids,
            where.create_time_gte is None or face.create_time >= where.create_time_gte,
            where.create_time_lt is None or face.create_time < where.create_time_lt,
            where.face_id_gte is None or face.face_id >= where.face_id_gte,
            where.face_id_lt is None or face.face_id < where.face_id_lt,
        )
    )


@dataclass(slots=True)
class Model:
    """The index as it should be."""

    faces: dict[UUID, IndexedFace] = field(default_factory=dict)
    units: dict[Descriptor, NDArray[np.float64]] = field(default_factory=dict)

    def unit(self, descriptor: Descriptor) -> NDArray[np.float64]:
        """The descriptor with length 1, or zeros where it has no direction."""
        if descriptor not in self.units:
            vector = np.frombuffer(descriptor.data, spec(descriptor.version).element.value).astype(np.float64)
            norm = float(np.linalg.norm(vector)) if np.isfinite(vector).all() else 0.0
            self.units[descriptor] = vector / norm if norm else np.zeros_like(vector)
        return self.units[descriptor]

    def search(self, query: FaceQuery) -> list[Hit]:
        """Every selected face that reaches the cosine, best first and ties by id. Equal descriptors score equal."""
        asked = self.unit(query.descriptor)
        scores: dict[Descriptor, float] = {}
        hits = []
        for face in self.faces.values():
            for descriptor in face.descriptors:
                if descriptor.version != query.descriptor.version or not selects(query.where, query.scope, face):
                    continue
                if descriptor not in scores:
                    scores[descriptor] = float(np.dot(self.unit(descriptor), asked))
                if scores[descriptor] >= query.min_cosine:
                    hits.append(Hit(face.face_id, scores[descriptor]))
        return sorted(hits, key=lambda hit: (-hit.cosine, hit.face_id))


def agree(hits: list[Hit], every: list[Hit], limit: int, nearly: float = 1e-9) -> None:
    """Fail unless hits are the first `limit` of all expected hits; cosines that are nearly equal may change places."""
    assert len(hits) == min(limit, len(every))
    cosine = {hit.face_id: hit.cosine for hit in every}
    assert len({hit.face_id for hit in hits}) == len(hits)
    for hit, expected in zip(hits, every, strict=False):
        assert abs(hit.cosine - expected.cosine) <= nearly
        assert abs(hit.cosine - cosine[hit.face_id]) <= nearly
    for one, other in pairwise(hits):
        assert (-one.cosine, one.face_id) < (-other.cosine, other.face_id)
        if cosine[one.face_id] == cosine[other.face_id]:
            assert one.face_id < other.face_id
