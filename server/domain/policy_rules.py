"""What policies must satisfy beyond the limits of their single fields: they may not contradict themselves.

A condition of a filter is one entry of `CONDITIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from server.domain.access import Principal, Scope
from server.domain.face_quality_rules import refusal
from server.domain.policies import (
    AttributeCandidates,
    DescriptorKind,
    DetectPolicy,
    EventCandidates,
    FaceCandidates,
    Filters,
    MatchPolicy,
    Policies,
)
from server.domain.vision import Estimation
from server.errors import BadBody, Violation

SIMILARITY = "similarity"
FACE_TARGETS = frozenset(
    {"face_id", "account_id", "event_id", "user_data", "create_time", "external_id", "avatar", "lists", SIMILARITY}
)
EVENT_TARGETS = frozenset(
    {
        "event_id",
        "account_id",
        "create_time",
        "end_time",
        "external_id",
        "handler_id",
        "stream_id",
        "source",
        "face_id",
        "attach_result",
        "gender",
        "age",
        "emotion",
        "ethnic_group",
        "tags",
        "user_data",
        "location",
        "mask",
        "liveness",
        "track_id",
        "body_basic_attributes",
        "upper_body",
        "lower_body",
        "accessories",
        "meta",
        SIMILARITY,
    }
)
"""All fields of an event but its own matches and detections, which are not told of a candidate."""
ATTRIBUTE_TARGETS = frozenset({"attribute_id", "account_id", "create_time", SIMILARITY})
TARGETS: Mapping[type, frozenset[str]] = {
    FaceCandidates: FACE_TARGETS,
    EventCandidates: EVENT_TARGETS,
    AttributeCandidates: ATTRIBUTE_TARGETS,
}
"""The fields of candidates that a comparison can tell, by their kind."""


@dataclass(frozen=True, slots=True)
class FilterCondition:
    """One condition of a filter, and what must be estimated so that it can hold.

    Attributes:
        member: its name in the API.
        given: whether a filter has it.
        met: whether policies estimate what it needs.
        needs: the fields that would make them do so.
    """

    member: str
    given: Callable[[Filters], bool]
    met: Callable[[Policies], bool]
    needs: str


def _basic(policies: Policies) -> bool:
    return policies.detect.faces and policies.extract.basic_attributes


def _mask(policies: Policies) -> bool:
    detect = policies.detect
    return detect.faces and (Estimation.MASK in detect.estimations or bool(detect.limits.masks))


def _liveness(policies: Policies) -> bool:
    detect = policies.detect
    return detect.faces and (detect.liveness.estimate or bool(detect.limits.liveness))


_BASIC_NEEDS = "detect_policy.detect_face and extract_policy.extract_basic_attributes"
CONDITIONS: tuple[FilterCondition, ...] = (
    FilterCondition("gender", lambda one: one.gender is not None, _basic, _BASIC_NEEDS),
    FilterCondition("age__gte", lambda one: one.age_gte is not None, _basic, _BASIC_NEEDS),
    FilterCondition("age__lt", lambda one: one.age_lt is not None, _basic, _BASIC_NEEDS),
    FilterCondition("ethnic_group", lambda one: bool(one.ethnicities), _basic, _BASIC_NEEDS),
    FilterCondition(
        "mask",
        lambda one: bool(one.masks),
        _mask,
        "detect_policy.detect_face and detect_policy.estimate_mask or detect_policy.mask_states",
    ),
    FilterCondition(
        "liveness",
        lambda one: bool(one.liveness),
        _liveness,
        "detect_policy.detect_face and detect_policy.estimate_liveness or detect_policy.liveness_states",
    ),
)
"""The conditions of filters that depend on an estimation."""


def check(policies: Policies, path: str = "policies") -> None:
    """Hold policies to the rules.

    Args:
        policies: the policies.
        path: where they stand in the request.

    Raises:
        BadBody: they contradict themselves; the error names the first field that does, and all of them as violations.
    """
    found = tuple(Violation(f"{path}.{one.field}", one.description) for one in contradictions(policies))
    if found:
        raise BadBody(field=found[0].field, message=found[0].description, violations=found)


def contradictions(policies: Policies) -> Iterator[Violation]:
    """Everything that is wrong with policies, by fields of theirs."""
    yield from quality_contradictions(policies.detect)
    labels: set[str] = set()
    for position, one in enumerate(policies.match):
        yield from _of_match(policies, one, f"match_policy.{position}", labels)
        labels.add(one.label)
    for field, filters in filters_of(policies):
        yield from _of_filters(policies, filters, field, labels)


def quality_contradictions(detect: DetectPolicy, path: str = "detect_policy") -> Iterator[Violation]:
    """What is wrong with the thresholds of face_quality."""
    for name, one in detect.face_quality.checks.items():
        if one.threshold is not None and (refused := refusal(name, one.threshold)) is not None:
            member, description = refused
            field = f"{path}.face_quality.checks.{name.value}.threshold"
            yield Violation(f"{field}.{member}" if member else field, description)


def filters_of(policies: Policies) -> Iterator[tuple[str, Filters]]:
    """All filters of policies but those of comparisons, with the field that they stand in."""
    for position, tag in enumerate(policies.tags):
        yield f"conditional_tags_policy.{position}.filters", tag.filters
    storage = policies.storage
    parts: Mapping[str, Filters] = {
        "face_sample_policy": storage.face_sample.filters,
        "body_sample_policy": storage.body_sample.filters,
        "image_origin_policy": storage.image_origin.filters,
        "attribute_policy": storage.attribute.filters,
        "face_policy": storage.face.filters,
        "event_policy": storage.event.filters,
        "notification_policy": storage.notification.filters,
    }
    for name, filters in parts.items():
        yield f"storage_policy.{name}.filters", filters
    for position, link in enumerate(storage.face.lists):
        yield f"storage_policy.face_policy.link_to_lists_policy.{position}.filters", link.filters


def _of_match(policies: Policies, one: MatchPolicy, field: str, labels: set[str]) -> Iterator[Violation]:
    if one.label in labels:
        yield Violation(f"{field}.label", f"'{one.label}' is the label of another comparison")
    if one.descriptor is DescriptorKind.BODY:
        if not isinstance(one.candidates, EventCandidates):
            yield Violation(f"{field}.descriptor_type", "'body' is allowed for candidates of origin events alone")
        elif not (policies.detect.bodies and policies.extract.body_descriptor):
            needs = "detect_policy.detect_body and extract_policy.extract_body_descriptor"
            yield Violation(f"{field}.descriptor_type", f"'body' needs {needs}")
    elif not (policies.detect.faces and policies.extract.face_descriptor):
        needs = "detect_policy.detect_face and extract_policy.extract_face_descriptor"
        yield Violation(f"{field}.descriptor_type", f"'face' needs {needs}")
    allowed = TARGETS[type(one.candidates)]
    for position, target in enumerate(one.targets):
        if target not in allowed:
            sentence = f"'{target[:64]}' is not allowed, allowed are: {', '.join(sorted(allowed))}"
            yield Violation(f"{field}.targets.{position}", sentence)
    if one.filters.match:
        yield Violation(f"{field}.filters.match", "a comparison cannot depend on comparisons")
    yield from _of_conditions(policies, one.filters, f"{field}.filters")


def _of_filters(policies: Policies, filters: Filters, field: str, labels: set[str]) -> Iterator[Violation]:
    yield from _of_conditions(policies, filters, field)
    for position, one in enumerate(filters.match):
        if one.label not in labels:
            sentence = f"'{one.label[:64]}' is the label of no comparison of match_policy"
            yield Violation(f"{field}.match.{position}.label", sentence)


def _of_conditions(policies: Policies, filters: Filters, field: str) -> Iterator[Violation]:
    for one in CONDITIONS:
        if one.given(filters) and not one.met(policies):
            yield Violation(f"{field}.{one.member}", f"these policies never estimate it: it needs {one.needs}")


def lists_of(policies: Policies, principal: Principal) -> dict[Scope, list[UUID]]:
    """The lists that policies name, each in the scope that it must be in.

    Faces are put into lists of the caller's own account. Lists of candidates are of the account that the candidates
    name, as far as the caller reads it, else of the caller's own.
    """
    named: dict[Scope, list[UUID]] = {}
    for link in policies.storage.face.lists:
        named.setdefault(principal.writes, []).append(link.list_id)
    for one in policies.match:
        if isinstance(one.candidates, FaceCandidates) and one.candidates.list_id is not None:
            account_id = one.candidates.account_id
            scope = principal.writes if account_id is None else principal.reads(account_id)
            named.setdefault(scope, []).append(one.candidates.list_id)
    return named
