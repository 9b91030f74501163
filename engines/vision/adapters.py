"""Which adapter runs which model: from the words of manifests to objects with the protocols of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from engines.packs.errors import PackDamaged
from engines.packs.manifest import Model, Task
from engines.packs.pack import Pack
from engines.runtime.runtime import Runtime, Session
from engines.vision.descriptor import DescriptorNetwork
from engines.vision.detector import Detector
from engines.vision.landmarks import LandmarkPredictor
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

    @property
    def version(self) -> int:
        """Version of the descriptors; manifests of such models have one."""
        return self.model.version or 0

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


FACE_DETECTORS: Adapters[FaceDetector] = {"mtcnn": _mtcnn}
LANDMARKS: Adapters[LandmarkPredictor] = {"regression_trees": _regression_trees}
FACE_DESCRIBERS: Adapters[Describer] = {"dlib_resnet": _dlib_resnet}
FACE_SCORES: Adapters[FaceEstimator[float]] = {}
EMOTIONS: Adapters[FaceEstimator[Emotions]] = {}
MASKS: Adapters[FaceEstimator[Mask]] = {}
GLASSES: Adapters[FaceEstimator[Glasses]] = {}
GAZES: Adapters[FaceEstimator[Gaze]] = {}
LIVENESS: Adapters[FaceEstimator[Liveness]] = {}
GENDERS: Adapters[FaceEstimator[float]] = {}
AGES: Adapters[FaceEstimator[float]] = {}
ETHNICITIES: Adapters[FaceEstimator[Mapping[Ethnicity, float]]] = {}
BODY_DETECTORS: Adapters[BodyDetector] = {}
BODY_DESCRIBERS: Adapters[Describer] = {}


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
