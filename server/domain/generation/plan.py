"""What policies make the engine do: what is looked for, estimated, shown, and filtered by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from server.domain.checks import CheckName, ChecksResult, Threshold, face_quality
from server.domain.engine import Engine
from server.domain.filters import FaceLimits, Reason, needed, reasons
from server.domain.generation.request import EventSource
from server.domain.images import NOT_OF_SAMPLES, ImageType, MultifacePolicy, require
from server.domain.liveness import LivenessThresholds
from server.domain.policies import Policies
from server.domain.vision import DetectedFace, Estimation
from server.errors import BadBody

SWITCHES: Mapping[Estimation | str, str] = {
    Estimation.LANDMARKS68: "detect_landmarks68",
    Estimation.FACE_QUALITY: "face_quality",
    Estimation.BASIC_ATTRIBUTES: "extract_basic_attributes",
    Estimation.DESCRIPTOR: "extract_face_descriptor",
    Estimation.BODY_DESCRIPTOR: "extract_body_descriptor",
    Estimation.BODY_BASIC_ATTRIBUTES: "body_attributes.estimate_basic_attributes",
    Estimation.UPPER_BODY: "body_attributes.estimate_upper_body",
    Estimation.LOWER_BODY: "body_attributes.estimate_lower_body",
    Estimation.ACCESSORIES: "body_attributes.estimate_accessories",
}
"""What policies call estimations that other methods call otherwise."""

SCORE_PARAMETER = "fd_score_threshold"
"""What policies call the limit of a descriptor's score."""

QUALITY_PARAMETER = "face_quality"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with a source.

    Attributes:
        faces, bodies: what is looked for in photos. Unless several faces are allowed, a body comes only with a face.
        multiface: what becomes of several faces.
        shown: the estimations that the answer has, of faces, bodies and images.
        made: those that are made: for the answer, for filters, and for what is extracted.
        limits: what faces must be like.
        thresholds: when a face is a living one.
        checks: what face_quality holds a face to.
        by_quality: faces that fail these checks are left out.
        exif: the EXIF tags are returned.
        warps: samples may be stored.
    """

    faces: bool
    bodies: bool
    multiface: MultifacePolicy
    shown: frozenset[Estimation]
    made: frozenset[Estimation]
    limits: FaceLimits
    thresholds: LivenessThresholds
    checks: Mapping[CheckName, Threshold]
    by_quality: bool
    exif: bool
    warps: bool

    @classmethod
    def of(cls, policies: Policies) -> Plan:
        """The plan that follows from policies."""
        detect, extract = policies.detect, policies.extract
        limits = replace(detect.limits, score=extract.score_threshold if extract.face_descriptor else 0.0)
        shown = detect.estimations | _if(
            {Estimation.LIVENESS: detect.liveness.estimate, Estimation.FACE_QUALITY: detect.face_quality.estimate}
        )
        extracted = _if(
            {
                Estimation.DESCRIPTOR: extract.face_descriptor,
                Estimation.BODY_DESCRIPTOR: extract.body_descriptor,
                Estimation.BASIC_ATTRIBUTES: extract.basic_attributes,
            }
        )
        filtered = needed(limits) | _if({Estimation.FACE_QUALITY: detect.face_quality.filter})
        samples = policies.storage.face_sample.store or policies.storage.body_sample.store
        return cls(
            faces=detect.faces,
            bodies=detect.bodies and (detect.faces or detect.multiface is MultifacePolicy.ALLOWED),
            multiface=detect.multiface,
            shown=shown,
            made=shown | extracted | filtered,
            limits=limits,
            thresholds=LivenessThresholds(detect.liveness.threshold, detect.liveness.quality_threshold),
            checks=detect.face_quality.thresholds,
            by_quality=detect.face_quality.filter,
            exif=detect.extract_exif,
            warps=samples,
        )

    @property
    def bodies_alone(self) -> bool:
        """True where bodies come without faces, too."""
        return self.bodies and self.multiface is MultifacePolicy.ALLOWED

    def made_of(self, kind: ImageType) -> frozenset[Estimation]:
        """The estimations that are made of a picture: of what is looked for in it, and only what it allows."""
        faces = self.faces if kind is ImageType.RAW else kind is ImageType.FACE_SAMPLE
        bodies = self.bodies if kind is ImageType.RAW else kind is ImageType.BODY_SAMPLE
        found = frozenset(
            one for one in self.made if one is Estimation.PEOPLE_COUNT or (bodies if one.of_body else faces)
        )
        return found if kind is ImageType.RAW else found - NOT_OF_SAMPLES

    def require(self, engine: Engine, sources: Sequence[EventSource]) -> None:
        """Hold the plan to what is served, and to what can be estimated of the sources.

        Raises:
            FeatureOff: no installed model serves an estimation.
            BadBody: liveness is asked for, and a source is a sample of a face.
        """
        for position, source in enumerate(sources):
            if source.is_sample and source.kind is ImageType.FACE_SAMPLE and Estimation.LIVENESS in self.made:
                raise BadBody(field=f"sources.{position}", message="liveness is not estimated of samples")
        kinds = {source.kind for source in sources if source.image is not None}
        made = frozenset(one for kind in kinds for one in self.made_of(kind))
        require(engine, made, bodies=self.bodies and ImageType.RAW in kinds, switches=SWITCHES)

    def reasons(self, face: DetectedFace, *, sample: bool) -> tuple[Reason, ...]:
        """Every reason to leave a face out."""
        found = reasons(face, self.limits, self.thresholds, sample=sample)
        named = tuple(
            replace(one, parameter=SCORE_PARAMETER) if one.parameter == "score_threshold" else one for one in found
        )
        return (*named, *self._quality(face))

    def _quality(self, face: DetectedFace) -> tuple[Reason, ...]:
        if not self.by_quality or face.face_quality is None:
            return ()
        result: ChecksResult = face_quality(face.face_quality, self.checks)
        failed = ", ".join(one.name.value for one in result.checks if not one.passed)
        return (Reason(QUALITY_PARAMETER, f"these checks did not pass: {failed}", 0, 1),) if failed else ()


def _if(switches: Mapping[Estimation, bool]) -> frozenset[Estimation]:
    """The estimations that are switched on."""
    return frozenset(one for one, on in switches.items() if on)
