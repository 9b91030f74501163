"""What is told of the events of one request, and what is answered: the same messages, or JSON of them."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import orjson
from google.protobuf.message import Message
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


class JsonAnswers:
    """Implements `server.tasks.answers.Answers` with the messages of GenerateEvents.

    Args:
        render: a message as a value of JSON.
    """

    def __init__(self, render: Callable[[Message], object]) -> None:
        self._render = render

    def of(self, policies: Policies, request_id: str) -> JsonAnswer:
        """For events made by policies."""
        return JsonAnswer(EventAnswer(policies, request_id), self._render)


class JsonAnswer:
    """Implements `server.tasks.answers.Answer`."""

    def __init__(self, answer: EventAnswer, render: Callable[[Message], object]) -> None:
        self._answer = answer
        self._render = render

    def told(self, made: MadeEvent) -> bytes:
        """What subscribers are told of an event."""
        return self._answer.told(made)

    def written(self, generated: Generated) -> bytes:
        """The answer as an object of JSON."""
        return orjson.dumps(self._render(self._answer.response(generated)))
