"""What an engine sees in a picture, and the port through which the domain asks for it.

Pixels: the origin is the top left corner, x grows to the right, y downwards. Left and right of a face are the
viewer's: the left eye is the eye with the smaller x in an upright face (source: reference document, landmarks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

Point = tuple[int, int]
"""(x, y) in pixels."""

WARP_SIZE = 250
"""Side of a face sample (warp) in pixels, for both its width and its height."""


class Estimation(Enum):
    """What can be estimated from a face. The value is the name used by the API's switches."""

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
    """One eye: its state and, where a model gives them, six points of its lid in pixels of the image."""

    state: EyeState
    eyelid_landmarks: tuple[Point, ...] = ()


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


@dataclass(frozen=True, slots=True)
class DetectedImage:
    """One image after decoding and rotation: its size in pixels, its EXIF tags where asked for, and its faces.

    Faces are ordered by the area of their rectangle, largest first.
    """

    width: int
    height: int
    faces: tuple[DetectedFace, ...]
    exif: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ExtractedDescriptor:
    """A raw descriptor (layout: `server.domain.descriptors`), its version and its quality score in [0, 1]."""

    version: int
    data: bytes
    score: float


class FaceEngine(Protocol):
    """Finds faces and describes them. Every call waits for a free place in the process-wide inference limiter."""

    @property
    def descriptor_version(self) -> int:
        """Version of the descriptors that `describe` makes."""
        ...

    def needs(self, estimation: Estimation) -> str | None:
        """What must be installed or switched on to serve an estimation; None where it is served."""
        ...

    async def detect(
        self,
        image: bytes,
        *,
        estimations: frozenset[Estimation] = frozenset(),
        use_exif: bool = True,
        extract_exif: bool = False,
        box: Rect | None = None,
    ) -> DetectedImage:
        """Find the faces of one encoded image; with `box`, only the face inside it is looked for.

        Raises:
            NotAnImage: the bytes are no image that can be decoded.
            ImageTooLarge: the image has more pixels than the limit.
            FeatureOff: an estimation is not served.
            Busy: the limiter's queue is full.
        """
        ...

    async def inspect(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedFace:
        """Take an encoded face sample as a face: its `rect` is the whole sample, `warp` the sample as JPEG.

        Raises:
            WrongSampleSize: the image is not 250x250.
            NotAnImage, ImageTooLarge, FeatureOff, Busy: as for `detect`.
        """
        ...

    async def describe(self, samples: Sequence[bytes]) -> list[ExtractedDescriptor]:
        """Descriptors of face samples (encoded 250x250 warps), in their order.

        Raises:
            NotAnImage, WrongSampleSize, Busy: as for `inspect`.
        """
        ...

    def aggregate(self, descriptors: Sequence[ExtractedDescriptor]) -> ExtractedDescriptor:
        """One descriptor of several of the same person: their mean by score, of unit norm; the score is the mean.

        Args:
            descriptors: at least one, all of one version.
        """
        ...

    async def normalise(self, image: bytes, *, width: int, height: int) -> bytes:
        """An encoded image of exactly this size as JPEG; the bytes as they are where they are JPEG already.

        Raises:
            WrongSampleSize: the image has another size.
            NotAnImage, ImageTooLarge, Busy: as for `detect`.
        """
        ...

    async def to_jpeg(self, image: bytes) -> bytes:
        """An encoded image as JPEG, upright; the bytes as they are where they are JPEG already.

        Raises:
            NotAnImage, ImageTooLarge, Busy: as for `detect`.
        """
        ...
