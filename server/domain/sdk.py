"""Looking at images without keeping anything: who is in them, and what can be estimated of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.domain.access import Scope
from server.domain.aggregation import AGGREGATED, Aggregate, aggregate
from server.domain.engine import Look
from server.domain.filters import ANY_FACE, FaceLimits, Reason, needed, reasons
from server.domain.images import (
    NOT_OF_SAMPLES,
    Images,
    ImageSource,
    ImageType,
    MultifacePolicy,
    faces_by_policy,
    only_of_body,
    only_of_face,
    require,
)
from server.domain.liveness import LivenessThresholds
from server.domain.vision import DetectedImage, DetectedPerson, Estimation
from server.errors import LunaError, MultipleFaces


@dataclass(frozen=True, slots=True)
class SdkWish:
    """What a caller wants of the images.

    Attributes:
        image_type: what the images are; nothing is detected in samples.
        faces, bodies: what is looked for in photos.
        policy: what becomes of several faces. Unless all are allowed, a body comes back only beside a face.
        estimations: those that the caller wants to see, of faces, of bodies and of the whole image.
        limits: what faces must be like.
        landmarks5: return the five landmarks.
        face_warps, body_warps: return the samples.
        aggregate: put what can be aggregated into one estimation of all images.
        use_exif: rotate by the EXIF orientation tag.
        extract_exif: return the EXIF tags.
    """

    image_type: ImageType = ImageType.RAW
    faces: bool = False
    bodies: bool = False
    policy: MultifacePolicy = MultifacePolicy.ALLOWED
    estimations: frozenset[Estimation] = frozenset()
    limits: FaceLimits = ANY_FACE
    landmarks5: bool = False
    face_warps: bool = False
    body_warps: bool = False
    aggregate: bool = False
    use_exif: bool = True
    extract_exif: bool = False

    def looks_for_faces(self) -> bool:
        """True where there may be faces in the answer."""
        return self.faces if self.image_type is ImageType.RAW else self.image_type is ImageType.FACE_SAMPLE

    def looks_for_bodies(self) -> bool:
        """True where there may be bodies in the answer."""
        if self.image_type is ImageType.RAW:
            return self.bodies and (self.faces or self.policy is MultifacePolicy.ALLOWED)
        return self.image_type is ImageType.BODY_SAMPLE

    def made(self) -> frozenset[Estimation]:
        """The estimations that are made: those of what is looked for, and those that faces are filtered by."""
        wanted = self.estimations | needed(self.limits)
        made = frozenset(one for one in wanted if self._is_made(one))
        return made if self.image_type is ImageType.RAW else made - NOT_OF_SAMPLES

    def _is_made(self, estimation: Estimation) -> bool:
        if estimation is Estimation.PEOPLE_COUNT:
            return True
        return self.looks_for_bodies() if estimation.of_body else self.looks_for_faces()


@dataclass(frozen=True, slots=True)
class FilteredPerson:
    """A face that was left out, with the body that was left out with it, and every reason."""

    person: DetectedPerson
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class SdkImage:
    """What became of one image: who is in it, or why it failed.

    `sample` tells that the image was a sample, so that rectangles mean nothing. Warps and landmarks that were not asked
    for are empty.
    """

    source: ImageSource
    persons: tuple[DetectedPerson, ...] = ()
    filtered: tuple[FilteredPerson, ...] = ()
    sample: bool = False
    people_count: int | None = None
    exif: dict[str, str] | None = None
    error: LunaError | None = None


@dataclass(frozen=True, slots=True)
class SdkResult:
    """What became of all images, and one estimation of them all where it was asked for."""

    images: tuple[SdkImage, ...]
    aggregate: Aggregate | None = None


class Sdk:
    """Estimates without keeping anything."""

    def __init__(self, images: Images, liveness: LivenessThresholds) -> None:
        self._images = images
        self._liveness = liveness

    async def estimate(self, reads: Scope, sources: Sequence[ImageSource], wish: SdkWish) -> SdkResult:
        """Work on images side by side; a failure of one stays its own.

        Args:
            reads: where samples that are given as input may come from.
            sources: the images.
            wish: what is wanted of them.

        Raises:
            FeatureOff: no installed model serves an estimation.
            Busy, Unavailable: the whole call cannot be served.
        """
        made = wish.made()
        require(self._images.engine, made, bodies=wish.image_type is ImageType.RAW and wish.looks_for_bodies())
        look = Look(
            faces=wish.looks_for_faces(),
            bodies=wish.looks_for_bodies(),
            estimations=made,
            use_exif=wish.use_exif,
            extract_exif=wish.extract_exif,
            warps=wish.face_warps or wish.body_warps,
        )

        async def one(source: ImageSource) -> SdkImage:
            image = await self._images.look(source, reads, wish.image_type, look)
            return _shown(self._image(source, image, wish), wish)

        found = await self._images.each(sources, one)
        images = tuple(
            SdkImage(source, error=result) if isinstance(result, LunaError) else result
            for source, result in zip(sources, found, strict=True)
        )
        if not wish.aggregate:
            return SdkResult(images)
        together = aggregate([one for image in images for one in image.persons], self._images.engine.aggregate)
        rest = wish.estimations - AGGREGATED
        return SdkResult(tuple(replace(image, persons=_only(image.persons, rest)) for image in images), together)

    def _image(self, source: ImageSource, image: DetectedImage, wish: SdkWish) -> SdkImage:
        sample = source.type_in(wish.image_type) is not ImageType.RAW
        faces = faces_by_policy(image, wish.policy, source.filename)
        if wish.aggregate and len(faces) > 1:
            raise MultipleFaces(filename=source.filename, count=len(faces))
        broken = {id(face): reasons(face, wish.limits, self._liveness, sample=sample) for face in faces}
        alone = wish.policy is MultifacePolicy.ALLOWED or sample
        persons: list[DetectedPerson] = []
        filtered: list[FilteredPerson] = []
        for person in image.persons:
            if person.face is None:
                persons += [person] if alone else []
            elif not wish.looks_for_faces():
                continue  # a stored sample among photos is a face, and nobody asked for faces
            elif why := broken.get(id(person.face), ()):
                # where every body may come back, that of a face that was left out does so by itself
                filtered.append(FilteredPerson(replace(person, body=None) if alone else person, why))
                persons += [replace(person, face=None)] if alone and person.body is not None else []
            elif id(person.face) in broken:
                persons.append(person)
        return SdkImage(source, tuple(persons), tuple(filtered), sample, image.people_count, image.exif)


def _shown(image: SdkImage, wish: SdkWish) -> SdkImage:
    """An image with what the caller wants to see of it."""
    filtered = tuple(replace(one, person=_person(one.person, image, wish)) for one in image.filtered)
    return replace(image, persons=tuple(_person(one, image, wish) for one in image.persons), filtered=filtered)


def _person(person: DetectedPerson, image: SdkImage, wish: SdkWish) -> DetectedPerson:
    (shown,) = _only((person,), wish.estimations)
    face, body = shown.face, shown.body
    if face is not None:
        points = face.landmarks5 if wish.landmarks5 and not image.sample else ()
        face = replace(face, landmarks5=points, warp=face.warp if wish.face_warps else b"")
    if body is not None:
        body = replace(body, warp=body.warp if wish.body_warps else b"")
    return DetectedPerson(face, body)


def _only(persons: Sequence[DetectedPerson], estimations: frozenset[Estimation]) -> tuple[DetectedPerson, ...]:
    """Persons with some of their estimations."""
    return tuple(
        DetectedPerson(
            None if one.face is None else only_of_face(one.face, estimations),
            None if one.body is None else only_of_body(one.body, estimations),
        )
        for one in persons
    )
