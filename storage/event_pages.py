"""Pages of events: found by keys, read by key."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.sql.selectable import FromClause

from server.domain.access import Scope
from server.domain.events import EventOrder, EventQuery
from server.domain.faces import Page
from storage.event_queries import event_conditions
from storage.filters import offset
from storage.schema import events


def page_query(scope: Scope, query: EventQuery, page: Page) -> Select[*tuple[Any, ...]]:
    """The statement of a page.

    Rows are wide. Those before the page are stepped over by their keys, in the index alone where the conditions let
    that be, and only the rows of the page are read.
    """
    keys = select(events.c.event_id, events.c.create_time).where(*event_conditions(scope, query.conditions))
    chosen = keys.order_by(*_order(events, query)).limit(page.size).offset(offset(page)).subquery("page")
    same = (events.c.event_id == chosen.c.event_id) & (events.c.create_time == chosen.c.create_time)
    return select(events).join_from(chosen, events, same).order_by(*_order(events, query))


def _order(source: FromClause, query: EventQuery) -> tuple[ColumnElement[Any], ...]:
    columns = (source.c.event_id,) if query.by_id else (source.c.create_time, source.c.event_id)
    return columns if query.order is EventOrder.OLDEST_FIRST else tuple(column.desc() for column in columns)
