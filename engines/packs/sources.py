"""The files that packs are made from: where they come from, what they must hash to, and under which terms.

The checksum is verified before a byte is interpreted. That matters most for the weights of `mtcnn`, which are
joblib pickles: loading a changed one would run whatever it contains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from engines.packs.errors import SourceChanged, SourceMissing


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a pip package.

    Attributes:
        package: name of the distribution.
        version: version of the distribution that was reviewed.
        path: path inside the distribution, with slashes.
        size: length in bytes.
        sha256: checksum of the reviewed file, lower-case hexadecimal.
        licence: terms of the weights, in one sentence.
    """

    package: str
    version: str
    path: str
    size: int
    sha256: str
    licence: str


_PUBLIC_DOMAIN = "CC0: Davis King placed the dlib face models in the public domain; the package is CC0 as well."
_IBUG = (
    "Trained by Davis King on iBUG 300-W, whose authors exclude commercial use of the data: ask Imperial College "
    "London before using it in a product."
)
_MIT = (
    "MIT, Copyright (c) 2019-2024 Iván de Paz Centeno; the package names Kaipeng Zhang's original MTCNN repository as "
    "the origin of the weights."
)

DESCRIPTOR = Source(
    "face_recognition_models",
    "0.3.0",
    "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
    22_466_066,
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    _PUBLIC_DOMAIN,
)
LANDMARKS5 = Source(
    "face_recognition_models",
    "0.3.0",
    "face_recognition_models/models/shape_predictor_5_face_landmarks.dat",
    9_150_489,
    "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    _PUBLIC_DOMAIN,
)
LANDMARKS68 = Source(
    "face_recognition_models",
    "0.3.0",
    "face_recognition_models/models/shape_predictor_68_face_landmarks.dat",
    99_693_937,
    "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    _IBUG,
)
PNET = Source(
    "mtcnn",
    "1.0.0",
    "mtcnn/assets/weights/pnet.lz4",
    27_119,
    "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    _MIT,
)
RNET = Source(
    "mtcnn",
    "1.0.0",
    "mtcnn/assets/weights/rnet.lz4",
    401_659,
    "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    _MIT,
)
ONET = Source(
    "mtcnn",
    "1.0.0",
    "mtcnn/assets/weights/onet.lz4",
    1_557_637,
    "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
    _MIT,
)

Locate = Callable[[Source], Path]
"""Finds the file of a source; raises SourceMissing where there is none."""


def installed(source: Source) -> Path:
    """Path of a source in the installed distribution. The package is not imported.

    Raises:
        SourceMissing: the distribution is not installed, or has no such file.
    """
    try:
        distribution = metadata.distribution(source.package)
    except metadata.PackageNotFoundError:
        message = f"the pip package {source.package}=={source.version} is not installed"
        raise SourceMissing(message) from None
    path = Path(str(distribution.locate_file(source.path)))
    if not path.is_file():
        message = (
            f"{source.package} {distribution.version} has no file {source.path}; needed is version {source.version}"
        )
        raise SourceMissing(message)
    return path


def read(source: Source, locate: Locate = installed) -> bytes:
    """The verified content of a source. What is returned is what was hashed: the file is read once.

    Raises:
        SourceMissing: there is no such file.
        SourceChanged: the file is not the reviewed one.
    """
    path = locate(source)
    found = path.stat().st_size
    if found != source.size:
        message = f"{source.path} of {source.package} has {found} bytes, the reviewed file has {source.size}"
        raise SourceChanged(message)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != source.sha256:
        message = f"{source.path} of {source.package} has sha256 {digest}, the reviewed file has {source.sha256}"
        raise SourceChanged(message)
    return data
