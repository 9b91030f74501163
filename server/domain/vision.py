"""What an engine sees in a picture.

Pixels: the origin is the top left corner, x grows to the right, y downwards. Left and right of a face are the
viewer's: the left eye is the eye with the smaller x in an upright face (source: reference document, landmarks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from server.domain.attributes import Ethnicity, Gender
from server.domain.checks import FaceQuality

Point = tuple[int, int]
"""(x, y) in pixels."""

WARP_SIZE = 250
"""Side of a face sample (warp) in pixels, for both its width and its height."""


BODY_WIDTH, BODY_HEIGHT = 128, 256
"""Size of a body sample in pixels."""


class Estimation(Enum):
    """What can be estimated. The value is the name used by the API's switches.

    The result of an estimation of a face is the field of `DetectedFace` with the enum's name in lower case, that of a
    body the field of `DetectedBody`.
    """

    HEAD_POSE = "head_pose"
    QUALITY = "quality"
    LANDMARKS68 = "landmarks68"
    EYES = "eyes_attributes"
    MOUTH = "mouth_attributes"
    EMOTIONS = "emotions"
    MASK = "mask"
    GLASSES = "glasses"
    GAZE = "gaze"
    LIVENESS = "liveness"
    FACE_QUALITY = "face_quality"
    BASIC_ATTRIBUTES = "basic_attributes"
    DESCRIPTOR = "face_descriptor"
    BODY_DESCRIPTOR = "body_descriptor"
    BODY_BASIC_ATTRIBUTES = "body_basic_attributes"
    UPPER_BODY = "upper_body"
    LOWER_BODY = "lower_body"
    ACCESSORIES = "accessories"
    PEOPLE_COUNT = "people_count"

    @property
    def of_body(self) -> bool:
        """True for what is estimated of a body."""
        return self in _OF_BODY


_OF_BODY = frozenset(
    {
        Estimation.BODY_DESCRIPTOR,
        Estimation.BODY_BASIC_ATTRIBUTES,
        Estimation.UPPER_BODY,
        Estimation.LOWER_BODY,
        Estimation.ACCESSORIES,
    }
)

BODIES = "bodies"
"""Asked of `Engine.needs` (`server.domain.engine`): finding bodies at all."""


class EyeState(Enum):
    """State of one eye."""

    OPEN = "open"
    CLOSED = "closed"
    OCCLUDED = "occluded"


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle in pixels of the (rotated) input image. It may reach over the image's edge."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Rotation of the head in degrees, each in [-180, 180].

    yaw > 0: the face is turned to the image's right. pitch > 0: it looks up. roll > 0: it is tilted clockwise.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Image quality of a face, each in [0, 1]: 0 is bad, 1 is good."""

    blurriness: float
    dark: float
    illumination: float
    specularity: float
    light: float


@dataclass(frozen=True, slots=True)
class Eye:
    """One eye: its state and, where a model gives them, points of its lid and around its iris, in pixels."""

    state: EyeState
    eyelid_landmarks: tuple[Point, ...] = ()
    iris_landmarks: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Eyes:
    """Both eyes, as the viewer sees them."""

    left: Eye
    right: Eye


@dataclass(frozen=True, slots=True)
class Mouth:
    """Mouth scores, each in [0, 1]."""

    opened: float
    smile: float
    occluded: float
    score: float


class Emotion(Enum):
    """The emotions of the API, by its words."""

    ANGER = "anger"
    DISGUST = "disgust"
    FEAR = "fear"
    HAPPINESS = "happiness"
    SADNESS = "sadness"
    SURPRISE = "surprise"
    NEUTRAL = "neutral"


class MaskState(Enum):
    """What covers the lower face, by the API's words."""

    MISSING = "missing"
    MEDICAL_MASK = "medical_mask"
    OCCLUDED = "occluded"


class Glasses(Enum):
    """Glasses, by the API's words."""

    NONE = "no_glasses"
    EYEGLASSES = "eyeglasses"
    SUNGLASSES = "sunglasses"


