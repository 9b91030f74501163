"""Events: who was seen, where and when; how they are kept and found again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.attributes import Ethnicity, Gender, TemporaryAttribute
from server.domain.descriptors import Descriptor
from server.domain.event_conditions import AnyMember, Column, Condition, MetaField
from server.domain.faces import Face, NewFace, Page
from server.domain.media import Media
from server.domain.policies import DescriptorKind
from server.domain.samples import Sample
from server.domain.task_notes import TaskNote
from server.domain.vision import BodyGender, Emotion, LivenessState, MaskState, Presence, Rect

EMOTION_NUMBERS: Mapping[Emotion, int] = {
    Emotion.ANGER: 1,
    Emotion.DISGUST: 2,
    Emotion.FEAR: 3,
    Emotion.HAPPINESS: 4,
    Emotion.NEUTRAL: 5,
    Emotion.SADNESS: 6,
    Emotion.SURPRISE: 7,
}
"""The emotions as events number them."""

MOST_ADDRESS = 256
"""Characters of the longest address of an image that an event keeps."""


@dataclass(frozen=True, slots=True)
class GeoPosition:
    """Degrees: longitude in [-180, 180], latitude in [-90, 90]."""

    longitude: float
    latitude: float


@dataclass(frozen=True, slots=True)
class Location:
    """Where something happened; None where it is not known."""

    city: str | None = None
    area: str | None = None
    district: str | None = None
    street: str | None = None
    house_number: str | None = None
    geo_position: GeoPosition | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What was estimated of the person of an event, as far as it is kept; None and empty where it was not.

    Ages in years. Colours, lengths and types are the API's words.
    """

    gender: Gender | None = None
    age: int | None = None
    ethnicity: Ethnicity | None = None
    emotion: Emotion | None = None
    mask: MaskState | None = None
    liveness: LivenessState | None = None
    apparent_gender: BodyGender | None = None
    apparent_age: int | None = None
    headwear: Presence | None = None
    headwear_colour: str | None = None
    sleeve_length: str | None = None
    upper_colours: tuple[str, ...] = ()
    garment: str | None = None
    garment_colours: tuple[str, ...] = ()
    shoes_colour: str | None = None
    backpack: Presence | None = None


NO_FACTS = Facts()
"""Nothing was estimated."""


@dataclass(frozen=True, slots=True)
class RecordDetection:
    """One image of an event: the sample, if it is stored, where it was seen, and when. Times as in `EventRecord`."""

    detect_time: datetime
    detect_ts: float | None = None
    sample_id: UUID | None = None
    image_origin: str | None = None
    rect: Rect | None = None


@dataclass(frozen=True, slots=True)
class MatchedAttribute:
    """A temporary attribute that was found."""

    attribute_id: UUID
    account_id: UUID | None = None
    create_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One who was found: exactly one of face, event and attribute. `similarity` in [0, 1].

    The event is without its own matches and detections (`EventRecord.brief`).
    """

    similarity: float
    face: Face | None = None
    event: EventRecord | None = None
    attribute: MatchedAttribute | None = None

    @property
    def object_id(self) -> UUID | None:
        """The face, the event or the attribute."""
        if self.face is not None:
            return self.face.face_id
        if self.event is not None:
            return self.event.event_id
        return None if self.attribute is None else self.attribute.attribute_id

    @property
    def external_id(self) -> str:
        """The external id of the face or the event; empty where there is none."""
        found = self.face or self.event
        return "" if found is None else found.external_id


@dataclass(frozen=True, slots=True)
class EventMatch:
    """What came of one comparison: candidates, best first. `targets` are the fields that are told; empty is all."""

    label: str
    candidates: tuple[Candidate, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event as it is kept. Times are aware, to the microsecond; empty texts mean that nothing was given.

    `attach_result` are the lists that the face was put into. `meta` is any object of JSON.
    """

    event_id: UUID
    account_id: UUID
    handler_id: UUID
    create_time: datetime
    end_time: datetime
    external_id: str = ""
    user_data: str = ""
    source: str | None = None
    stream_id: UUID | None = None
    track_id: str | None = None
    face_id: UUID | None = None
    tags: tuple[str, ...] = ()
    location: Location = field(default_factory=Location)
    facts: Facts = NO_FACTS
    matches: tuple[EventMatch, ...] = ()
    face_detections: tuple[RecordDetection, ...] = ()
    body_detections: tuple[RecordDetection, ...] = ()
    attach_result: tuple[UUID, ...] = ()
    meta: Mapping[str, object] | None = None

    @property
    def top_match(self) -> tuple[str, Candidate] | None:
        """The best candidate with the label of its comparison, of equal ones the first; None where there is none."""
        best: tuple[str, Candidate] | None = None
        for match in self.matches:
            for candidate in match.candidates[:1]:
                if best is None or candidate.similarity > best[1].similarity:
                    best = (match.label, candidate)
        return best


