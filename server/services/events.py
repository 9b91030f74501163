"""luna.v6.Events."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from luna.v6 import events_pb2 as pb
from luna.v6 import events_pb2_grpc

from server.domain.event_reading import event_query, field_names
from server.domain.events import Batch, EventOrder, EventStore
from server.domain.faces import Page
from server.domain.generation.keeping import Keeping
from server.domain.handlers import HandlerStore, HandlerType
from server.errors import EventNotFound, EventsOff, HandlerNotFound, OnlyDynamicHandlers
from server.rpc.calls import current
from server.services.event_filters import conditions_at, in_query
from server.services.event_generation import EventGeneration
from server.services.handler_lambdas import HandlerLambdas
from server.services.messages import optional_uuid
from server.services.raw_events import new_event
from server.services.statistics import query_from, row
from server.services.stored_events import stored_event

_ORDERS = {pb.EVENT_ORDER_ASC: EventOrder.OLDEST_FIRST}


class EventsService(events_pb2_grpc.EventsServicer):
    """Making and reading events.

    Args:
        generation: makes them.
        store: where they are kept.
        keeping: keeps those that the caller made.
        handlers: where handlers are.
        lambdas: calls what stands in for handlers.
        enabled: events can be read, and those that the caller made are kept.
    """

    def __init__(
        self,
        generation: EventGeneration,
        store: EventStore,
        keeping: Keeping,
        handlers: HandlerStore,
        lambdas: HandlerLambdas,
        *,
        enabled: bool = True,
    ) -> None:
        self._generation = generation
        self._store = store
        self._keeping = keeping
        self._handlers = handlers
        self._lambdas = lambdas
        self._enabled = enabled

    async def GenerateEvents(self, request: pb.GenerateEventsRequest, context: object) -> pb.GenerateEventsResponse:
        """Make events of images, samples and descriptors."""
        return await self._generation.generate(request)

    async def GenerateStreamEvents(
        self, request: pb.GenerateStreamEventsRequest, context: object
    ) -> pb.GenerateEventsResponse:
        """Make events of sources that each carry their own data."""
        return await self._generation.stream(request)

    async def CallHandlerLambda(
        self, request: pb.CallHandlerLambdaRequest, context: object
    ) -> pb.CallHandlerLambdaResponse:
        """Send a request to the lambda that stands in for a handler; nothing where none does."""
        handler_id = UUID(request.handler_id)
        handler = await self._handlers.get(current().principal.writes, handler_id)
        if handler is None:
            raise HandlerNotFound(handler_id=handler_id)
        if handler.lambda_id is not None:
            return pb.CallHandlerLambdaResponse(answer=await self._lambdas.answer(handler.lambda_id, request.request))
        return pb.CallHandlerLambdaResponse()

    async def SaveEvent(self, request: pb.SaveEventRequest, context: object) -> pb.SaveEventResponse:
        """Keep and tell an event that the caller made."""
        self._require()
        handler_id = UUID(request.handler_id)
        handler = await self._handlers.get(current().principal.writes, handler_id)
        if handler is None:
            raise HandlerNotFound(handler_id=handler_id)
        if handler.handler_type is not HandlerType.DYNAMIC:
            raise OnlyDynamicHandlers(handler_id=handler_id)
        new = new_event(request.event, handler, current().request_id, datetime.now(UTC))
        await self._keeping.keep(Batch((new,)), wait=request.wait_saving)
        event_id = str(new.record.event_id)
        return pb.SaveEventResponse(event_id=event_id, url=f"/6/events/{event_id}", accepted=not request.wait_saving)

    async def ListEvents(self, request: pb.ListEventsRequest, context: object) -> pb.ListEventsResponse:
        """A page of events."""
        self._require()
        scope = current().principal.reads(optional_uuid(request.filters.account_id))
        now = datetime.now(UTC)
        order = _ORDERS.get(request.order, EventOrder.NEWEST_FIRST)
        query = event_query(conditions_at(request.filters, now, in_query), order, now)
        found = await self._store.find(scope, query, Page(request.page, request.page_size))
        return pb.ListEventsResponse(events=[stored_event(one, request.targets) for one in found])

    async def GetStatistics(self, request: pb.GetStatisticsRequest, context: object) -> pb.GetStatisticsResponse:
        """Numbers about events."""
        self._require()
        query = query_from(request, datetime.now(UTC))
        rows = await self._store.statistics(current().principal.reads(), query)
        return pb.GetStatisticsResponse(fields=field_names(query), stats=[row(one) for one in rows])

    async def GetEvent(self, request: pb.GetEventRequest, context: object) -> pb.StoredEvent:
        """One event."""
        self._require()
        event_id = UUID(request.event_id)
        found = await self._store.get(current().principal.reads(), event_id)
        if found is None:
            raise EventNotFound(event_id=event_id)
        return stored_event(found, request.targets)

    def _require(self) -> None:
        if not self._enabled:
            raise EventsOff(function="events")
