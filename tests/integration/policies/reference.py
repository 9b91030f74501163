"""What must come of a request for events, by the words of the reference document: plain, slow, and on JSON alone.

It knows nothing of the product's code. Policies are the JSON that a caller sends, with whatever it leaves out; pictures
are lists of people with everything that could be estimated of them; the gallery is what is stored before the request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Json = Mapping[str, Any]
Vector = npt.NDArray[np.float64]

ANGLES = ("pitch", "roll", "yaw")
MASKS = {1: "missing", 2: "medical_mask", 3: "occluded"}
STEEPNESS, MIDPOINT = 20.0, 0.4356
"""Of the descriptors of version 1001 (docs/reference/descriptors.md)."""


@dataclass(frozen=True)
class FaceSeen:
    """A face in a picture: its number, and everything that an engine could say of it."""

    number: int
    angles: Mapping[str, float]
    mask: int
    liveness_score: float
    liveness_quality: float
    age: int
    gender: int
    ethnic_group: int
    score: float
    checks: Mapping[str, float | str]
    vector: Vector


@dataclass(frozen=True)
class Person:
    """Someone in a picture: a face, the number of a body, or both."""

    face: FaceSeen | None
    body: int | None


@dataclass(frozen=True)
class Known:
    """A face of the gallery that has a descriptor."""

    face_id: str
    external_id: str
    lists: frozenset[str]
    vector: Vector


@dataclass
class Expected:
    """An event that must come out, by what can be told of it without knowing new ids."""

    face: int | None
    body: int | None
    tags: list[str]
    matches: list[tuple[str, list[tuple[str, float]]]]
    shown: set[str]
    score: float | None
    face_sample: bool
    body_sample: bool
    image: bool
    attribute: bool
    made_face: bool
    avatar: bool
    lists: list[str]
    stored: bool
    told: bool
    facts: dict[str, int | None] = field(default_factory=dict)


@dataclass
class Answer:
    """What must come of a request. `failed` tells, for each source, whether it is an error."""

    failed: list[bool]
    filtered: list[tuple[int, int, set[str]]]
    """(source, number of the face, names of the reasons)."""
    events: list[Expected]


def given(policy: Json | None, name: str, default: Any) -> Any:
    """A member of a policy, or its default."""
    return default if policy is None or name not in policy else policy[name]


def similarity(a: Vector, b: Vector) -> float:
    """Of two vectors, by the logistic curve of the distance that they have at length 1."""
    cosine = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
    distance = math.sqrt(max(0.0, 2 - 2 * cosine))
    return 1 / (1 + math.exp(STEEPNESS * (distance - MIDPOINT)))


def liveness_of(face: FaceSeen, detect: Json) -> int:
    """0 spoof, 1 real, 2 unknown."""
    policy = given(detect, "estimate_liveness", {})
    if face.liveness_quality < given(policy, "quality_threshold", 0):
        return 2
    return 1 if face.liveness_score >= given(policy, "liveness_threshold", 0.88) else 0


def facts_of(face: FaceSeen | None, policies: Json) -> dict[str, int | None]:
    """What is known of an event's face: only what the policies have estimated."""
    detect, extract = given(policies, "detect_policy", {}), given(policies, "extract_policy", {})
    basic = given(extract, "extract_basic_attributes", 0) == 1
    mask = given(detect, "estimate_mask", 0) == 1 or "mask_states" in detect
    live = given(given(detect, "estimate_liveness", {}), "estimate", 0) == 1 or "liveness_states" in detect
    return {
        "gender": face.gender if face and basic else None,
        "age": face.age if face and basic else None,
        "ethnic_group": face.ethnic_group if face and basic else None,
        "mask": face.mask if face and mask else None,
        "liveness": liveness_of(face, detect) if face and live else None,
    }


def reasons(face: FaceSeen, policies: Json) -> set[str]:
    """Names of the filters that a face does not pass."""
    detect, extract = given(policies, "detect_policy", {}), given(policies, "extract_policy", {})
    found = set()
    for angle in ANGLES:
        limit = given(detect, f"{angle}_threshold", None)
        if limit is not None and limit < 180 and not (limit > 0 and abs(face.angles[angle]) <= limit):
            found.add(f"{angle}_threshold")
    if "mask_states" in detect and face.mask not in detect["mask_states"]:
        found.add("mask_states")
    if "liveness_states" in detect and liveness_of(face, detect) not in detect["liveness_states"]:
        found.add("liveness_states")
    if face.score < given(extract, "fd_score_threshold", 0):
        found.add("fd_score_threshold")
    quality = given(detect, "face_quality", {})
    if given(quality, "estimate", 0) and given(quality, "filter", 0) and not passes_checks(face, quality):
        found.add("face_quality")
    return found


def passes_checks(face: FaceSeen, quality: Json) -> bool:
    """Whether every check that could be made holds."""
    ranges: dict[str, tuple[float, float]] = {"head_yaw": (-5, 5), "head_pitch": (-5, 5)}
    words = {"left_eye": ["open"]}
    for name, value in face.checks.items():
        check = given(given(quality, "checks", {}), name, {})
        if not given(check, "estimate", 1):
            continue
        threshold = given(check, "threshold", None)
        if isinstance(value, str):
            if value not in (threshold or words[name]):
                return False
        elif name == "red_eyes":
            if value != 0:
                return False
        else:
            low, high = ranges[name]
            if threshold is not None:
                low, high = threshold.get("min", -math.inf), threshold.get("max", math.inf)
            if not low <= value <= high:
                return False
    return True


