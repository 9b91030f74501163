"""Making events: GenerateEvents and GenerateStreamEvents of luna.v6.Events."""

from __future__ import annotations

from uuid import UUID

from luna.v6 import events_pb2 as pb

from server.domain.generation.generation import Generation
from server.domain.generation.request import GenerationWish
from server.domain.handler_registry import HandlerRegistry
from server.domain.handlers import Handler, HandlerStore, HandlerType
from server.domain.liveness import LivenessThresholds
from server.domain.policies import Policies
from server.errors import BadBody, Diverted, HandlerNotFound
from server.rpc.calls import current
from server.services.event_answers import EventAnswer
from server.services.event_sources import TYPES, data_from, source_data_from, sources_from, stream_sources_from
from server.services.policies import policies_from


class EventGeneration:
    """Makes events by the policies of handlers.

    Args:
        generation: the way from sources to events.
        handlers: where handlers are.
        registry: the rules that policies of a request are held to.
        liveness: what absent thresholds of liveness are.
    """

    def __init__(
        self, generation: Generation, handlers: HandlerStore, registry: HandlerRegistry, liveness: LivenessThresholds
    ) -> None:
        self._generation = generation
        self._handlers = handlers
        self._registry = registry
        self._liveness = liveness

    async def generate(self, request: pb.GenerateEventsRequest) -> pb.GenerateEventsResponse:
        """Make events of images, samples and descriptors."""
        wish = GenerationWish(
            sources=sources_from(request.sources, TYPES[request.image_type]),
            data=data_from(request, current().headers),
            aggregate=request.aggregate_attributes,
            use_exif=request.use_exif_info,
        )
        handler = await self._handler(UUID(request.handler_id))
        return await self._make(handler, await self._policies(handler, request), wish)

    async def stream(self, request: pb.GenerateStreamEventsRequest) -> pb.GenerateEventsResponse:
        """Make events of sources that each carry their own data."""
        wish = _stream_wish(request)
        handler = await self._handler(UUID(request.handler_id))
        if handler.policies is None:
            raise BadBody(field="handler_id", message="a dynamic handler needs policies, which cannot be given here")
        return await self._make(handler, handler.policies, wish)

    async def _handler(self, handler_id: UUID) -> Handler:
        handler = await self._handlers.get(current().principal.writes, handler_id)
        if handler is None:
            raise HandlerNotFound(handler_id=handler_id)
        if handler.handler_type is HandlerType.LAMBDA:
            raise Diverted(handler_id=handler_id)
        return handler

    async def _policies(self, handler: Handler, request: pb.GenerateEventsRequest) -> Policies:
        """The policies of a static handler, or for a dynamic one those of the request, held to the same rules."""
        given = request.HasField("policies")
        if handler.policies is not None:
            if given:
                raise BadBody(field="policies", message="only dynamic handlers take policies")
            return handler.policies
        if not given:
            raise BadBody(field="policies", message="a dynamic handler needs policies")
        policies = policies_from(request.policies, self._liveness)
        await self._registry.check(current().principal, policies)
        return policies

    async def _make(self, handler: Handler, policies: Policies, wish: GenerationWish) -> pb.GenerateEventsResponse:
        call = current()
        answer = EventAnswer(policies, call.request_id)
        generated = await self._generation.generate(call.principal, handler.handler_id, policies, wish, answer.told)
        return answer.response(generated)


def _stream_wish(request: pb.GenerateStreamEventsRequest) -> GenerationWish:
    """What a stream wants.

    Raises:
        BadBody: data stands where it does not count.
    """
    sources = stream_sources_from(request.sources)
    for position, source in enumerate(sources):
        if request.aggregate_attributes and source.data is not None:
            raise BadBody(
                field=f"sources.{position}.source_data", message="with aggregate_attributes it belongs to the request"
            )
    if not request.HasField("source_data"):
        return GenerationWish(sources, aggregate=request.aggregate_attributes, use_exif=request.use_exif_info)
    if not request.aggregate_attributes:
        raise BadBody(field="source_data", message="without aggregate_attributes it belongs to the sources")
    data = source_data_from(request.source_data, "source_data")
    return GenerationWish(sources, data, aggregate=True, use_exif=request.use_exif_info)
