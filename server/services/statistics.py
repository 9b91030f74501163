"""Statistics of events: what a request asks for, and rows as an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Value
from luna.v6 import events_pb2 as pb

from server.domain.event_conditions import Column, Condition, Operator
from server.domain.event_reading import StatisticsCondition, statistics_query
from server.domain.events import Aggregator, Cell, StatisticsQuery
from server.domain.policies import TimeBound
from server.errors import BadBody
from server.services.messages import word_of

_BOUNDS = {"gte": Operator.GTE, "lt": Operator.LT}


def query_from(request: pb.GetStatisticsRequest, now: datetime) -> StatisticsQuery:
    """What a request asks for; relative times as they are now.

    Raises:
        BadBody: see `statistics_query`; or a period is none.
    """
    targets = [(one.column, Aggregator(word_of(pb.Aggregator.DESCRIPTOR, one.aggregator))) for one in request.targets]
    filters = [StatisticsCondition(one.column, one.operator, _json(one.value)) for one in request.filters]
    period = [
        condition
        for position, one in enumerate(request.period)
        for condition in _period(one, f"period.{position}", now)
    ]
    return statistics_query(targets, filters, period, request.group_by)


def row(cells: Sequence[Cell]) -> ListValue:
    """A row of an answer."""
    return ListValue(values=[_value(cell) for cell in cells])


def _period(message: pb.StatisticsPeriod, path: str, now: datetime) -> Iterator[Condition]:
    """The bounds of a period in either of its forms; an empty one has none."""
    if message.value or message.operator or message.column:
        for name in ("operator", "value"):
            if not getattr(message, name):
                raise BadBody(field=f"{path}.{name}", message="it is required")
        yield _bound(_BOUNDS[message.operator], message.value, now)
    for operator, text in ((Operator.GTE, message.create_time_gte), (Operator.LT, message.create_time_lt)):
        if text:
            yield _bound(operator, text, now)


def _bound(operator: Operator, text: str, now: datetime) -> Condition:
    return Condition(Column.CREATE_TIME, operator, TimeBound(text).at(now))


def _json(value: Value) -> object:
    """A value of JSON; numbers that JSON does not know stay what they are, and are refused as such."""
    match value.WhichOneof("kind"):
        case "struct_value":
            return {name: _json(one) for name, one in value.struct_value.fields.items()}
        case "list_value":
            return [_json(one) for one in value.list_value.values]
        case "null_value" | None:
            return None
        case kind:
            return getattr(value, kind)


def _value(cell: Cell) -> Value:
    match cell:
        case None:
            return Value(null_value=NULL_VALUE)
        case datetime():
            return Value(string_value=cell.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"))
        case UUID() | str():
            return Value(string_value=str(cell))
        case _:
            return Value(number_value=cell)