def passes(filters: Json | None, facts: Mapping[str, int | None], best: Mapping[str, float]) -> bool:
    """Whether an event passes the filters of a policy."""
    for name, wanted in (filters or {}).items():
        if name == "match":
            if not any(
                given(one, "similarity__gte", 0) <= best.get(one["label"], 0) <= given(one, "similarity__lte", 1)
                for one in wanted
            ):
                return False
            continue
        value = facts[name.removesuffix("__gte").removesuffix("__lt")]
        if value is None:
            return False
        if name.endswith("__gte"):
            holds = value >= wanted
        elif name.endswith("__lt"):
            holds = value < wanted
        else:
            holds = value in (wanted if isinstance(wanted, list) else [wanted])
        if not holds:
            return False
    return True


def matches_of(
    face: FaceSeen | None, facts: Mapping[str, int | None], policies: Json, gallery: Sequence[Known]
) -> list[tuple[str, list[tuple[str, float]]]]:
    """The comparisons that are made of an event, in their order, each with who is found, best first."""
    described = given(given(policies, "extract_policy", {}), "extract_face_descriptor", 1) == 1
    made = []
    for policy in given(policies, "match_policy", []):
        if face is None or not described or not passes(policy.get("filters"), facts, {}):
            continue
        wanted = policy["candidates"]
        found = [
            (known.face_id, similarity(face.vector, known.vector))
            for known in gallery
            if ("list_id" not in wanted or wanted["list_id"] in known.lists)
            and ("face_ids" not in wanted or known.face_id in wanted["face_ids"])
            and ("external_ids" not in wanted or known.external_id in wanted["external_ids"])
        ]
        near = [one for one in found if one[1] >= given(policy, "threshold", 0)]
        near.sort(key=lambda one: (-one[1], one[0]))
        made.append((policy["label"], near[: given(policy, "limit", 3)]))
    return made


SHOWN = {
    "estimate_head_pose": "head_pose",
    "estimate_emotions": "emotions",
    "estimate_mask": "mask",
    "estimate_gaze": "gaze",
    "estimate_eyes_attributes": "eyes_attributes",
    "estimate_mouth_attributes": "mouth_attributes",
    "estimate_glasses": "glasses",
}


def answer(
    policies: Json, sources: Sequence[Sequence[Person] | None], tags: Sequence[str], gallery: Sequence[Known]
) -> Answer:
    """What must come of sources, of which None is no picture at all."""
    detect, extract = given(policies, "detect_policy", {}), given(policies, "extract_policy", {})
    storage = given(policies, "storage_policy", {})
    faces = given(detect, "detect_face", 1) == 1
    bodies = given(detect, "detect_body", 0) == 1
    multiface = given(detect, "multiface_policy", 1)
    out = Answer([], [], [])
    for number, people in enumerate(sources):
        several = people is not None and faces and sum(one.face is not None for one in people) > 1
        out.failed.append(people is None or (multiface == 0 and several))
        if people is None or out.failed[-1]:
            continue
        seen = [Person(one.face if faces else None, one.body if bodies else None) for one in people]
        if multiface != 1:  # a body comes only beside a face, and of several faces the first is the best one
            seen = [one for one in seen if one.face is not None][:1]
        for one in seen:
            face, body = one.face, one.body
            if face is not None and (why := reasons(face, policies)):
                out.filtered.append((number, face.number, why))
                face = None
                if multiface != 1:
                    continue
            if face is None and body is None:
                continue
            facts = facts_of(face, policies)
            matches = matches_of(face, facts, policies, gallery)
            best = {label: found[0][1] if found else 0.0 for label, found in matches}

            def holds(
                policy: Json,
                switch: str,
                default: int,
                facts: dict[str, int | None] = facts,
                best: dict[str, float] = best,
            ) -> bool:
                return given(policy, switch, default) == 1 and passes(policy.get("filters"), facts, best)

            described = given(extract, "extract_face_descriptor", 1) == 1
            basic = given(extract, "extract_basic_attributes", 0) == 1
            face_policy = given(storage, "face_policy", {})
            face_sample = face is not None and holds(given(storage, "face_sample_policy", {}), "store_sample", 1)
            made_face = face is not None and holds(face_policy, "store_face", 0)
            shown = {name for switch, name in SHOWN.items() if given(detect, switch, 0) == 1}
            if given(given(detect, "estimate_liveness", {}), "estimate", 0) == 1:
                shown.add("liveness")
            conditional = [
                tag["tag"]
                for tag in given(policies, "conditional_tags_policy", [])
                if passes(tag["filters"], facts, best)
            ]
            out.events.append(
                Expected(
                    face=None if face is None else face.number,
                    body=body,
                    tags=list(dict.fromkeys([*tags, *conditional])),
                    matches=matches,
                    shown=shown if face is not None else set(),
                    score=face.score if face is not None and described else None,
                    face_sample=face_sample,
                    body_sample=body is not None and holds(given(storage, "body_sample_policy", {}), "store_sample", 1),
                    image=holds(given(storage, "image_origin_policy", {}), "store_image", 0),
                    attribute=face is not None
                    and (described or basic)
                    and holds(given(storage, "attribute_policy", {}), "store_attribute", 0),
                    made_face=made_face,
                    avatar=made_face and face_sample and given(face_policy, "set_sample_as_avatar", 1) == 1,
                    lists=[
                        link["list_id"]
                        for link in given(face_policy, "link_to_lists_policy", [])
                        if made_face and passes(link.get("filters"), facts, best)
                    ],
                    stored=holds(given(storage, "event_policy", {}), "store_event", 1),
                    told=holds(given(storage, "notification_policy", {}), "send_notification", 1),
                    facts=facts,
                )
            )
    return out
