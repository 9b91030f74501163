"""What is told of the events of one request, and what is answered: the same messages."""

from __future__ import annotations

from uuid import UUID

from luna.v6 import events_pb2 as pb

from server.domain.generation.made import Generated, MadeEvent
from server.domain.generation.plan import Plan
from server.domain.policies import Policies
from server.services.event_messages import EventMessages
from server.services.notices import notice


class EventAnswer:
    """Writes the events of one request.

    Args:
        policies: by which they are made.
        request_id: id of the request.
    """

    def __init__(self, policies: Policies, request_id: str) -> None:
        self._messages = EventMessages(Plan.of(policies))
        self._request_id = request_id
        self._written: dict[UUID, pb.GeneratedEvent] = {}

    def told(self, made: MadeEvent) -> bytes:
        """What subscribers are told of an event."""
        event_id = made.record.event_id
        self._written[event_id] = self._messages.event(made)
        return notice(made.record, self._written[event_id], self._request_id)

    def response(self, generated: Generated) -> pb.GenerateEventsResponse:
        """What is answered."""
        events = [self._written.get(made.record.event_id) or self._messages.event(made) for made in generated.events]
        return self._messages.response(generated, events)