@dataclass(frozen=True, slots=True)
class EventDescriptor:
    """A descriptor of an event: of its face or of its body. `score` in [0, 1]; None where it is not known."""

    kind: DescriptorKind
    descriptor: Descriptor
    score: float | None = None


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to keep or to tell, or both.

    Attributes:
        record: what is kept of it.
        descriptors: by which it can be found.
        stored: it is kept.
        notice: what subscribers are told, as `server.services.notices` writes it; None tells nobody.
    """

    record: EventRecord
    descriptors: tuple[EventDescriptor, ...] = ()
    stored: bool = True
    notice: bytes | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one request wants to be kept, in one transaction: all of it, or nothing.

    `samples` and `images` come with their bytes, which are written before it, and removed where it fails.
    """

    events: tuple[NewEvent, ...]
    samples: tuple[tuple[Sample, bytes], ...] = ()
    images: tuple[tuple[Media, bytes], ...] = ()
    faces: tuple[NewFace, ...] = ()
    attributes: tuple[tuple[TemporaryAttribute, int], ...] = ()
    """Temporary attributes with the seconds that they live."""
    note: TaskNote | None = None
    """What a task notes together with it, once."""


class EventOrder(Enum):
    """The order of events by time."""

    NEWEST_FIRST = "desc"
    OLDEST_FIRST = "asc"


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events, and in which order: by event_id where `by_id`, else by the time of creation; ties go by id."""

    conditions: tuple[Condition, ...] = ()
    order: EventOrder = EventOrder.NEWEST_FIRST
    by_id: bool = False


class Aggregator(Enum):
    """What statistics compute of a column, by the API's word."""

    COUNT = "count"
    MAX = "max"
    MIN = "min"
    AVG = "avg"
    GROUP_BY = "group_by"


@dataclass(frozen=True, slots=True)
class Target:
    """One column of statistics.

    Of a member of `meta` of any type, MIN, MAX and AVG are those of its numbers; where it has none, MIN and MAX are
    those of its texts.
    """

    of: Column | MetaField | AnyMember
    aggregator: Aggregator


@dataclass(frozen=True, slots=True)
class StatisticsQuery:
    """What statistics are asked for. `group_by` is an interval (5m, 3M), a part of the time (hourOfDay) or empty."""

    targets: tuple[Target, ...]
    conditions: tuple[Condition, ...] = ()
    group_by: str = ""


Cell = str | int | float | datetime | UUID | None
"""A value of statistics."""


class EventStore(Protocol):
    """Where events are kept. Nothing outside the given scope is seen."""

    async def keep(self, batch: Batch) -> None:
        """Keep and tell everything of a batch, or nothing.

        When this returns, all of it is committed: a search finds it, and subscribers will be told, at least once.

        Raises:
            ListsNotFound: a list is not there or belongs to another account.
            AlreadyNoted: the batch has a note, and it was kept before.
            TaskNotFound: the batch has a note, and its task is gone.
        """
        ...

    async def get(self, scope: Scope, event_id: UUID) -> EventRecord | None:
        """One event."""
        ...

    async def find(self, scope: Scope, query: EventQuery, page: Page) -> list[EventRecord]:
        """A page of events."""
        ...

    async def statistics(self, scope: Scope, query: StatisticsQuery) -> list[tuple[Cell, ...]]:
        """Rows of statistics: the time first where rows are by time, then a cell for each target."""
        ...

    async def descriptor(self, scope: Scope, event_id: UUID, version: int) -> Descriptor | None:
        """The descriptor of an event in a version."""
        ...

    async def descriptor_versions(self, scope: Scope, event_id: UUID) -> tuple[int, ...]:
        """The versions of an event's descriptors."""
        ...

    async def newest_by_external_id(self, scope: Scope, external_id: str) -> UUID | None:
        """The newest event with an external id."""
        ...

    async def newest_by_track_id(self, scope: Scope, track_id: str) -> UUID | None:
        """The newest event of a track."""
        ...

    async def remove(self, scope: Scope, event_ids: Collection[UUID]) -> int:
        """Delete events with their descriptors. Returns how many there were."""
        ...
