"""What is estimated of faces and bodies, as the fields of `DetectedFace` and `DetectedBody`.

One entry for each estimation: what serves it, and what must be installed where nothing does. Knows no requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from engines.vision import alignment, expression, iris, pose, quality
from engines.vision.boxes import squared
from engines.vision.expression import rounded
from engines.vision.landmarks import LandmarkPredictor
from engines.vision.measures.measured import measured
from engines.vision.models import Models
from engines.vision.raw_descriptors import raw
from engines.vision.view import BodyView, FaceView
from server.domain.vision import (
    BODIES,
    WARP_SIZE,
    BasicAttributesEstimation,
    DetectedBody,
    DetectedFace,
    Estimation,
    ExtractedDescriptor,
    HeadPose,
    MaskState,
)

Fields = Mapping[str, object]
"""Fields of a `DetectedFace` or a `DetectedBody`, by their names."""

_ALWAYS = frozenset({Estimation.HEAD_POSE, Estimation.QUALITY, Estimation.FACE_QUALITY, Estimation.DESCRIPTOR})
_WITH_68 = frozenset({Estimation.LANDMARKS68, Estimation.EYES, Estimation.MOUTH})
_USES_68 = _WITH_68 | {Estimation.HEAD_POSE, Estimation.FACE_QUALITY}

_BEHIND: Mapping[Estimation, frozenset[Estimation]] = {
    Estimation.FACE_QUALITY: frozenset(
        {
            Estimation.HEAD_POSE,
            Estimation.QUALITY,
            Estimation.EYES,
            Estimation.MOUTH,
            Estimation.MASK,
            Estimation.GLASSES,
            Estimation.GAZE,
        }
    ),
    Estimation.MOUTH: frozenset({Estimation.MASK}),
}
"""What is estimated for another estimation's sake, where it is served; not part of the answer unless asked for."""

_OF_FACES = (Estimation.EMOTIONS, Estimation.MASK, Estimation.GLASSES, Estimation.GAZE, Estimation.LIVENESS)
_OF_BODIES = (
    Estimation.BODY_BASIC_ATTRIBUTES,
    Estimation.UPPER_BODY,
    Estimation.LOWER_BODY,
    Estimation.ACCESSORIES,
)

_NEEDS: Mapping[Estimation | str, str] = {
    Estimation.EMOTIONS: "a model pack for emotions (opencv-zoo)",
    Estimation.MASK: "a model pack for masks",
    Estimation.GLASSES: "a model pack for glasses",
    Estimation.GAZE: "a model pack for gaze",
    Estimation.LIVENESS: "a model pack for liveness (liveness)",
    Estimation.BASIC_ATTRIBUTES: "a model pack for age or gender (gender) and LUNA_ENGINE__DEMOGRAPHICS=true",
    Estimation.BODY_DESCRIPTOR: "a model pack for body descriptors (opencv-zoo)",
    Estimation.BODY_BASIC_ATTRIBUTES: "a model pack for the age and gender of bodies",
    Estimation.UPPER_BODY: "a model pack for clothes",
    Estimation.LOWER_BODY: "a model pack for clothes",
    Estimation.ACCESSORIES: "a model pack for accessories",
    Estimation.PEOPLE_COUNT: "a model pack that finds people (opencv-zoo, people)",
    BODIES: "a model pack that finds people (opencv-zoo, people)",
}
_NEEDS_68 = "the 68-point landmark model (LUNA_ENGINE__LANDMARKS68=true)"


