"""luna.v6.Events."""

from __future__ import annotations

from luna.v6 import events_pb2 as pb
from luna.v6 import events_pb2_grpc

from server.services.event_generation import EventGeneration


class EventsService(events_pb2_grpc.EventsServicer):
    """Making and reading events.

    Args:
        generation: makes them.
    """

    def __init__(self, generation: EventGeneration) -> None:
        self._generation = generation

    async def GenerateEvents(self, request: pb.GenerateEventsRequest, context: object) -> pb.GenerateEventsResponse:
        """Make events of images, samples and descriptors."""
        return await self._generation.generate(request)

    async def GenerateStreamEvents(
        self, request: pb.GenerateStreamEventsRequest, context: object
    ) -> pb.GenerateEventsResponse:
        """Make events of sources that each carry their own data."""
        return await self._generation.stream(request)
