"""Events kept in memory, and their index, as simple as they can be."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from domain_stores import NOW, cosine

from server.domain.access import Scope
from server.domain.descriptors import BODY_SPECS, Descriptor
from server.domain.event_conditions import Condition
from server.domain.event_values import judge_of_all, values_of
from server.domain.events import (
    Batch,
    Cell,
    EventDescriptor,
    EventQuery,
    EventRecord,
    StatisticsQuery,
)
from server.domain.faces import Page
from server.domain.policies import DescriptorKind
from server.domain.search import Hit, Query


class MemoryEvents:
    """Events by id with their descriptors. Those that come later are newer."""

    def __init__(self) -> None:
        self.rows: dict[UUID, EventRecord] = {}
        self.descriptors: dict[UUID, tuple[EventDescriptor, ...]] = {}

    def put(self, number: int, account_id: UUID, *descriptors: Descriptor, **fields: object) -> UUID:
        """An event with descriptors of its face and its body."""
        when = NOW + timedelta(seconds=len(self.rows))
        record = EventRecord(UUID(int=number), account_id, UUID(int=7000), when, when)
        self.rows[record.event_id] = replace(record, **fields)
        self.descriptors[record.event_id] = tuple(
            EventDescriptor(DescriptorKind.BODY if one.version in BODY_SPECS else DescriptorKind.FACE, one)
            for one in descriptors
        )
        return record.event_id

    async def keep(self, batch: Batch) -> None:
        for one in batch.events:
            self.rows[one.record.event_id] = one.record
            self.descriptors[one.record.event_id] = one.descriptors

    async def get(self, scope: Scope, event_id: UUID) -> EventRecord | None:
        found = self.rows.get(event_id)
        return found if found is not None and scope.includes(found.account_id) else None

    async def find(self, scope: Scope, query: EventQuery, page: Page) -> list[EventRecord]:
        found = [self.rows[event_id] for event_id in await self.select(scope, query.conditions)]
        return found[page.offset : page.offset + page.size]

    async def select(self, scope: Scope, conditions: Sequence[Condition]) -> list[UUID]:
        judge = judge_of_all(conditions)
        return [i for i, one in self.rows.items() if scope.includes(one.account_id) and judge(values_of(one))]

    async def statistics(self, scope: Scope, query: StatisticsQuery) -> list[tuple[Cell, ...]]:
        raise NotImplementedError

    async def descriptor(self, scope: Scope, event_id: UUID, version: int) -> Descriptor | None:
        if await self.get(scope, event_id) is None:
            return None
        found = [one.descriptor for one in self.descriptors[event_id] if one.descriptor.version == version]
        return found[0] if found else None

    async def descriptor_versions(self, scope: Scope, event_id: UUID) -> tuple[int, ...]:
        if await self.get(scope, event_id) is None:
            return ()
        return tuple(one.descriptor.version for one in self.descriptors[event_id])

    async def newest_by_external_id(self, scope: Scope, external_id: str) -> UUID | None:
        return self._newest(scope, [one for one in self.rows.values() if one.external_id == external_id])

    async def newest_by_track_id(self, scope: Scope, track_id: str) -> UUID | None:
        return self._newest(scope, [one for one in self.rows.values() if one.track_id == track_id])

    async def remove(self, scope: Scope, event_ids: Collection[UUID]) -> int:
        gone = [one for one in event_ids if await self.get(scope, one) is not None]
        for event_id in gone:
            del self.rows[event_id], self.descriptors[event_id]
        return len(gone)

    def _newest(self, scope: Scope, found: Sequence[EventRecord]) -> UUID | None:
        seen = [one for one in found if scope.includes(one.account_id)]
        return max(seen, key=lambda one: one.create_time).event_id if seen else None


class SlowEventIndex:
    """Every event compared with every query, one by one: conditions as the database would judge them."""

    def __init__(self, events: MemoryEvents) -> None:
        self._events = events
        self.asked: list[Query[tuple[Condition, ...]]] = []

    async def search(self, queries: Sequence[Query[tuple[Condition, ...]]]) -> list[list[Hit]]:
        self.asked += queries
        return [await self._one(query) for query in queries]

    async def _one(self, query: Query[tuple[Condition, ...]]) -> list[Hit]:
        selected = await self._events.select(query.scope, query.filters or ())
        hits = []
        for event_id in selected:
            one, where = self._events.rows[event_id], query.where
            known = await self._events.descriptor(query.scope, event_id, query.descriptor.version)
            if known is None or not all(
                (
                    where.account_id in (None, one.account_id),
                    where.ids is None or event_id in where.ids,
                    where.id_gte is None or event_id >= where.id_gte,
                    where.id_lt is None or event_id < where.id_lt,
                    where.create_time_gte is None or one.create_time >= where.create_time_gte,
                    where.create_time_lt is None or one.create_time < where.create_time_lt,
                    where.external_ids is None or one.external_id in where.external_ids,
                )
            ):
                continue
            hit = Hit(event_id, cosine(query.descriptor, known))
            if hit.cosine >= query.min_cosine:
                hits.append(hit)
        return sorted(hits, key=lambda hit: (-hit.cosine, hit.object_id))[: query.limit]
