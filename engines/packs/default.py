"""The manifest of the default pack: its models, their terms, and what was measured with them."""

from __future__ import annotations

from collections.abc import Sequence

from engines.packs import dlib_resnet, sources
from engines.packs.manifest import FORMAT, Accuracy, Calibration, Manifest, Model, PackFile, Task
from engines.packs.pack import DESCRIPTOR, LANDMARKS5, LANDMARKS68, OUTPUT, PROPOSAL, REFINEMENT
from engines.packs.sources import Source

_LFW = "LFW, all 6,000 pairs of its 10 folds"
_FITTED = "logistic fit on LFW's 6,000 pairs"
_PHOTOS = "179 faces in 111 photographs"


def manifest(name: str, version: str, converter: str, files: Sequence[PackFile], *, landmarks68: bool) -> Manifest:
    """The manifest for the pack's files, with the 68-point model where that is among them."""
    models = [
        Model(
            task=Task.FACE_DETECTION,
            adapter="mtcnn",
            files={"proposal": PROPOSAL, "refinement": REFINEMENT, "output": OUTPUT},
            licence=sources.ONET.licence,
            source=_package(sources.ONET),
            accuracy=(_measured(_PHOTOS, "recall", 0.96), _measured(_PHOTOS, "false positives", 1)),
        ),
        Model(
            task=Task.LANDMARKS5,
            adapter="regression_trees",
            files={"trees": LANDMARKS5},
            licence=sources.LANDMARKS5.licence,
            source=_package(sources.LANDMARKS5),
        ),
        _descriptors(1001, flip=0, midpoint=0.4356, accuracy=0.9897),
        _descriptors(1002, flip=1, midpoint=0.425, accuracy=0.9925),
    ]
    if landmarks68:
        models.append(
            Model(
                task=Task.LANDMARKS68,
                adapter="regression_trees",
                files={"trees": LANDMARKS68},
                licence=sources.LANDMARKS68.licence,
                source=_package(sources.LANDMARKS68),
                condition="It was trained on data whose authors exclude commercial use; LUNA_ENGINE__LANDMARKS68=true "
                "says that you know.",
            )
        )
    return Manifest(
        format=FORMAT,
        name=name,
        version=version,
        description="Detection, alignment and descriptors of faces; made from pip packages.",
        converter=converter,
        licence="CC0 and MIT; see each model",
        source="pip packages face_recognition_models and mtcnn",
        files=tuple(files),
        models=tuple(models),
    )


def _descriptors(version: int, *, flip: int, midpoint: float, accuracy: float) -> Model:
    return Model(
        task=Task.FACE_DESCRIPTOR,
        adapter="dlib_resnet",
        files={"network": DESCRIPTOR},
        options={"flip": flip},
        version=version,
        dimensions=dlib_resnet.DIMENSIONS,
        calibration=Calibration(steepness=20.0, midpoint=midpoint, data=_FITTED),
        licence=sources.DESCRIPTOR.licence,
        source=_package(sources.DESCRIPTOR),
        accuracy=(_measured(_LFW, "accuracy", accuracy),),
    )


def _package(source: Source) -> str:
    return f"pip package {source.package} {source.version}"


def _measured(data: str, metric: str, value: float) -> Accuracy:
    return Accuracy(data=data, metric=metric, value=value, measured_by="luna")
