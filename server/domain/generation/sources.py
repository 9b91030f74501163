"""From sources to persons: pictures are looked at side by side, and faces are filtered."""

from __future__ import annotations

from dataclasses import dataclass, replace

from server.domain.access import Scope
from server.domain.aggregation import AGGREGATED
from server.domain.engine import Look
from server.domain.events import MOST_ADDRESS
from server.domain.filters import Reason
from server.domain.generation.plan import Plan
from server.domain.generation.request import EventSource, GenerationWish
from server.domain.images import Images, ImageSource, ImageType, faces_by_policy, only_of_body, only_of_face
from server.domain.policies import DescriptorKind, ImageOriginPolicy, Policies
from server.domain.vision import DetectedBody, DetectedFace, DetectedImage, DetectedPerson, Estimation
from server.errors import LunaError, MatchVersionMismatch, MultipleFaces

JPEG = b"\xff\xd8\xff"
"""First bytes of every JPEG file."""
OWN_IMAGES = "/6/images/"
"""How addresses of images begin that are stored here."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The image that an event came from: an address that stands in for it, or its bytes as JPEG."""

    url: str | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """One person in one source; a source that is a descriptor has one with neither face nor body.

    `face` and `body` have everything that was estimated, `shown_face` and `shown_body` what the answer has.
    """

    source: EventSource
    face: DetectedFace | None = None
    body: DetectedBody | None = None
    shown_face: DetectedFace | None = None
    shown_body: DetectedBody | None = None


@dataclass(frozen=True, slots=True)
class FilteredFace:
    """A face that was left out of a source, and every reason."""

    source: EventSource
    face: DetectedFace
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class SourceOutcome:
    """What became of one source: who is in it, or why it failed."""

    source: EventSource
    persons: tuple[Person, ...] = ()
    filtered: tuple[FilteredFace, ...] = ()
    origin: Origin | None = None
    exif: dict[str, str] | None = None
    people_count: int | None = None
    error: LunaError | None = None


