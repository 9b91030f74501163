"""Filters of faces and of events in the terms of an index, as far as it has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from server.domain.event_conditions import Column, Condition, Operator
from server.domain.faces import FaceFilter
from server.domain.search import Where

FaceTerms = tuple[Where, FaceFilter | None]
EventTerms = tuple[Where, tuple[Condition, ...] | None]
"""`Query.where` and `Query.filters`."""

_Item = TypeVar("_Item", UUID, str)


def face_terms(where: FaceFilter) -> FaceTerms:
    """The filters of faces; all but `user_data` are the index's own."""
    known = Where(
        ids=None if where.face_ids is None else frozenset(where.face_ids),
        id_gte=where.face_id_gte,
        id_lt=where.face_id_lt,
        create_time_gte=where.create_time_gte,
        create_time_lt=where.create_time_lt,
        external_ids=None if where.external_ids is None else frozenset(where.external_ids),
        group_id=where.list_id,
        origin_id=where.event_id,
    )
    return known, None if where.user_data is None else where


def event_terms(conditions: tuple[Condition, ...]) -> EventTerms:
    """The conditions on events; those on account, ids, external ids and time of creation are the index's own."""
    known = Where()
    unknown = False
    for condition in conditions:
        narrower = _narrower(known, condition)
        unknown |= narrower is None
        known = narrower or known
    return known, conditions if unknown else None


def _narrower(where: Where, condition: Condition) -> Where | None:
    """With one more condition; None where it is not the index's own."""
    match condition.of, condition.operator, condition.value:
        case Column.ACCOUNT_ID, Operator.EQ, UUID() as one if where.account_id in {None, one}:
            return replace(where, account_id=one)
        case Column.EVENT_ID, Operator.EQ, UUID() as one:
            return replace(where, ids=_both(where.ids, [one]))
        case Column.EVENT_ID, Operator.IN, tuple(items):
            ids = [one for one in items if isinstance(one, UUID)]
            return replace(where, ids=_both(where.ids, ids)) if len(ids) == len(items) else None
        case Column.EVENT_ID, Operator.GTE, UUID() as bound:
            return replace(where, id_gte=max(where.id_gte or bound, bound))
        case Column.EVENT_ID, Operator.LT, UUID() as bound:
            return replace(where, id_lt=min(where.id_lt or bound, bound))
        case Column.EXTERNAL_ID, Operator.EQ, str() as text:
            return replace(where, external_ids=_both(where.external_ids, [text]))
        case Column.EXTERNAL_ID, Operator.IN, tuple(items):
            texts = [one for one in items if isinstance(one, str)]
            both = _both(where.external_ids, texts)
            return replace(where, external_ids=both) if len(texts) == len(items) else None
        case Column.CREATE_TIME, Operator.GTE, datetime() as time:
            return replace(where, create_time_gte=max(where.create_time_gte or time, time))
        case Column.CREATE_TIME, Operator.LT, datetime() as time:
            return replace(where, create_time_lt=min(where.create_time_lt or time, time))
        case _:
            return None


def _both(held: frozenset[_Item] | None, items: Iterable[_Item]) -> frozenset[_Item]:
    return frozenset(items) if held is None else held.intersection(items)
