"""From subjects to events and everything that is stored with them: ids are given, and one batch is filled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from server.domain.attributes import AttributeContent, FaceAttribute, TemporaryAttribute
from server.domain.decisions import Known, Material, Storing, Thing, storing, tags
from server.domain.detection import sample_of
from server.domain.events import Batch, EventDescriptor, EventMatch, EventRecord, NewEvent, RecordDetection
from server.domain.extraction import kept
from server.domain.faces import Face, NewFace
from server.domain.generation.comparing import similarities
from server.domain.generation.made import BodyExtract, FaceExtract, MadeBody, MadeDetection, MadeEvent, MadeFace
from server.domain.generation.sources import Origin, Person
from server.domain.generation.subjects import Subject
from server.domain.ids import uuid7
from server.domain.images import ImageType
from server.domain.media import Media, MediaKind
from server.domain.policies import DescriptorKind, Policies
from server.domain.samples import Sample, SampleType
from server.domain.vision import Rect

TTL_SECONDS = 300
"""How long a temporary attribute lives where policies do not say (source: reference document)."""

Notice = Callable[[MadeEvent], bytes]
"""Writes what subscribers are told of an event."""


class Assembly:
    """Puts together the events of one request, and the batch that keeps them.

    Args:
        account_id: whose everything will be.
        handler_id: the handler that makes the events.
        policies: what is stored.
        now: the time of the request.
        notice: writes what is told.
    """

    def __init__(self, account_id: UUID, handler_id: UUID, policies: Policies, now: datetime, notice: Notice) -> None:
        self._account_id = account_id
        self._handler_id = handler_id
        self._policies = policies
        self._now = now
        self._notice = notice
        self._events: list[NewEvent] = []
        self._samples: list[tuple[Sample, bytes]] = []
        self._images: list[tuple[Media, bytes]] = []
        self._faces: list[NewFace] = []
        self._attributes: list[tuple[TemporaryAttribute, int]] = []
        self._origins: dict[int, str] = {}

    @property
    def batch(self) -> Batch:
        """Everything that is to be kept."""
        return Batch(
            tuple(self._events), tuple(self._samples), tuple(self._images), tuple(self._faces), tuple(self._attributes)
        )

    def add(self, subject: Subject, matches: tuple[EventMatch, ...]) -> MadeEvent:
        """An event of a subject and of what came of its comparisons."""
        known = Known(subject.facts, similarities(matches))
        stored = storing(self._policies, known, _material(subject))
        detections = tuple(self._detection(person, origin, stored) for person, origin in subject.persons)
        event_id = uuid7()
        content = _content(subject, detections)
        attribute_id = self._attribute(content, stored)
        face = self._face(subject, detections, event_id, content, attribute_id, stored)
        event = MadeEvent(
            record=self._record(
                subject, event_id, matches, tags(self._policies, known, subject.data.tags), detections, face
            ),
            stored=Thing.EVENT in stored.things,
            detections=tuple(one for one in detections if one.face or one.body or one.image_origin),
            face_attributes=_face_extract(subject, content, attribute_id),
            body_attributes=_body_extract(subject, detections),
            aggregate=subject.aggregate,
            face=face,
        )
        self._keep(subject, event, stored)
        return event

    def _keep(self, subject: Subject, event: MadeEvent, stored: Storing) -> None:
        told = self._notice(event) if Thing.NOTIFICATION in stored.things else None
        if event.stored or told is not None:
            self._events.append(NewEvent(event.record, _descriptors(subject), stored=event.stored, notice=told))

    def _detection(self, person: Person, origin: Origin | None, stored: Storing) -> MadeDetection:
        source = person.source
        return MadeDetection(
            filename=source.filename,
            detect_time=source.detect_time or self._now,
            detect_ts=source.detect_ts,
            image_origin=self._origin(origin) if Thing.IMAGE_ORIGIN in stored.things else None,
            face=self._made_face(person, keep=Thing.FACE_SAMPLE in stored.things),
            body=self._made_body(person, keep=Thing.BODY_SAMPLE in stored.things),
        )

    def _made_face(self, person: Person, *, keep: bool) -> MadeFace | None:
        if person.face is None or person.shown_face is None:
            return None
        sample_id = _given(person) or (self._sample(SampleType.FACES, person.face.warp) if keep else None)
        return MadeFace(person.shown_face, _rect(person, person.face.rect), person.source.is_sample, sample_id)

    def _made_body(self, person: Person, *, keep: bool) -> MadeBody | None:
        if person.body is None or person.shown_body is None:
            return None
        sample_id = _given(person) or (self._sample(SampleType.BODIES, person.body.warp) if keep else None)
        return MadeBody(person.shown_body, _rect(person, person.body.rect), person.source.is_sample, sample_id)

    def _sample(self, sample_type: SampleType, data: bytes) -> UUID:
        sample = sample_of(self._account_id, sample_type, data)
        self._samples.append((sample, data))
        return sample.sample_id

    def _origin(self, origin: Origin | None) -> str | None:
        """The address of an image; its bytes are kept once, however many events came from it."""
        if origin is None or origin.data is None:
            return None if origin is None else origin.url
        if id(origin) not in self._origins:
            digest = hashlib.sha256(origin.data).digest()
            image = Media(
                uuid7(), self._account_id, MediaKind.IMAGES, "image/jpeg", len(origin.data), digest, self._now
            )
            self._images.append((image, origin.data))
            self._origins[id(origin)] = f"/6/images/{image.media_id}"
        return self._origins[id(origin)]

    def _attribute(self, content: AttributeContent | None, stored: Storing) -> UUID | None:
        if content is None or Thing.ATTRIBUTE not in stored.things:
            return None
        ttl = self._policies.storage.attribute.ttl_seconds
        attribute = TemporaryAttribute(uuid7(), self._account_id, self._now, content)
        # 0 is allowed, and no store keeps anything for so long
        self._attributes.append((attribute, TTL_SECONDS if ttl is None else max(1, ttl)))
        return attribute.attribute_id

    def _face(
        self,
        subject: Subject,
        detections: Sequence[MadeDetection],
        event_id: UUID,
        content: AttributeContent | None,
        attribute_id: UUID | None,
        stored: Storing,
    ) -> Face | None:
        if Thing.FACE not in stored.things:
            return None
        samples = _samples(detections)
        face = Face(
            face_id=uuid7(),
            account_id=self._account_id,
            create_time=subject.data.create_time or self._now,
            event_id=event_id,
            user_data=subject.data.user_data,
            external_id=subject.data.external_id,
            avatar=f"/6/samples/faces/{samples[0]}" if stored.avatar and samples else "",
            lists=tuple(sorted(stored.lists)),
        )
        attribute = None if content is None else FaceAttribute(self._now, content, attribute_id)
        self._faces.append(NewFace(face, attribute, face.lists))
        return face

    def _record(
        self,
        subject: Subject,
        event_id: UUID,
        matches: tuple[EventMatch, ...],
        tagged: tuple[str, ...],
        detections: Sequence[MadeDetection],
        face: Face | None,
    ) -> EventRecord:
        data = subject.data
        began = data.create_time or self._now
        return EventRecord(
            event_id=event_id,
            account_id=self._account_id,
            handler_id=self._handler_id,
            create_time=began,
            end_time=data.end_time or began,
            external_id=data.external_id,
            user_data=data.user_data,
            source=data.source,
            stream_id=data.stream_id,
            track_id=data.track_id,
            face_id=None if face is None else face.face_id,
            tags=tagged,
            location=data.location,
            facts=subject.facts,
            matches=matches,
            face_detections=tuple(_kept_of(one, one.face) for one in detections if _is_of_face(one)),
            body_detections=tuple(_kept_of(one, one.body) for one in detections if one.body is not None),
            attach_result=() if face is None else face.lists,
            meta=data.meta,
        )


def _material(subject: Subject) -> Material:
    persons = [person for person, _ in subject.persons]
    return Material(
        face=subject.face is not None,
        face_samples=any(one.face is not None and _given(one) is None for one in persons),
        stored_face_samples=any(one.face is not None and _given(one) is not None for one in persons),
        body_samples=any(one.body is not None and _given(one) is None for one in persons),
        images=any(origin is not None for _, origin in subject.persons),
        extracted=subject.face is not None
        and (subject.face.descriptor is not None or subject.face.basic_attributes is not None),
    )


def _given(person: Person) -> UUID | None:
    """The stored sample that a source is: it is not stored again."""
    return None if person.source.image is None else person.source.image.sample_id


def _rect(person: Person, seen: Rect) -> Rect | None:
    """Where somebody is: in a photo where they were seen, of a sample where the caller says that they were."""
    if not person.source.is_sample or person.source.image is None:
        return seen
    return person.source.image.body_box if person.source.kind is ImageType.BODY_SAMPLE else person.source.image.box


def _samples(detections: Sequence[MadeDetection]) -> tuple[UUID, ...]:
    """The samples of the face, each once."""
    found = (one.face.sample_id for one in detections if one.face is not None and one.face.sample_id is not None)
    return tuple(dict.fromkeys(found))


def _content(subject: Subject, detections: Sequence[MadeDetection]) -> AttributeContent | None:
    """What an attribute of the face holds; None where nothing was extracted."""
    if subject.face is None:
        return None
    descriptor = subject.descriptor(DescriptorKind.FACE)
    basic = subject.face.basic_attributes
    if descriptor is None and basic is None:
        return None
    samples = _samples(detections)
    return AttributeContent(
        descriptors=() if descriptor is None else (descriptor,),
        descriptor_samples=() if descriptor is None else samples,
        basic_attributes=None if basic is None else kept(basic),
        basic_attributes_samples=() if basic is None else samples,
    )


def _face_extract(subject: Subject, content: AttributeContent | None, attribute_id: UUID | None) -> FaceExtract | None:
    if content is None or subject.face is None:
        return None
    return FaceExtract(attribute_id, subject.face.basic_attributes, subject.score, content.samples)


def _body_extract(subject: Subject, detections: Sequence[MadeDetection]) -> BodyExtract | None:
    if subject.body is None or subject.body.body_descriptor is None:
        return None
    found = (one.body.sample_id for one in detections if one.body is not None and one.body.sample_id is not None)
    return BodyExtract(subject.body.body_descriptor.score, tuple(dict.fromkeys(found)))


def _descriptors(subject: Subject) -> tuple[EventDescriptor, ...]:
    scores = {
        DescriptorKind.FACE: subject.score,
        DescriptorKind.BODY: None
        if subject.body is None or subject.body.body_descriptor is None
        else subject.body.body_descriptor.score,
    }
    return tuple(
        EventDescriptor(kind, descriptor, scores[kind])
        for kind in DescriptorKind
        if (descriptor := subject.descriptor(kind)) is not None
    )


def _is_of_face(detection: MadeDetection) -> bool:
    """True where a face was seen, and for the image of a descriptor, which was that of a face."""
    return detection.face is not None or (detection.body is None and detection.image_origin is not None)


def _kept_of(detection: MadeDetection, seen: MadeFace | MadeBody | None) -> RecordDetection:
    return RecordDetection(
        detect_time=detection.detect_time,
        detect_ts=detection.detect_ts,
        sample_id=None if seen is None else seen.sample_id,
        image_origin=detection.image_origin,
        rect=None if seen is None else seen.rect,
    )
