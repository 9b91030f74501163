"""What an image of an estimator's task has come to, as bytes of JSON by the names of REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import orjson
from google.protobuf.message import Message

from server.domain.generation.made import Generated, MadeEvent
from server.domain.policies import Policies
from server.services.event_answers import EventAnswer


class Answer(Protocol):
    """Writes the events of one image."""

    def told(self, made: MadeEvent) -> bytes:
        """What subscribers are told of an event."""
        ...

    def written(self, generated: Generated) -> bytes:
        """What the result of the task has: an object of JSON."""
        ...


class Answers(Protocol):
    """Makes what writes the events of one image."""

    def of(self, policies: Policies, request_id: str) -> Answer:
        """For events made by policies; subscribers are told the id of the request."""
        ...


class JsonAnswers:
    """Implements `Answers` with the messages of GenerateEvents.

    Args:
        render: a message as a value of JSON (`gateway.render.Renderer.render`).
    """

    def __init__(self, render: Callable[[Message], object]) -> None:
        self._render = render

    def of(self, policies: Policies, request_id: str) -> Answer:
        """For events made by policies."""
        return _JsonAnswer(EventAnswer(policies, request_id), self._render)


class _JsonAnswer:
    def __init__(self, answer: EventAnswer, render: Callable[[Message], object]) -> None:
        self._answer = answer
        self._render = render

    def told(self, made: MadeEvent) -> bytes:
        return self._answer.told(made)

    def written(self, generated: Generated) -> bytes:
        return orjson.dumps(self._render(self._answer.response(generated)))
