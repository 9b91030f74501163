"""Other libraries for the same purposes, each the way that its own documentation shows it, where they are installed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.packs import sources
from engines.packs.errors import PackError

DETECT, RECOGNISE = "detect", "detect and describe"
"""Tasks: faces with their landmarks, and the descriptors of all of them as well."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Other:
    """A library's way of doing one task to an encoded picture. What it gives is dropped."""

    library: str
    task: str
    way: str
    call: Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Absent:
    """A library that cannot be measured, and why."""

    library: str
    reason: str


def others() -> Iterator[Other | Absent]:
    """Every way of every library; `Absent` where it is not installed or cannot be imported."""
    for library, ways in _LIBRARIES.items():
        if find_spec(library) is None:
            yield Absent(library, "not installed")
            continue
        try:
            found = ways(import_module(_MODULES.get(library, library)))
        # face_recognition ends the process where its models are missing, and TensorFlow fails in many ways
        except (Exception, SystemExit) as error:  # noqa: BLE001
            yield Absent(library, f"cannot be used: {' '.join(str(error).split())[:100]}")
            continue
        for task, (way, call) in found.items():
            yield Other(f"{library} {_version(library)}", task, way, call)


_Ways = Mapping[str, tuple[str, Callable[[bytes], object]]]


def _dlib(dlib: Any) -> _Ways:
    hog = dlib.get_frontal_face_detector()
    try:
        predictor = dlib.shape_predictor(str(sources.installed(sources.LANDMARKS5)))
        models = threading.local()
        path = str(sources.installed(sources.DESCRIPTOR))
    except PackError as error:
        raise ImportError(str(error)) from error

    def detect(image: bytes) -> list[tuple[Pixels, Any]]:
        pixels = _rgb(image)
        return [(pixels, predictor(pixels, box)) for box in hog(pixels, 1)]

    def recognise(image: bytes) -> object:
        if not hasattr(models, "network"):
            models.network = dlib.face_recognition_model_v1(path)
        chips = [dlib.get_face_chip(pixels, shape, size=150) for pixels, shape in detect(image)]
        return models.network.compute_face_descriptor(chips) if chips else None

    return {
        DETECT: ("HOG, upsampled once, 5 points", detect),
        RECOGNISE: ("the same and the ResNet, as one batch", recognise),
    }


def _face_recognition(library: Any) -> _Ways:
    return {
        DETECT: ("face_locations", lambda image: library.face_locations(_rgb(image))),
        RECOGNISE: ("face_encodings", lambda image: library.face_encodings(_rgb(image))),
    }


def _deepface(library: Any) -> _Ways:
    def represent(image: bytes) -> object:
        return library.represent(_bgr(image), "Facenet", enforce_detection=False)

    return {
        DETECT: ("extract_faces", lambda image: library.extract_faces(_bgr(image), enforce_detection=False)),
        RECOGNISE: ("represent, Facenet", represent),
    }


_LIBRARIES: Mapping[str, Callable[[Any], _Ways]] = {
    "dlib": _dlib,
    "face_recognition": _face_recognition,
    "deepface": _deepface,
}
_MODULES = {"deepface": "deepface.DeepFace"}
_PACKAGES = {"dlib": ("dlib-bin", "dlib"), "face_recognition": ("face_recognition",), "deepface": ("deepface",)}


def _version(library: str) -> str:
    for package in _PACKAGES[library]:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


def _bgr(image: bytes) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def _rgb(image: bytes) -> Pixels:
    """The picture as dlib takes it: decoding is part of every call, as it is of Luna's."""
    return np.asarray(cv2.cvtColor(_bgr(image), cv2.COLOR_BGR2RGB), np.uint8)
