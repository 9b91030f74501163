"""Policies: what a handler does with an image, as values. `server.domain.decisions` says what follows from them.

Every default is that of the reference document, or the one that docs/compatibility.md gives for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol
from uuid import UUID

from server.domain.attributes import Ethnicity, Gender
from server.domain.checks import FACE_QUALITY, CheckName, Threshold
from server.domain.event_conditions import Column, Condition, Operator
from server.domain.filters import FaceLimits
from server.domain.images import MultifacePolicy
from server.domain.vision import Estimation, LivenessState, MaskState

RELATIVE_TIME = re.compile(r"now-([0-9]{1,6})([smhdwMy])")
"""A time relative to now, as `TimeBound` reads it."""
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,30})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MONTHS = {"M": 1, "y": 12}
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TimeBound:
    """A time, or one that is relative to the moment it is asked at. `text` is the form that it was given in.

    Relative: now-N and a unit: s, m, h, d, w, M (months of the calendar) or y.
    """

    text: str

    def __post_init__(self) -> None:
        self.at(_EARLIEST)

    def at(self, now: datetime) -> datetime:
        """The time that is meant at a moment, in UTC; never before the year 1.

        Raises:
            ValueError: the text is neither RFC 3339 nor relative.
        """
        found = RELATIVE_TIME.fullmatch(self.text)
        if found is None:
            return _absolute(self.text)
        count, unit = int(found[1]), found[2]
        try:
            if unit in _UNITS:
                return now - timedelta(seconds=count * _UNITS[unit])
            return _months_before(now, count * _MONTHS[unit])
        except (OverflowError, ValueError):
            return _EARLIEST


def _absolute(text: str) -> datetime:
    if _RFC3339.fullmatch(text) is None:
        message = "a time as in RFC 3339 is needed, or a relative one as now-3h"
        raise ValueError(message)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        message = "the time is outside the years 1 to 9999"
        raise ValueError(message) from error


def _months_before(now: datetime, months: int) -> datetime:
    """The same day and time so many months before, or the last day of that month where it is shorter."""
    month = now.year * 12 + now.month - 1 - months
    first = now.replace(year=month // 12, month=month % 12 + 1, day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return first.replace(day=min(now.day, (following - timedelta(days=1)).day))


@dataclass(frozen=True, slots=True)
class MatchCondition:
    """The best candidate under a label has a similarity in [least, most], both included. Nobody found counts as 0."""

    label: str
    least: float = 0.0
    most: float = 1.0


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions on an event. Those that are set must all hold; of the items of one, one must.

    None and an empty set are no condition. What was not estimated does not pass. `match` holds where one of its
    conditions does.
    """

    gender: Gender | None = None
    age_gte: int | None = None
    age_lt: int | None = None
    ethnicities: frozenset[Ethnicity] = frozenset()
    masks: frozenset[MaskState] = frozenset()
    liveness: frozenset[LivenessState] = frozenset()
    match: tuple[MatchCondition, ...] = ()


ANY_EVENT = Filters()
"""Every event passes."""


@dataclass(frozen=True, slots=True)
class LivenessPolicy:
    """Whether liveness is estimated, and with which thresholds; both in [0, 1]."""

    estimate: bool = False
    threshold: float = 0.88
    quality_threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """One check of face_quality: whether it is made, and what it is held to."""

    estimate: bool = True
    threshold: Threshold | None = None


def _all_checks() -> Mapping[CheckName, PolicyCheck]:
    return {name: PolicyCheck(threshold=threshold) for name, threshold in FACE_QUALITY.items()}


@dataclass(frozen=True, slots=True)
class FaceQualityPolicy:
    """Whether face_quality is checked, whether faces that fail are left out, and which checks are made."""

    estimate: bool = False
    filter: bool = False
    checks: Mapping[CheckName, PolicyCheck] = field(default_factory=_all_checks)

    @property
    def thresholds(self) -> Mapping[CheckName, Threshold]:
        """What the checks that are made hold a face to."""
        return {
            name: check.threshold
            for name, check in self.checks.items()
            if check.estimate and check.threshold is not None
        }


@dataclass(frozen=True, slots=True)
class DetectPolicy:
    """What is looked for and estimated, and which faces are left out.

    `estimations` are those that the answer shows, of faces, bodies and images, except liveness, face_quality, basic
    attributes of faces and descriptors, which other policies ask for. The score of `limits` is not used: it is
    `ExtractPolicy.score_threshold`.
    """

    faces: bool = True
    bodies: bool = False
    multiface: MultifacePolicy = MultifacePolicy.ALLOWED
    estimations: frozenset[Estimation] = frozenset()
    extract_exif: bool = False
    limits: FaceLimits = field(default_factory=FaceLimits)
    liveness: LivenessPolicy = field(default_factory=LivenessPolicy)
    face_quality: FaceQualityPolicy = field(default_factory=FaceQualityPolicy)


@dataclass(frozen=True, slots=True)
class ExtractPolicy:
    """What is extracted. Faces whose descriptor has a score below the threshold, in [0, 1], are left out."""

    face_descriptor: bool = True
    body_descriptor: bool = False
    basic_attributes: bool = False
    score_threshold: float = 0.0


