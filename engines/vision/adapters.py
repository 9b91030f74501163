"""Which adapter runs which model: from the words of manifests to objects with the protocols of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from engines.packs.errors import PackDamaged
from engines.packs.manifest import Model, Pixels, Task
from engines.packs.pack import Pack
from engines.runtime.runtime import Runtime, Session
from engines.vision.descriptor import DescriptorNetwork
from engines.vision.detector import Detector
from engines.vision.landmarks import LandmarkPredictor
from engines.vision.networks import (
    ediffiqa,
    expression,
    fastestdet,
    gender_dlib,
    genderage,
    minifasnet,
    person_reid,
    recognition,
    scrfd,
    yolox,
    yunet,
)
from engines.vision.networks.recognition import RecognitionNetwork
from engines.vision.networks.single_shot import SingleShotDetector
from engines.vision.tasks import BodyDetector, Describer, FaceDetector, FaceEstimator
from server.domain.attributes import Ethnicity
from server.domain.vision import Emotions, Gaze, Glasses, Liveness, Mask

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loading:
    """What an adapter is made from: one model of one pack."""

    pack: Pack
    model: Model
    networks: Networks

    def path(self, role: str) -> Path:
        """The file of a role.

        Raises:
            PackDamaged: the manifest names none.
        """
        name = self.model.files.get(role)
        if name is None:
            raise PackDamaged(f"{self} lacks the file {role!r}")
        return self.pack.path(name)

    def network(self, role: str = "network") -> Session:
        """The loaded network of a role.

        Raises:
            PackDamaged: the manifest names none.
            RuntimeFailure: it cannot be loaded.
        """
        return self.networks.load(self.path(role))

    def options(self, **usual: float) -> dict[str, float]:
        """The numbers that the adapter takes, where the manifest does not give them its usual ones.

        Raises:
            PackDamaged: the manifest gives one that the adapter does not know.
        """
        unknown = sorted(set(self.model.options) - set(usual))
        if unknown:
            raise PackDamaged(f"{self} has the option {unknown[0]!r}; known are {', '.join(usual) or 'none'}")
        return {**usual, **self.model.options}

    def pixels(self, usual: Pixels) -> Pixels:
        """How the network takes colours: as the manifest says, else the adapter's usual way."""
        return self.model.pixels or usual

    @property
    def version(self) -> int:
        """Version of the descriptors; manifests of such models have one."""
        return self.model.version or 0

    @property
    def dimensions(self) -> int:
        """Dimensions of the descriptors."""
        return self.model.dimensions or 0

    def __str__(self) -> str:
        return f"the {self.model.task.value} model of the pack {self.pack.manifest.name!r}"


@dataclass(frozen=True, slots=True)
class Networks:
    """Loads networks, each file once: models may share one."""

    runtime: Runtime
    loaded: dict[Path, Session] = field(default_factory=dict)

    def load(self, path: Path) -> Session:
        """The network in a file.

        Raises:
            RuntimeFailure: it cannot be loaded.
        """
        if path not in self.loaded:
            self.loaded[path] = self.runtime.load(path)
        return self.loaded[path]


Adapters = Mapping[str, Callable[[Loading], T]]
"""Adapters of one task by their words."""


def _mtcnn(loading: Loading) -> Detector:
    loading.options()
    return Detector(loading.network("proposal"), loading.network("refinement"), loading.network("output"))


def _dlib_resnet(loading: Loading) -> DescriptorNetwork:
    flip = bool(loading.options(flip=0)["flip"])
    return DescriptorNetwork(loading.network(), version=loading.version, flip_averaging=flip)


def _regression_trees(loading: Loading) -> LandmarkPredictor:
    loading.options()
    return LandmarkPredictor(loading.path("trees"))


def _yunet(loading: Loading) -> SingleShotDetector:
    options = loading.options(score=yunet.SCORE, overlap=yunet.OVERLAP)
    return SingleShotDetector(yunet.YuNet(loading.network(), loading.pixels(yunet.PIXELS)), **options)


def _scrfd(loading: Loading) -> SingleShotDetector:
    options = loading.options(score=scrfd.SCORE, overlap=scrfd.OVERLAP)
    return SingleShotDetector(scrfd.Scrfd(loading.network(), loading.pixels(scrfd.PIXELS)), **options)