class Estimates:
    """Estimates with whatever models there are."""

    def __init__(self, models: Models) -> None:
        self._models = models
        points = models.landmarks68
        self._pose_model = pose.model68(points.mean) if points else None

    def needs(self, subject: Estimation | str) -> str | None:
        """What must be installed or switched on to serve an estimation, or `BODIES`; None where it is served."""
        if subject in _ALWAYS:
            return None
        if subject in _WITH_68:
            return None if self._models.landmarks68 else _NEEDS_68
        if subject is Estimation.BASIC_ATTRIBUTES:
            served: object = self._models.gender or self._models.age or self._models.ethnicity
        elif subject in {BODIES, Estimation.PEOPLE_COUNT}:
            served = self._models.bodies
        elif subject is Estimation.BODY_DESCRIPTOR:
            served = self._models.body_describer
        elif isinstance(subject, Estimation):
            served = getattr(self._models, subject.name.lower())
        else:
            message = f"{subject!r} is no subject"
            raise ValueError(message)
        return _NEEDS[subject] if served is None else None

    def of_faces(
        self, views: Sequence[FaceView], faces: Sequence[DetectedFace], wanted: frozenset[Estimation]
    ) -> list[DetectedFace]:
        """The faces of one picture with what is wanted of them. Networks see all faces as one batch."""
        asked = wanted
        wanted = wanted.union(*(_BEHIND.get(one, frozenset()) for one in wanted))
        if self._models.landmarks68 and wanted & _USES_68:
            views = self._with_points68(views, self._models.landmarks68)
        found = [dict(self._geometry(view, wanted)) for view in views]
        for estimation in _OF_FACES:
            model = getattr(self._models, estimation.name.lower())
            if estimation in wanted and model is not None and views:
                for fields, value in zip(found, model.estimate(views), strict=True):
                    fields[estimation.name.lower()] = value
        if Estimation.BASIC_ATTRIBUTES in wanted:
            for fields, one in zip(found, self._basic_attributes(views), strict=True):
                fields["basic_attributes"] = one
        if Estimation.DESCRIPTOR in wanted and views:
            for fields, extracted in zip(found, self.described(views, self._models.descriptor_version), strict=True):
                fields["descriptor"] = extracted
        faces = [replace(face, **fields) for face, fields in zip(faces, found, strict=True)]  # type: ignore[arg-type]
        faces = [_mouth_behind_mask(face) for face in faces]
        if Estimation.FACE_QUALITY in wanted:
            faces = [
                replace(face, face_quality=measured(view, face, self.needs))
                for view, face in zip(views, faces, strict=True)
            ]
        unasked = {one.name.lower(): None for one in wanted - asked}
        return [replace(face, **unasked) for face in faces]  # type: ignore[arg-type]

    def of_bodies(
        self, views: Sequence[BodyView], bodies: Sequence[DetectedBody], wanted: frozenset[Estimation]
    ) -> list[DetectedBody]:
        """The bodies with what is wanted of them."""
        found: list[dict[str, object]] = [{} for _ in views]
        for estimation in _OF_BODIES:
            model = getattr(self._models, estimation.name.lower())
            if estimation in wanted and model is not None and views:
                for fields, value in zip(found, model.estimate(views), strict=True):
                    fields[estimation.name.lower()] = value
        describer = self._models.body_describer
        if Estimation.BODY_DESCRIPTOR in wanted and describer is not None and views:
            vectors = describer.describe([view.warp for view in views])
            for fields, vector, view in zip(found, vectors, views, strict=True):
                fields["body_descriptor"] = ExtractedDescriptor(describer.version, raw(vector), view.confidence)
        return [replace(body, **fields) for body, fields in zip(bodies, found, strict=True)]  # type: ignore[arg-type]

    def described(self, views: Sequence[FaceView], version: int) -> list[ExtractedDescriptor]:
        """Descriptors of a version, with their scores."""
        describer = self._models.describers[version]
        vectors = describer.describe([view.warp for view in views])
        return [
            ExtractedDescriptor(version, raw(vector), score)
            for vector, score in zip(vectors, self._scores(views), strict=True)
        ]

    def _with_points68(self, views: Sequence[FaceView], predictor: LandmarkPredictor) -> list[FaceView]:
        if not views:
            return []
        points = predictor.predict(views[0].image, np.concatenate([view.region for view in views]))
        return [replace(view, points68=each) for view, each in zip(views, points, strict=True)]

    def _geometry(self, view: FaceView, wanted: frozenset[Estimation]) -> Fields:
        """What needs no network."""
        fields: dict[str, object] = {}
        if Estimation.HEAD_POSE in wanted:
            fields["head_pose"] = self._pose(view)
        if Estimation.QUALITY in wanted:
            fields["quality"] = quality.estimate(view.warp)
        if view.points68 is None:
            return fields
        if Estimation.LANDMARKS68 in wanted:
            fields["landmarks68"] = rounded(view.points68)
        if Estimation.EYES in wanted:
            fields["eyes"] = expression.eyes(view.points68, iris.irises(view.image, view.points68))
        if Estimation.MOUTH in wanted:
            fields["mouth"] = expression.mouth(view.points68, view.confidence, self._pose(view).pitch)
        return fields

    def _pose(self, view: FaceView) -> HeadPose:
        if view.points68 is not None and self._pose_model is not None:
            return pose.from_68(view.points68, self._pose_model)
        return pose.from_five(view.points)

    def _basic_attributes(self, views: Sequence[FaceView]) -> list[BasicAttributesEstimation]:
        models = self._models
        none = [None] * len(views)
        males = models.gender.estimate(views) if models.gender and views else none
        ages = models.age.estimate(views) if models.age and views else none
        ethnicities = models.ethnicity.estimate(views) if models.ethnicity and views else none
        return [BasicAttributesEstimation(*each) for each in zip(ages, males, ethnicities, strict=True)]

    def _scores(self, views: Sequence[FaceView]) -> Sequence[float]:
        if self._models.face_score is not None:
            return self._models.face_score.estimate(views)
        # one tall picture of all warps, so that the network sees them as one batch; no box reaches into another warp
        warps = np.concatenate([view.warp for view in views])
        below = WARP_SIZE * np.arange(len(views), dtype=np.float32)[:, None] * np.array([0, 1, 0, 1], np.float32)
        seen = self._models.detector.examine(warps, squared(alignment.CANONICAL_BOX) + below)
        points = seen.points - below[:, None, :2]
        return [
            quality.score(quality.estimate(view.warp), min(1.0, max(0.0, float(score))), alignment.misalignment(five))
            for view, score, five in zip(views, seen.scores, points, strict=True)
        ]


def _mouth_behind_mask(face: DetectedFace) -> DetectedFace:
    """The face whose mouth is as occluded as its mask says, where both were estimated."""
    if face.mouth is None or face.mask is None:
        return face
    return replace(face, mouth=replace(face.mouth, occluded=1 - face.mask.estimations[MaskState.MISSING]))
