"""Conditions of queries: which account, which faces, which lists."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Text, Uuid, any_, literal, select

from server.domain.access import Scope
from server.domain.faces import FaceFilter, ListFilter, Page
from storage.schema import faces, list_faces, lists

BIGGEST: Final = 2**63 - 1
"""PostgreSQL's largest OFFSET."""


def inside(column: ColumnElement[UUID], scope: Scope) -> list[ColumnElement[bool]]:
    """The condition that a row belongs to the scope: none where the scope is every account."""
    return [] if scope.account_id is None else [column == scope.account_id]


def among(column: ColumnElement[UUID], ids: Collection[UUID]) -> ColumnElement[bool]:
    """The condition that an id is one of many, which travel as one array and not as many parameters."""
    return column == any_(literal(list(ids), ARRAY(Uuid)))


def face_conditions(scope: Scope, where: FaceFilter) -> list[ColumnElement[bool]]:
    """Everything that a face must satisfy."""
    face = faces.c
    conditions = inside(face.account_id, scope)
    if where.face_ids is not None:
        conditions.append(among(face.face_id, where.face_ids))
    if where.external_ids is not None:
        conditions.append(face.external_id == any_(literal(list(where.external_ids), ARRAY(Text))))
    if where.event_id is not None:
        conditions.append(face.event_id == where.event_id)
    if where.list_id is not None:
        members = select(list_faces.c.face_id).where(list_faces.c.list_id == where.list_id)
        conditions.append(face.face_id.in_(members))
    if where.user_data is not None:
        conditions.append(face.user_data.contains(where.user_data, autoescape=True))
    conditions += between(face.create_time, where.create_time_gte, where.create_time_lt)
    conditions += between(face.face_id, where.face_id_gte, where.face_id_lt)
    return conditions


def list_conditions(scope: Scope, where: ListFilter) -> list[ColumnElement[bool]]:
    """Everything that a list must satisfy."""
    entry = lists.c
    conditions = inside(entry.account_id, scope)
    if where.list_ids is not None:
        conditions.append(among(entry.list_id, where.list_ids))
    if where.user_data is not None:
        conditions.append(entry.user_data.contains(where.user_data, autoescape=True))
    if where.user_data_eq is not None:
        conditions.append(entry.user_data == where.user_data_eq)
    conditions += between(entry.create_time, where.create_time_gte, where.create_time_lt)
    conditions += between(entry.last_update_time, where.last_update_time_gte, where.last_update_time_lt)
    conditions += between(entry.list_id, where.list_id_gte, where.list_id_lt)
    return conditions


def offset(page: Page) -> int:
    """Rows before a page, as far as PostgreSQL can count."""
    return min(page.offset, BIGGEST)


def between(column: ColumnElement[Any], gte: object, lt: object) -> list[ColumnElement[bool]]:
    """The conditions of an inclusive lower and an exclusive upper bound; None is no bound."""
    conditions = []
    if gte is not None:
        conditions.append(column >= gte)
    if lt is not None:
        conditions.append(column < lt)
    return conditions
