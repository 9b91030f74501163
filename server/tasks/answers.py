"""What an image of an estimator's task has come to, as subscribers and the result of the task have it."""

from __future__ import annotations

from typing import Protocol

from server.domain.generation.made import Generated, MadeEvent
from server.domain.policies import Policies


class Answer(Protocol):
    """Writes the events of one image."""

    def told(self, made: MadeEvent) -> bytes:
        """What subscribers are told of an event."""
        ...

    def written(self, generated: Generated) -> bytes:
        """What the result of the task has: an object of JSON, as generating events answers it."""
        ...


class Answers(Protocol):
    """Makes what writes the events of one image."""

    def of(self, policies: Policies, request_id: str) -> Answer:
        """For events made by policies; subscribers are told the id of the request."""
        ...
