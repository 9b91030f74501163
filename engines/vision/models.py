"""The models that an engine has, by what they do. What no installed pack serves is None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engines.packs import pack as packs
from engines.packs.pack import Pack
from engines.runtime.runtime import Runtime, RuntimeFailure
from engines.vision import alignment
from engines.vision.boxes import squared
from engines.vision.descriptor import DescriptorNetwork
from engines.vision.detector import Detector
from engines.vision.landmarks import LandmarkPredictor
from engines.vision.tasks import BodyDetector, BodyEstimator, Describer, FaceDetector, FaceEstimator
from server.domain.attributes import Ethnicity
from server.domain.vision import (
    WARP_SIZE,
    Accessories,
    BodyBasicAttributes,
    Emotions,
    Gaze,
    Glasses,
    Liveness,
    LowerBody,
    Mask,
    UpperBody,
)
from server.settings import Engine


@dataclass(frozen=True, slots=True)
class Models:
    """Loaded models.

    Attributes:
        detector: finds faces.
        landmarks5: finds the five points that warps are aligned by.
        describers: face descriptors by their version.
        descriptor_version: the version that is made where none is named.
        landmarks68: finds the 68 points.
        face_score: how well a descriptor of a face can be trusted, in [0, 1]; the classical score where it is None.
        gender: probability of the gender male, in [0, 1].
        age: years.
    """

    detector: FaceDetector
    landmarks5: LandmarkPredictor
    describers: Mapping[int, Describer]
    descriptor_version: int
    landmarks68: LandmarkPredictor | None = None
    face_score: FaceEstimator[float] | None = None
    emotions: FaceEstimator[Emotions] | None = None
    mask: FaceEstimator[Mask] | None = None
    glasses: FaceEstimator[Glasses] | None = None
    gaze: FaceEstimator[Gaze] | None = None
    liveness: FaceEstimator[Liveness] | None = None
    gender: FaceEstimator[float] | None = None
    age: FaceEstimator[float] | None = None
    ethnicity: FaceEstimator[Mapping[Ethnicity, float]] | None = None
    bodies: BodyDetector | None = None
    body_describer: Describer | None = None
    body_basic_attributes: BodyEstimator[BodyBasicAttributes] | None = None
    upper_body: BodyEstimator[UpperBody] | None = None
    lower_body: BodyEstimator[LowerBody] | None = None
    accessories: BodyEstimator[Accessories] | None = None

    def warm_up(self, min_face: int) -> None:
        """Run the networks of faces once and check what they give.

        Raises:
            RuntimeFailure: a network fails or gives something of another shape.
        """
        grey = np.full((2 * WARP_SIZE, 2 * WARP_SIZE, 3), 128, np.uint8)
        self.detector.detect(grey, min_face)
        seen = self.detector.examine(grey, squared(np.repeat(alignment.CANONICAL_BOX, 2, axis=0)))
        described = self.describers[self.descriptor_version].describe([grey[:WARP_SIZE, :WARP_SIZE]] * 2)
        shapes = seen.boxes.shape, seen.scores.shape, seen.points.shape, described.shape[:1]
        if shapes != ((2, 4), (2,), (2, 5, 2), (2,)):
            message = f"the networks give arrays of the shapes {shapes}"
            raise RuntimeFailure(message)
        if not np.allclose(np.linalg.norm(described, axis=1), 1, atol=1e-3):
            raise RuntimeFailure("the descriptor network gives no vectors of unit length")


def assemble(installed: Sequence[Pack], runtime: Runtime, settings: Engine) -> Models:
    """Load the models of packs. Where several serve a task, the pack named first does.

    Raises:
        PackDamaged: the 68-point model is switched on and no pack has it.
        RuntimeFailure: a network cannot be loaded.
    """
    pack = installed[0]
    describer = DescriptorNetwork(runtime.load(pack.path(packs.DESCRIPTOR)), flip_averaging=settings.flip_averaging)
    return Models(
        detector=Detector(
            proposal=runtime.load(pack.path(packs.PROPOSAL)),
            refinement=runtime.load(pack.path(packs.REFINEMENT)),
            output=runtime.load(pack.path(packs.OUTPUT)),
        ),
        landmarks5=LandmarkPredictor(pack.path(packs.LANDMARKS5)),
        landmarks68=LandmarkPredictor(pack.path(packs.LANDMARKS68)) if settings.landmarks68 else None,
        describers={describer.version: describer},
        descriptor_version=describer.version,
    )
