"""The models that an engine has, by what they do. What no installed pack serves is None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from engines.packs.describing import chosen_version
from engines.packs.errors import PackDamaged
from engines.packs.manifest import Task
from engines.packs.pack import Pack
from engines.runtime.runtime import Runtime, RuntimeFailure
from engines.vision import adapters, alignment, quality
from engines.vision.adapters import Adapters, Loading, Networks
from engines.vision.boxes import squared
from engines.vision.decoding import Image, Picture
from engines.vision.headers import Format
from engines.vision.landmarks import LandmarkPredictor
from engines.vision.tasks import BodyDetector, BodyEstimator, Describer, FaceDetector, FaceEstimator
from engines.vision.view import FaceView
from server.domain.attributes import Ethnicity
from server.domain.descriptors import BODY_SPECS, SPECS, Specs
from server.domain.vision import (
    BODY_HEIGHT,
    BODY_WIDTH,
    WARP_SIZE,
    Accessories,
    BodyBasicAttributes,
    Emotions,
    Gaze,
    Glasses,
    Liveness,
    LowerBody,
    Mask,
    Rect,
    UpperBody,
)
from server.settings import Engine

T = TypeVar("T")


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
        """Run the networks once and check what they give.

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
        region = alignment.rectangles(2 * alignment.CANONICAL_POINTS[None])
        for predictor in (self.landmarks5, self.landmarks68):
            if predictor is not None:
                _check_finite(predictor.predict(grey, region), "landmarks")
        # whatever is compiled is compiled now, and not for the first who asks
        transform = alignment.warp_transform(self.landmarks5.predict(grey, region)[0])
        quality.estimate(alignment.warp(grey, transform))
        self._try_estimators(grey)

    def _try_estimators(self, grey: Image) -> None:
        """Run what comes with optional packs once.

        Raises:
            RuntimeFailure: a network fails, or gives a number that is none.
        """
        others = [one for version, one in self.describers.items() if version != self.descriptor_version]
        for describer in others:
            _check_finite(describer.describe([grey[:WARP_SIZE, :WARP_SIZE]]), f"descriptors {describer.version}")
        if self.body_describer is not None:
            _check_finite(self.body_describer.describe([grey[:BODY_HEIGHT, :BODY_WIDTH]]), "descriptors of bodies")
        if self.bodies is not None:
            _check_finite(self.bodies.detect(grey)[0], "people")
        x1, y1, x2, y2 = (2 * int(value) for value in alignment.CANONICAL_BOX[0])
        points = 2 * alignment.CANONICAL_POINTS
        view = FaceView(
            Picture(grey, Format.PNG, 0),
            Rect(x1, y1, x2 - x1, y2 - y1),
            1.0,
            points,
            alignment.rectangles(points[None]),
            np.ascontiguousarray(grey[:WARP_SIZE, :WARP_SIZE]),
        )
        for estimator in (self.face_score, self.gender, self.age):
            if estimator is not None:
                _check_finite(np.array(estimator.estimate([view])), type(estimator).__name__)
        if self.emotions is not None:
            (found,) = self.emotions.estimate([view])
            _check_finite(np.array(list(found.estimations.values())), "emotions")
        if self.liveness is not None:
            (alive,) = self.liveness.estimate([view])
            _check_finite(np.array([alive.score, alive.quality]), "liveness")


def _check_finite(values: npt.NDArray[np.floating], what: str) -> None:
    if not np.isfinite(values).all():
        message = f"the network for {what} gives numbers that are none"
        raise RuntimeFailure(message)


def assemble(installed: Sequence[Pack], runtime: Runtime, settings: Engine) -> Models:
    """Load the models of packs. Where several serve a task, the pack named first does.

    Every version of face descriptors is loaded. Models of gender, age and ethnicity are loaded only where they are
    switched on, and so is the 68-point model.

    Raises:
        PackDamaged: no pack finds faces, aligns or describes them; the 68-point model is switched on and no pack has
            it; no pack makes the wanted version; or a manifest names what is not known.
        RuntimeFailure: a network cannot be loaded.
    """
    networks = Networks(runtime)

    def one(task: Task, known: Adapters[T]) -> T | None:
        return adapters.first(installed, task, known, networks)

    def needed(task: Task, known: Adapters[T]) -> T:
        found = one(task, known)
        if found is None:
            names = ", ".join(pack.manifest.name for pack in installed)
            raise PackDamaged(f"none of the packs {names} has a model for {task.value}")
        return found

    for pack in installed:
        for model in pack.models(Task.BODY_DESCRIPTOR):
            _check_layout(Loading(pack, model, networks), BODY_SPECS)
    demographics = settings.demographics
    describers = _describers(installed, networks)
    return Models(
        detector=needed(Task.FACE_DETECTION, adapters.FACE_DETECTORS),
        landmarks5=needed(Task.LANDMARKS5, adapters.LANDMARKS),
        landmarks68=needed(Task.LANDMARKS68, adapters.LANDMARKS) if settings.landmarks68 else None,
        describers=describers,
        descriptor_version=chosen_version(installed, settings),
        face_score=one(Task.FACE_SCORE, adapters.FACE_SCORES),
        emotions=one(Task.EMOTIONS, adapters.EMOTIONS),
        mask=one(Task.MASK, adapters.MASKS),
        glasses=one(Task.GLASSES, adapters.GLASSES),
        gaze=one(Task.GAZE, adapters.GAZES),
        liveness=one(Task.LIVENESS, adapters.LIVENESS),
        gender=one(Task.GENDER, adapters.GENDERS) if demographics else None,
        age=one(Task.AGE, adapters.AGES) if demographics else None,
        ethnicity=one(Task.ETHNICITY, adapters.ETHNICITIES) if demographics else None,
        bodies=one(Task.BODY_DETECTION, adapters.BODY_DETECTORS),
        body_describer=one(Task.BODY_DESCRIPTOR, adapters.BODY_DESCRIBERS),
    )


def _check_layout(loading: Loading, specs: Specs) -> None:
    """Refuses a version whose layout is another one, or is nobody's.

    Raises:
        PackDamaged: it is.
    """
    layout = specs.get(loading.version)
    if layout is None or layout.dimensions != loading.dimensions:
        what = "is not known" if layout is None else f"has {layout.dimensions} dimensions"
        raise PackDamaged(f"{loading}: version {loading.version} {what} (docs/reference/descriptors.md)")


def _describers(installed: Sequence[Pack], networks: Networks) -> dict[int, Describer]:
    """Face descriptors by their version; of two packs with one version, the first one's."""
    found: dict[int, Describer] = {}
    for pack in installed:
        for model in pack.models(Task.FACE_DESCRIPTOR):
            loading = Loading(pack, model, networks)
            _check_layout(loading, SPECS)
            if loading.version not in found:
                found[loading.version] = adapters.make(adapters.FACE_DESCRIBERS, loading)
    return found
