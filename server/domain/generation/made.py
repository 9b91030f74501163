"""What comes out: events as they are answered and told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from server.domain.aggregation import Aggregate
from server.domain.events import EventRecord
from server.domain.faces import Face
from server.domain.generation.sources import SourceOutcome
from server.domain.vision import BasicAttributesEstimation, DetectedBody, DetectedFace, Rect


@dataclass(frozen=True, slots=True)
class MadeFace:
    """A face in one source: its sample where it is stored, and what the answer shows of it.

    `rect` is where it is: of a sample the box that was given with it, or None.
    """

    face: DetectedFace
    rect: Rect | None
    sample: bool
    sample_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class MadeBody:
    """A body in one source, by the same rules as a `MadeFace`."""

    body: DetectedBody
    rect: Rect | None
    sample: bool
    sample_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class MadeDetection:
    """One source of an event. `image_origin` is the address of the image, where it is kept."""

    filename: str
    detect_time: datetime
    detect_ts: float | None
    image_origin: str | None
    face: MadeFace | None = None
    body: MadeBody | None = None


@dataclass(frozen=True, slots=True)
class FaceExtract:
    """What was extracted of the face. `score` in [0, 1] is None of a descriptor that was given."""

    attribute_id: UUID | None
    basic_attributes: BasicAttributesEstimation | None
    score: float | None
    samples: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class BodyExtract:
    """What was extracted of the body. `score` in [0, 1]."""

    score: float | None
    samples: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class MadeEvent:
    """An event. `aggregate` is there where all sources made one event, `face` where one was made."""

    record: EventRecord
    stored: bool
    detections: tuple[MadeDetection, ...]
    face_attributes: FaceExtract | None = None
    body_attributes: BodyExtract | None = None
    aggregate: Aggregate | None = None
    face: Face | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """What became of a request: each source, and the events, those of one source together."""

    outcomes: tuple[SourceOutcome, ...]
    events: tuple[MadeEvent, ...]