class LivenessState(Enum):
    """Whether a face is a living one, as LUNA numbers it."""

    SPOOF = 0
    REAL = 1
    UNKNOWN = 2

    @property
    def word(self) -> str:
        """The API's word."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Gaze:
    """Direction of the gaze relative to the camera in degrees, signs as in `HeadPose`."""

    yaw: float
    pitch: float


@dataclass(frozen=True, slots=True)
class Emotions:
    """Probabilities of every emotion; their sum is 1."""

    estimations: Mapping[Emotion, float]

    @property
    def predominant(self) -> Emotion:
        """The most probable one."""
        return max(self.estimations, key=lambda one: self.estimations[one])


@dataclass(frozen=True, slots=True)
class Mask:
    """Probabilities of every mask state; their sum is 1."""

    estimations: Mapping[MaskState, float]

    @property
    def predominant(self) -> MaskState:
        """The most probable one."""
        return max(self.estimations, key=lambda one: self.estimations[one])


@dataclass(frozen=True, slots=True)
class Liveness:
    """The probability that the face is a living one, and the quality of the input; both in [0, 1]."""

    score: float
    quality: float

    def state(self, *, threshold: float, quality_threshold: float) -> LivenessState:
        """The prediction: unknown below the quality threshold, else real from the threshold on, else spoof."""
        if self.quality < quality_threshold:
            return LivenessState.UNKNOWN
        return LivenessState.REAL if self.score >= threshold else LivenessState.SPOOF


@dataclass(frozen=True, slots=True)
class BasicAttributesEstimation:
    """Estimated age in years, gender and ethnicity. What no installed model estimates is None.

    `male` is the probability of the gender male. `ethnicities` sum to 1.
    """

    age: float | None = None
    male: float | None = None
    ethnicities: Mapping[Ethnicity, float] | None = None

    @property
    def ethnicity(self) -> Ethnicity | None:
        """The most probable ethnic group."""
        known = self.ethnicities
        return max(known, key=lambda one: known[one]) if known else None

    @property
    def gender(self) -> Gender | None:
        """The more probable gender."""
        if self.male is None:
            return None
        return Gender.MALE if self.male >= 0.5 else Gender.FEMALE


@dataclass(frozen=True, slots=True)
class ExtractedDescriptor:
    """A raw descriptor (layout: `server.domain.descriptors`), its version and its quality score in [0, 1]."""

    version: int
    data: bytes
    score: float


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """One face. What was not asked for is None.

    `score` is the detector's confidence in [0, 1]. `warp` is the aligned 250x250 crop as JPEG bytes.
    `landmarks5` are left eye, right eye, nose tip, left and right mouth corner.
    """

    rect: Rect
    score: float
    landmarks5: tuple[Point, ...]
    warp: bytes
    landmarks68: tuple[Point, ...] | None = None
    head_pose: HeadPose | None = None
    quality: Quality | None = None
    eyes: Eyes | None = None
    mouth: Mouth | None = None
    emotions: Emotions | None = None
    mask: Mask | None = None
    glasses: Glasses | None = None
    gaze: Gaze | None = None
    liveness: Liveness | None = None
    face_quality: FaceQuality | None = None
    basic_attributes: BasicAttributesEstimation | None = None
    descriptor: ExtractedDescriptor | None = None


class BodyGender(Enum):
    """Apparent gender of a body, as LUNA numbers it."""

    FEMALE = 0
    MALE = 1
    UNKNOWN = 2


class Presence(Enum):
    """Whether something is worn or carried, as LUNA numbers it."""

    ABSENT = 0
    PRESENT = 1
    UNKNOWN = 2


@dataclass(frozen=True, slots=True)
class BodyBasicAttributes:
    """Apparent gender, and age in years in [0, 100]."""

    gender: BodyGender
    age: int


@dataclass(frozen=True, slots=True)
class UpperBody:
    """Headwear and upper clothes. Colours and sleeve lengths are the API's words."""

    headwear: Presence
    headwear_colour: str
    sleeve_length: str
    colours: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LowerBody:
    """Lower garment and shoes. Types and colours are the API's words."""

    garment: str
    colours: tuple[str, ...]
    shoes_colour: str


@dataclass(frozen=True, slots=True)
class Accessories:
    """What is carried."""

    backpack: Presence


@dataclass(frozen=True, slots=True)
class DetectedBody:
    """One body. What was not asked for is None.

    `score` is the detector's confidence in [0, 1]. `warp` is the 128x256 crop as JPEG bytes.
    """

    rect: Rect
    score: float
    warp: bytes
    body_descriptor: ExtractedDescriptor | None = None
    body_basic_attributes: BodyBasicAttributes | None = None
    upper_body: UpperBody | None = None
    lower_body: LowerBody | None = None
    accessories: Accessories | None = None


@dataclass(frozen=True, slots=True)
class DetectedPerson:
    """A face and the body that it belongs to; at least one of them."""

    face: DetectedFace | None = None
    body: DetectedBody | None = None


@dataclass(frozen=True, slots=True)
class DetectedImage:
    """One image after decoding and rotation: its size in pixels, its EXIF tags where asked for, and who is in it.

    Persons with a face come first, by the area of the face's rectangle, largest first; then bodies by theirs.
    `people_count` is None where it was not asked for.
    """

    width: int
    height: int
    persons: tuple[DetectedPerson, ...]
    exif: dict[str, str] | None = None
    people_count: int | None = None

    @property
    def faces(self) -> tuple[DetectedFace, ...]:
        """The faces, largest first."""
        return tuple(person.face for person in self.persons if person.face is not None)