def _recognition(usual: Pixels) -> Callable[[Loading], RecognitionNetwork]:
    def construct(loading: Loading) -> RecognitionNetwork:
        loading.options()
        pixels = loading.pixels(usual)
        return RecognitionNetwork(
            loading.network(), version=loading.version, dimensions=loading.dimensions, pixels=pixels
        )

    return construct


def _plain(construct: Callable[[Session, Pixels], T], usual: Pixels) -> Callable[[Loading], T]:
    """An adapter that takes a network and its pixels, and no options."""

    def made(loading: Loading) -> T:
        loading.options()
        return construct(loading.network(), loading.pixels(usual))

    return made


def _minifasnet(loading: Loading) -> minifasnet.LivenessNetwork:
    options = loading.options(around=minifasnet.AROUND)
    return minifasnet.LivenessNetwork(loading.network(), loading.pixels(minifasnet.PIXELS), **options)


def _yolox(loading: Loading) -> yolox.YoloxPeople:
    options = loading.options(score=yolox.SCORE, overlap=yolox.OVERLAP)
    return yolox.YoloxPeople(loading.network(), loading.pixels(yolox.PIXELS), **options)


def _fastestdet(loading: Loading) -> fastestdet.FastestDetPeople:
    options = loading.options(score=fastestdet.SCORE, overlap=fastestdet.OVERLAP)
    return fastestdet.FastestDetPeople(loading.network(), loading.pixels(fastestdet.PIXELS), **options)


def _person_reid(loading: Loading) -> person_reid.ReidentificationNetwork:
    loading.options()
    return person_reid.ReidentificationNetwork(
        loading.network(),
        version=loading.version,
        dimensions=loading.dimensions,
        pixels=loading.pixels(person_reid.PIXELS),
    )


FACE_DETECTORS: Adapters[FaceDetector] = {"mtcnn": _mtcnn, "yunet": _yunet, "scrfd": _scrfd}
LANDMARKS: Adapters[LandmarkPredictor] = {"regression_trees": _regression_trees}
FACE_DESCRIBERS: Adapters[Describer] = {
    "dlib_resnet": _dlib_resnet,
    "sface": _recognition(recognition.SFACE),
    "arcface": _recognition(recognition.ARCFACE),
}
FACE_SCORES: Adapters[FaceEstimator[float]] = {"ediffiqa": _plain(ediffiqa.FaceQualityNetwork, ediffiqa.PIXELS)}
EMOTIONS: Adapters[FaceEstimator[Emotions]] = {"expression": _plain(expression.ExpressionNetwork, expression.PIXELS)}
MASKS: Adapters[FaceEstimator[Mask]] = {}
GLASSES: Adapters[FaceEstimator[Glasses]] = {}
GAZES: Adapters[FaceEstimator[Gaze]] = {}
LIVENESS: Adapters[FaceEstimator[Liveness]] = {"minifasnet": _minifasnet}
GENDERS: Adapters[FaceEstimator[float]] = {
    "gender_dlib": _plain(gender_dlib.DlibGenderNetwork, gender_dlib.PIXELS),
    "genderage": _plain(genderage.GenderNetwork, genderage.PIXELS),
}
AGES: Adapters[FaceEstimator[float]] = {"genderage": _plain(genderage.AgeNetwork, genderage.PIXELS)}
ETHNICITIES: Adapters[FaceEstimator[Mapping[Ethnicity, float]]] = {}
BODY_DETECTORS: Adapters[BodyDetector] = {"yolox": _yolox, "fastestdet": _fastestdet}
BODY_DESCRIBERS: Adapters[Describer] = {"person_reid": _person_reid}


def make(adapters: Adapters[T], loading: Loading) -> T:
    """The object that runs a model.

    Raises:
        PackDamaged: there is no such adapter for the task, or the manifest does not give what it needs.
        RuntimeFailure: a network cannot be loaded.
    """
    word = loading.model.adapter
    constructor = adapters.get(word)
    if constructor is None:
        raise PackDamaged(f"{loading} names the adapter {word!r}; known are {', '.join(sorted(adapters)) or 'none'}")
    return constructor(loading)


def first(installed: Sequence[Pack], task: Task, adapters: Adapters[T], networks: Networks) -> T | None:
    """What serves a task: the first model of the first pack that has one; None where no pack has.

    Raises:
        PackDamaged, RuntimeFailure: as for `make`.
    """
    for pack in installed:
        for model in pack.models(task):
            return make(adapters, Loading(pack, model, networks))
    return None
