"""What an engine asks of those who do its work. Imports no networks: where processes do it, nobody else needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from server.domain.engine import Look
from server.domain.vision import BODIES, DetectedBody, DetectedFace, DetectedImage, Estimation, ExtractedDescriptor

P = ParamSpec("P")
T = TypeVar("T")

SUBJECTS: Sequence[Estimation | str] = (*Estimation, BODIES)
"""What may be asked for."""


class Work(Protocol):
    """What is done: the methods of `engines.vision.pipeline.Pipeline`, by which a crew is told what to do."""

    def detect(self, image: bytes, look: Look) -> DetectedImage:
        """As `Engine.detect`."""
        ...

    def inspect(self, sample: bytes, *, estimations: frozenset[Estimation]) -> DetectedFace:
        """As `Engine.inspect`."""
        ...

    def inspect_body(self, sample: bytes, *, estimations: frozenset[Estimation]) -> DetectedBody:
        """As `Engine.inspect_body`."""
        ...

    def describe(self, samples: Sequence[bytes], version: int) -> list[ExtractedDescriptor]:
        """As `Engine.describe`."""
        ...

    def normalise(self, image: bytes, *, width: int, height: int) -> bytes:
        """As `Engine.normalise`."""
        ...

    def to_jpeg(self, image: bytes) -> bytes:
        """As `Engine.to_jpeg`."""
        ...


@dataclass(frozen=True, slots=True)
class Served:
    """What an engine has to know of the models that its crew has loaded.

    Attributes:
        runtime: name of the runtime and its device.
        descriptor_version: version of the face descriptors that are made where none is named.
        needs: what must be installed or switched on for each of `SUBJECTS`; None where it is served.
    """

    runtime: str
    descriptor_version: int
    needs: Mapping[Estimation | str, str | None]


class Unexpected(Exception):
    """Work failed in another process, in a way that is no error of ours: its type, message and traceback as text."""


class Crew(Protocol):
    """Does the work of an engine."""

    def start(self, workers: int) -> Served:
        """Load the networks, and prove that each gives what it should. Blocks.

        Args:
            workers: threads that will call `work`.

        Raises:
            PackDamaged: the packs do not have what the settings want.
            RuntimeFailure: a network cannot be loaded, or gives something else.
            EngineFailure: a process cannot be started.
        """
        ...

    def work(self, method: Callable[Concatenate[Work, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do one piece of work. Blocks; is called from as many threads as `start` was told of.

        Args:
            method: of `Work`, by its name.
            args: of the method.
            kwargs: of the method.

        Raises:
            LunaError: whatever the method raises.
            RuntimeFailure: a network failed.
            EngineFailure: the process that worked on it has ended.
        """
        ...

    def close(self) -> None:
        """Give everything back. Nothing may be running. Blocks."""
        ...
