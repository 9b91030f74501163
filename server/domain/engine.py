"""The port through which the domain asks for what is in a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.domain.descriptors import Calibration
from server.domain.vision import DetectedBody, DetectedFace, DetectedImage, Estimation, ExtractedDescriptor, Rect


@dataclass(frozen=True, slots=True)
class Look:
    """What to look for in an image.

    Attributes:
        faces: find faces.
        bodies: find bodies.
        estimations: what to estimate of those that are found; PEOPLE_COUNT needs neither faces nor bodies.
        use_exif: rotate by the EXIF orientation tag.
        extract_exif: return the EXIF tags.
        face_box: only the face inside this rectangle is looked for: the one whose centre lies in it and which overlaps
            it most.
        body_box: likewise for the body.
        warps: encode the warps; False leaves `warp` empty, where nobody keeps them.
    """

    faces: bool = True
    bodies: bool = False
    estimations: frozenset[Estimation] = frozenset()
    use_exif: bool = True
    extract_exif: bool = False
    face_box: Rect | None = None
    body_box: Rect | None = None
    warps: bool = True


def feature(subject: Estimation | str) -> str:
    """Name of the switch that asks for an estimation, or for `BODIES`, in errors."""
    return f"estimate_{subject.value}" if isinstance(subject, Estimation) else "detect_body"


_LOOK = Look()


class Engine(Protocol):
    """Finds faces and bodies and describes them. Calls wait for a place in the bounded queue of the engine."""

    @property
    def descriptor_version(self) -> int:
        """Version of the face descriptors that are made where none is named."""
        ...

    @property
    def calibrations(self) -> Mapping[int, Calibration]:
        """Calibrations that were measured for the installed models, by the version of their descriptors."""
        ...

    @property
    def places(self) -> int:
        """Images that are worked on and kept waiting at the most; further ones are refused."""
        ...

    def needs(self, subject: Estimation | str) -> str | None:
        """What must be installed or switched on to serve an estimation, or `BODIES`; None where it is served."""
        ...

    async def detect(self, image: bytes, look: Look = _LOOK) -> DetectedImage:
        """Find who is in one encoded image.

        Raises:
            NotAnImage: the bytes are no image that can be decoded.
            ImageTooLarge: the image has more pixels than the limit.
            FeatureOff: an estimation is not served.
            Busy: the queue is full.
        """
        ...

    async def inspect(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedFace:
        """Take an encoded face sample as a face: its `rect` is the whole sample, `warp` the sample as JPEG.

        Raises:
            WrongSampleSize: the image is not 250x250.
            BadQuery: liveness is asked for, which needs what is around the face.
            NotAnImage, ImageTooLarge, FeatureOff, Busy: as for `detect`.
        """
        ...

    async def inspect_body(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedBody:
        """Take an encoded body sample as a body: its `rect` is the whole sample, `warp` the sample as JPEG.

        Raises:
            WrongSampleSize: the image is not 128x256.
            NotAnImage, ImageTooLarge, FeatureOff, Busy: as for `detect`.
        """
        ...

    async def describe(self, samples: Sequence[bytes], *, version: int | None = None) -> list[ExtractedDescriptor]:
        """Descriptors of face samples (encoded 250x250 warps), in their order.

        Args:
            samples: the encoded warps.
            version: of the descriptors; None is `descriptor_version`.

        Raises:
            VersionNotEstimated: no installed model makes descriptors of this version.
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