class DescriptorKind(Enum):
    """Which descriptor of an event is meant, by the API's word."""

    FACE = "face"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class FaceCandidates:
    """Faces to compare with. None is no condition; `account_id` None is the handler's own account."""

    account_id: UUID | None = None
    list_id: UUID | None = None
    face_ids: tuple[UUID, ...] | None = None
    external_ids: tuple[str, ...] | None = None
    user_data: str | None = None
    create_time_gte: TimeBound | None = None
    create_time_lt: TimeBound | None = None
    face_id_gte: UUID | None = None
    face_id_lt: UUID | None = None


@dataclass(frozen=True, slots=True)
class EventCandidates:
    """Events to compare with, of the handler's own account.

    `conditions` are those that do not depend on the time they are asked at; None is no bound. `given` is what the
    caller gave, as `PolicyForm` writes it, so that it can be shown again.
    """

    conditions: tuple[Condition, ...] = ()
    create_time_gte: TimeBound | None = None
    create_time_lt: TimeBound | None = None
    end_time_gte: TimeBound | None = None
    end_time_lt: TimeBound | None = None
    given: Mapping[str, object] = field(default_factory=dict)

    def at(self, now: datetime) -> tuple[Condition, ...]:
        """All conditions, as they are at a moment."""
        bounds = (
            (Column.CREATE_TIME, Operator.GTE, self.create_time_gte),
            (Column.CREATE_TIME, Operator.LT, self.create_time_lt),
            (Column.END_TIME, Operator.GTE, self.end_time_gte),
            (Column.END_TIME, Operator.LT, self.end_time_lt),
        )
        times = (Condition(column, operator, bound.at(now)) for column, operator, bound in bounds if bound is not None)
        return (*self.conditions, *times)


@dataclass(frozen=True, slots=True)
class AttributeCandidates:
    """Temporary attributes to compare with."""

    attribute_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class MatchPolicy:
    """One comparison. `targets` are the fields of candidates that are told, by the API's names; empty is all."""

    label: str
    candidates: FaceCandidates | EventCandidates | AttributeCandidates
    descriptor: DescriptorKind = DescriptorKind.FACE
    limit: int = 3
    threshold: float = 0.0
    filters: Filters = ANY_EVENT
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConditionalTag:
    """A tag that events get which pass."""

    tag: str
    filters: Filters


@dataclass(frozen=True, slots=True)
class SamplePolicy:
    """Whether samples are stored."""

    store: bool = True
    filters: Filters = ANY_EVENT


@dataclass(frozen=True, slots=True)
class ImageOriginPolicy:
    """Whether images are stored, and whether an address that the caller gave stands in for one."""

    store: bool = False
    external_references: bool = True
    filters: Filters = ANY_EVENT


@dataclass(frozen=True, slots=True)
class AttributePolicy:
    """Whether a temporary attribute is made, and for how many seconds; None is the default of the API, 300."""

    store: bool = False
    ttl_seconds: int | None = None
    filters: Filters = ANY_EVENT


@dataclass(frozen=True, slots=True)
class LinkToList:
    """A list that the face is put into."""

    list_id: UUID
    filters: Filters = ANY_EVENT


@dataclass(frozen=True, slots=True)
class FacePolicy:
    """Whether a face is made, with its sample as avatar, and the lists that it is put into."""

    store: bool = False
    avatar: bool = True
    lists: tuple[LinkToList, ...] = ()
    filters: Filters = ANY_EVENT


@dataclass(frozen=True, slots=True)
class EventPolicy:
    """Whether events are stored, and whether the answer waits for it."""

    store: bool = True
    wait: bool = True
    filters: Filters = ANY_EVENT


@dataclass(frozen=True, slots=True)
class NotificationPolicy:
    """Whether subscribers are told."""

    send: bool = True
    filters: Filters = ANY_EVENT


@dataclass(frozen=True, slots=True)
class StoragePolicy:
    """What is stored, and whether it is told."""

    face_sample: SamplePolicy = field(default_factory=SamplePolicy)
    body_sample: SamplePolicy = field(default_factory=SamplePolicy)
    image_origin: ImageOriginPolicy = field(default_factory=ImageOriginPolicy)
    attribute: AttributePolicy = field(default_factory=AttributePolicy)
    face: FacePolicy = field(default_factory=FacePolicy)
    event: EventPolicy = field(default_factory=EventPolicy)
    notification: NotificationPolicy = field(default_factory=NotificationPolicy)


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies, in the order that they are worked through."""

    detect: DetectPolicy = field(default_factory=DetectPolicy)
    extract: ExtractPolicy = field(default_factory=ExtractPolicy)
    match: tuple[MatchPolicy, ...] = ()
    tags: tuple[ConditionalTag, ...] = ()
    storage: StoragePolicy = field(default_factory=StoragePolicy)


class PolicyForm(Protocol):
    """The form that policies are kept in: objects of JSON by the names of the API."""

    def write(self, policies: Policies) -> dict[str, object]:
        """Policies as an object."""
        ...

    def read(self, form: Mapping[str, object]) -> Policies:
        """Policies that were written, by this release or an older one.

        Raises:
            ValueError: the object is no policies.
        """
        ...
