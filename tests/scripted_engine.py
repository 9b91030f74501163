"""An engine that sees what a test tells it to, and follows its port: only what was asked for is estimated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from server.domain.attributes import Ethnicity
from server.domain.checks import CheckName, FaceQuality
from server.domain.descriptors import Calibration
from server.domain.engine import Look
from server.domain.images import only_of_body, only_of_face
from server.domain.vision import (
    Accessories,
    BasicAttributesEstimation,
    BodyBasicAttributes,
    BodyGender,
    DetectedBody,
    DetectedFace,
    DetectedImage,
    DetectedPerson,
    Emotion,
    Emotions,
    Estimation,
    ExtractedDescriptor,
    Eye,
    Eyes,
    EyeState,
    Gaze,
    Glasses,
    HeadPose,
    Liveness,
    LowerBody,
    Mask,
    MaskState,
    Mouth,
    Presence,
    Quality,
    Rect,
    UpperBody,
)
from server.errors import DownloadFailed, LunaError

LOOK = Look()
LEVEL = HeadPose(yaw=0.5, pitch=0.5, roll=0.5)
VERSION = 1001

Seen = Sequence[DetectedFace] | Sequence[DetectedPerson] | LunaError


def shares(chosen: object, of: type, most: float = 0.7) -> dict:  # type: ignore[type-arg]
    """Probabilities of an enum: most of it is one member's, the others share the rest."""
    others = [one for one in of if one is not chosen]  # type: ignore[attr-defined]
    return {one: most if one is chosen else (1 - most) / len(others) for one in of}  # type: ignore[attr-defined]


def face(
    number: int = 1,
    pose: HeadPose = LEVEL,
    *,
    score: float = 0.75,
    mask: MaskState = MaskState.MISSING,
    emotion: Emotion = Emotion.HAPPINESS,
    liveness: Liveness | None = None,
    age: float | None = 33.4,
    male: float | None = 0.75,
) -> DetectedFace:
    """A face with everything that can be estimated of one; its number is in its rectangle and its warp."""
    return DetectedFace(
        rect=Rect(number, 2, 50, 60),
        score=0.9,
        landmarks5=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10)),
        warp=f"warp {number}".encode(),
        landmarks68=tuple((index, index + 1) for index in range(68)),
        head_pose=pose,
        quality=Quality(0.1, 0.2, 0.3, 0.4, 0.5),
        eyes=Eyes(
            Eye(EyeState.OPEN, ((1, 2),), ((3, 4), (5, 6))), Eye(EyeState.OCCLUDED, ((7, 8),), ((9, 10), (11, 12)))
        ),
        mouth=Mouth(opened=0.1, smile=0.2, occluded=0.3, score=0.4),
        emotions=Emotions(shares(emotion, Emotion)),
        mask=Mask(shares(mask, MaskState)),
        glasses=Glasses.EYEGLASSES,
        gaze=Gaze(yaw=-3.5, pitch=4.0),
        liveness=liveness or Liveness(score=0.95, quality=0.8),
        face_quality=FaceQuality(
            values={
                CheckName.HEAD_YAW: 5.25,
                CheckName.HEAD_PITCH: 2.0,
                CheckName.LEFT_EYE: "open",
                CheckName.RED_EYES: 0,
            },
            unavailable={CheckName.GAZE_YAW: "a model pack for gaze"},
        ),
        basic_attributes=BasicAttributesEstimation(age, male, shares(Ethnicity.ASIAN, Ethnicity)),
        descriptor=ExtractedDescriptor(VERSION, bytes([number]) * 256, score),
    )


def body(number: int = 1, **changes: object) -> DetectedBody:
    """A body with everything that can be estimated of one."""
    made = DetectedBody(
        rect=Rect(number, 3, 70, 140),
        score=0.8,
        warp=f"body {number}".encode(),
        body_descriptor=ExtractedDescriptor(VERSION, bytes([number]) * 256, 0.5),
        body_basic_attributes=BodyBasicAttributes(BodyGender.MALE, 40),
        upper_body=UpperBody(Presence.PRESENT, "black", "long", ("blue", "white")),
        lower_body=LowerBody("trousers", ("grey",), "white"),
        accessories=Accessories(Presence.ABSENT),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def mean_of(descriptors: Sequence[ExtractedDescriptor]) -> ExtractedDescriptor:
    """What stands for the mean of descriptors: it tells which ones they were."""
    data = bytes(sorted(one.data[0] for one in descriptors)).ljust(256, b"\0")
    return ExtractedDescriptor(descriptors[0].version, data, sum(one.score for one in descriptors) / len(descriptors))


@dataclass
class ScriptedEngine:
    """Sees in each image what is in `seen`: faces alone, or persons.

    `off` is what is not served. `asked` keeps the estimations of each call, `looks` how images were looked at.
    """

    seen: Mapping[bytes, Seen]
    off: frozenset[Estimation | str] = frozenset()
    people: int = 7
    asked: list[frozenset[Estimation]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    together: Callable[[Sequence[ExtractedDescriptor]], ExtractedDescriptor] = mean_of

    @property
    def descriptor_version(self) -> int:
        return VERSION

    @property
    def calibrations(self) -> Mapping[int, Calibration]:
        return {}

    @property
    def places(self) -> int:
        return 1000

    def needs(self, subject: Estimation | str) -> str | None:
        return "a model pack" if subject in self.off else None

    async def detect(self, image: bytes, look: Look = LOOK) -> DetectedImage:
        self.asked.append(look.estimations)
        self.looks.append(look)
        persons = [self._person(one, look) for one in self._persons(image)]
        count = self.people if Estimation.PEOPLE_COUNT in look.estimations else None
        exif = {"Make": "A camera"} if look.extract_exif else None
        return DetectedImage(100, 100, tuple(one for one in persons if one.face or one.body), exif, count)

    async def inspect(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedFace:
        self.asked.append(estimations)
        seen = next(one.face for one in self._persons(sample) if one.face is not None)
        return only_of_face(seen, estimations)

    async def inspect_body(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedBody:
        self.asked.append(estimations)
        seen = next(one.body for one in self._persons(sample) if one.body is not None)
        return only_of_body(seen, estimations)

    async def describe(self, samples: Sequence[bytes], *, version: int | None = None) -> list[ExtractedDescriptor]:
        return [ExtractedDescriptor(version or VERSION, bytes(256), 0.5) for _ in samples]

    def aggregate(self, descriptors: Sequence[ExtractedDescriptor]) -> ExtractedDescriptor:
        return self.together(descriptors)

    async def normalise(self, image: bytes, *, width: int, height: int) -> bytes:
        return image

    async def to_jpeg(self, image: bytes) -> bytes:
        return image

    def _persons(self, image: bytes) -> Sequence[DetectedPerson]:
        seen = self.seen[image]
        if isinstance(seen, LunaError):
            raise seen
        return [one if isinstance(one, DetectedPerson) else DetectedPerson(one) for one in seen]

    def _person(self, person: DetectedPerson, look: Look) -> DetectedPerson:
        found, there = person.face, person.body
        return DetectedPerson(
            face=only_of_face(found, look.estimations) if look.faces and found is not None else None,
            body=only_of_body(there, look.estimations) if look.bodies and there is not None else None,
        )


class Nowhere:
    """A fetcher that knows one address."""

    async def fetch(self, url: str) -> bytes:
        if url != "http://known":
            raise DownloadFailed(url=url, message="unknown")
        return b"image"