class Looking:
    """Looks at the sources of one request."""

    def __init__(self, images: Images, owns: Scope, policies: Policies, plan: Plan, wish: GenerationWish) -> None:
        self._images = images
        self._owns = owns
        self._policies = policies
        self._plan = plan
        self._wish = wish
        self._shown = plan.shown - AGGREGATED if wish.aggregate else plan.shown

    async def all(self) -> list[SourceOutcome]:
        """What became of each source, in their order; a failure of one stays its own.

        Raises:
            LunaError: the only source failed, or the whole request cannot be served.
            MultipleFaces: all sources are to make one event, and one of them shows several persons.
        """
        sources = self._wish.sources
        found = await self._images.each(sources, self._one)
        for result in found:
            alone = len(sources) == 1 or (self._wish.aggregate and isinstance(result, MultipleFaces))
            if alone and isinstance(result, LunaError):
                raise result
        return [
            SourceOutcome(source, error=result) if isinstance(result, LunaError) else result
            for source, result in zip(sources, found, strict=True)
        ]

    async def _one(self, source: EventSource) -> SourceOutcome:
        if source.image is None:
            self._check_version(source)
            origin = await self._origin(source, None)
            return SourceOutcome(source, (Person(source),), origin=origin)
        data = await self._images.read(source.image, self._owns, source.kind)
        image = await self._look(source, source.image, data)
        outcome = self._outcome(source, image)
        return replace(outcome, origin=await self._origin(source, data)) if outcome.persons else outcome

    def _check_version(self, source: EventSource) -> None:
        """A descriptor of another version cannot be compared, and its event would look as if nobody had been found.

        Raises:
            MatchVersionMismatch: the policies compare faces, and the descriptor has another version.
        """
        needed = self._images.engine.descriptor_version
        compared = any(one.descriptor is DescriptorKind.FACE for one in self._policies.match)
        if compared and source.descriptor is not None and source.descriptor.version != needed:
            raise MatchVersionMismatch(version=source.descriptor.version, needed=needed)

    async def _look(self, source: EventSource, given: ImageSource, data: bytes) -> DetectedImage:
        raw = source.kind is ImageType.RAW
        look = Look(
            faces=self._plan.faces,
            bodies=self._plan.bodies,
            estimations=self._plan.made_of(source.kind),
            use_exif=self._wish.use_exif,
            extract_exif=self._plan.exif and raw,
            warps=self._plan.warps,
        )
        picture = ImageSource(source.filename, data=data, box=given.box, body_box=given.body_box)
        return await self._images.look(picture, self._owns, source.kind, look)

    def _outcome(self, source: EventSource, image: DetectedImage) -> SourceOutcome:
        """Who is left of an image: faces by the multiface policy and the filters, bodies by themselves or beside them.

        The body of a face that was filtered out comes by itself where bodies may.
        """
        faces = {id(face) for face in faces_by_policy(image, self._plan.multiface, source.filename)}
        alone = self._plan.bodies_alone or source.is_sample
        persons: list[Person] = []
        filtered: list[FilteredFace] = []
        for person in image.persons:
            if person.face is None:
                persons += [self._person(source, person)] if alone else []
            elif id(person.face) in faces:
                why = self._plan.reasons(person.face, sample=source.is_sample)
                if not why:
                    persons.append(self._person(source, person))
                    continue
                filtered.append(FilteredFace(source, only_of_face(person.face, self._plan.shown), why))
                if alone and person.body is not None:
                    persons.append(self._person(source, replace(person, face=None)))
        if self._wish.aggregate:
            persons = _only(source, persons, len(faces))
        return SourceOutcome(
            source, tuple(persons), tuple(filtered), exif=image.exif, people_count=self._people_count(image)
        )

    def _people_count(self, image: DetectedImage) -> int | None:
        return image.people_count if Estimation.PEOPLE_COUNT in self._plan.shown else None

    def _person(self, source: EventSource, person: DetectedPerson) -> Person:
        face, body = person.face, person.body
        return Person(
            source,
            face,
            body,
            None if face is None else only_of_face(face, self._shown),
            None if body is None else only_of_body(body, self._shown),
        )

    async def _origin(self, source: EventSource, data: bytes | None) -> Origin | None:
        """The image that events of a source came from, as far as the policies may want it."""
        policy = self._policies.storage.image_origin
        if not policy.store:
            return None
        if source.origin_data is not None:
            return Origin(data=await self._images.engine.to_jpeg(source.origin_data))
        if source.origin_url is not None:
            if _is_kept(source.origin_url, policy):
                return Origin(url=source.origin_url)
            return Origin(data=await self._images.engine.to_jpeg(await self._images.fetch(source.origin_url)))
        if source.image is None or data is None:
            return None
        url = address(source)
        if url is not None and _is_kept(url, policy):
            return Origin(url=url)
        # what was looked at has been decoded already
        return Origin(data=data if data.startswith(JPEG) else await self._images.engine.to_jpeg(data))


def address(source: EventSource) -> str | None:
    """Where a source can be had: its address, or that of the stored sample; None of bytes and descriptors."""
    if source.image is None or source.image.data is not None:
        return None
    if source.image.sample_id is None:
        return source.image.url
    folder = "bodies" if source.kind is ImageType.BODY_SAMPLE else "faces"
    return f"/6/samples/{folder}/{source.image.sample_id}"


def _is_kept(url: str, policy: ImageOriginPolicy) -> bool:
    """True for an address that stands in for the image: a longer one is not kept (source: docs 5.7.0).

    That of an image which is stored here is no external one, and nothing is left to store.
    """
    return (policy.external_references or url.startswith(OWN_IMAGES)) and len(url) <= MOST_ADDRESS


def _only(source: EventSource, persons: list[Person], faces: int) -> list[Person]:
    """The one person of a source that is to make an event together with others; bodies of bystanders do not count.

    Raises:
        MultipleFaces: there are several.
    """
    if faces > 1:
        raise MultipleFaces(filename=source.filename, count=faces)
    if any(one.face is not None for one in persons):
        return [one for one in persons if one.face is not None]
    if len(persons) > 1:
        raise MultipleFaces(filename=source.filename, count=len(persons))
    return persons
