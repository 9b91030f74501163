"""What models can do, one protocol for each task. Whatever serves a task can be put in place of another.

Implementations are safe to use from several threads. They take views of one or more pictures and work on them as one
batch. An estimator is named in a pack's manifest by its task and its adapter (`engines.vision.models`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from engines.packs.manifest import Task as Task
from engines.vision.boxes import Boxes, Scores
from engines.vision.decoding import Image
from engines.vision.detections import Detections
from engines.vision.view import BodyView, FaceView

T_co = TypeVar("T_co", covariant=True)


class FaceDetector(Protocol):
    """Finds faces and their five points."""

    def detect(self, image: Image, min_face: int) -> Detections:
        """All faces whose box is about `min_face` pixels or more, best first."""
        ...

    def examine(self, image: Image, boxes: Boxes) -> Detections:
        """What is seen in given square boxes [n, 4], one face for each, without any threshold, in their order."""
        ...


class BodyDetector(Protocol):
    """Finds people."""

    def detect(self, image: Image) -> tuple[Boxes, Scores]:
        """Boxes float32 [n, 4] and scores [n] in [0, 1], best first."""
        ...


class Describer(Protocol):
    """Makes descriptors of warps."""

    @property
    def version(self) -> int:
        """Version of the descriptors."""
        ...

    def describe(self, warps: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Descriptors of unit length, float32 [n, dimensions]."""
        ...


class FaceEstimator(Protocol[T_co]):
    """Estimates something of faces."""

    def estimate(self, faces: Sequence[FaceView]) -> Sequence[T_co]:
        """One result for each face, in their order."""
        ...


class BodyEstimator(Protocol[T_co]):
    """Estimates something of bodies."""

    def estimate(self, bodies: Sequence[BodyView]) -> Sequence[T_co]:
        """One result for each body, in their order."""
        ...
