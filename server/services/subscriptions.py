"""The service Subscriptions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime

from google.protobuf.message import Message
from luna.v6 import events_pb2 as pb
from luna.v6 import events_pb2_grpc

from server.domain.event_conditions import Column, Condition, Operator
from server.domain.subscriptions import Gap, Interest, Notified, Position, Subscriptions, position_of
from server.errors import BadQuery
from server.rpc.calls import current
from server.services.event_filters import conditions_at, in_query
from server.services.messages import optional_uuid
from server.services.notices import read, values_from


class SubscriptionsService(events_pb2_grpc.SubscriptionsServicer):
    """Following events."""

    def __init__(self, subscriptions: Subscriptions[Message]) -> None:
        self._subscriptions = subscriptions

    async def Subscribe(self, request: pb.SubscribeRequest, context: object) -> AsyncGenerator[Message, None]:  # type: ignore[override] # streams are awaited first, see `server.rpc.methods`
        """Follow events from now on, or from a cursor."""
        scope = current().principal.reads(optional_uuid(request.filters.account_id))
        interest = Interest(scope, tuple(_conditions(request)), request.matching_candidates_labels)
        since = await self._subscriptions.now() if not request.cursor else position_of(request.cursor)
        if since is None:
            raise BadQuery(field="cursor", message="a cursor of an earlier message expected, or 0")
        return self._told(since, interest)

    async def _told(self, since: Position, interest: Interest) -> AsyncGenerator[Message, None]:
        async with aclosing(self._subscriptions.follow(since, interest)) as found:
            async for position, told in found:
                if isinstance(told, Gap):
                    gap = pb.EventGap(after=str(told.after), until=str(told.until))
                    yield pb.SubscribeResponse(cursor=str(position), gap=gap)
                else:
                    yield told


def read_notice(position: Position, data: bytes) -> Notified[Message]:
    """What a notice says, with the message that every subscriber is sent."""
    message = read(data)
    response = pb.SubscribeResponse(cursor=str(position), event=message.told)
    return Notified(values_from(message), frozenset(message.labels), response)


def _conditions(request: pb.SubscribeRequest) -> Iterator[Condition]:
    yield from conditions_at(request.filters, datetime.now(UTC), in_query)
    similarity = Column.TOP_SIMILAR_OBJECT_SIMILARITY
    if request.HasField("object_similarity_gte"):
        yield Condition(similarity, Operator.GTE, request.object_similarity_gte)
    if request.HasField("object_similarity_lt"):
        yield Condition(similarity, Operator.LT, request.object_similarity_lt)
