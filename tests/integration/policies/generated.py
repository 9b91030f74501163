"""Random policies that a handler accepts, and random pictures, from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.integration.policies.reference import FaceSeen, Known, Person, Vector

DIMENSIONS = 128
TAGS = ("watched", "visitor", "child", "masked")


def unit(chance: random.Random) -> Vector:
    """A random unit vector, as near as half floats come to one."""
    return _unit(np.array([chance.gauss(0, 1) for _ in range(DIMENSIONS)]))


def near(vector: Vector, chance: random.Random, spread: float) -> Vector:
    """A unit vector near another one."""
    moved = [chance.gauss(0, spread / math.sqrt(DIMENSIONS)) for _ in range(DIMENSIONS)]
    return _unit(vector + np.array(moved))


def _unit(vector: Vector) -> Vector:
    return (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float64)


class Generator:
    """Makes policies and pictures.

    Args:
        seed: of everything that it makes.
        gallery: the faces that comparisons may find.
        lists: lists that are there.
    """

    def __init__(self, seed: int, gallery: Sequence[Known], lists: Sequence[str]) -> None:
        self.chance = random.Random(seed)
        self._gallery = gallery
        self._lists = lists
        self._number = 0

    def people(self) -> list[Person]:
        """Who is in a picture: often one, sometimes nobody, sometimes several."""
        count = self.chance.choices((0, 1, 2, 3), (1, 6, 3, 1))[0]
        people = [self._person() for _ in range(count)]
        # those with a face come first, as engines tell of them
        return sorted(people, key=lambda one: one.face is None)

    def policies(self) -> dict[str, Any]:
        """Policies, with much of them left out."""
        detect, extract = self._detect(), self._extract()
        labels = []
        policies: dict[str, Any] = {}
        self._put(policies, "detect_policy", detect)
        self._put(policies, "extract_policy", extract)
        estimated = self._estimated(detect, extract)
        described = extract.get("extract_face_descriptor", 1) == 1 and detect.get("detect_face", 1) == 1
        if described and self._often():
            matches = [self._match(f"label-{number}", estimated) for number in range(self.chance.randint(1, 3))]
            policies["match_policy"] = matches
            labels = [one["label"] for one in matches]
        if self._often():
            policies["conditional_tags_policy"] = [
                {"tag": tag, "filters": self._filters(estimated, labels)}
                for tag in self.chance.sample(TAGS, self.chance.randint(1, 3))
            ]
        if self._often():
            policies["storage_policy"] = self._storage(estimated, labels)
        return policies

    def _often(self, share: float = 0.6) -> bool:
        return self.chance.random() < share

    def _put(self, into: dict[str, Any], name: str, value: dict[str, Any]) -> None:
        if value or self._often(0.3):
            into[name] = value

    def _person(self) -> Person:
        kind = self.chance.choices(("face", "body", "both"), (5, 2, 4))[0]
        self._number = self._number % 200 + 1
        return Person(self._face(self._number) if kind != "body" else None, self._number if kind != "face" else None)

    def _face(self, number: int) -> FaceSeen:
        known = self.chance.choice(self._gallery).vector
        angles = {name: round(self.chance.uniform(-60, 60), 1) for name in ("pitch", "roll", "yaw")}
        return FaceSeen(
            number=number,
            angles=angles,
            mask=self.chance.randint(1, 3),
            liveness_score=round(self.chance.random(), 3),
            liveness_quality=round(self.chance.random(), 3),
            age=self.chance.randint(1, 90),
            gender=self.chance.randint(0, 1),
            ethnic_group=self.chance.randint(1, 4),
            score=round(self.chance.random(), 3),
            checks={
                "head_yaw": angles["yaw"],
                "head_pitch": angles["pitch"],
                "left_eye": self.chance.choice(("open", "closed")),
                "red_eyes": self.chance.choice((0, 0, 0, 1)),
            },
            vector=near(known, self.chance, self.chance.uniform(0.1, 1.0)) if self._often(0.8) else unit(self.chance),
        )

    def _detect(self) -> dict[str, Any]:
        chance = self.chance
        out: dict[str, Any] = {}
        if self._often(0.2):
            out["detect_face"] = int(self._often(0.7))
        if self._often():
            out["detect_body"] = int(self._often(0.7))
        if self._often():
            out["multiface_policy"] = chance.choices((0, 1, 2), (1, 3, 2))[0]
        for switch in (
            "estimate_head_pose",
            "estimate_emotions",
            "estimate_mask",
            "estimate_quality",
            "estimate_gaze",
            "estimate_eyes_attributes",
            "estimate_mouth_attributes",
            "estimate_glasses",
            "detect_landmarks68",
        ):
            if self._often(0.3):
                out[switch] = chance.randint(0, 1)
        for angle in ("pitch", "roll", "yaw"):
            if self._often(0.25):
                out[f"{angle}_threshold"] = chance.choice((0, 20, 45, 60, 180, None))
        if self._often(0.2):
            out["mask_states"] = sorted(chance.sample((1, 2, 3), chance.randint(1, 2)))
        if self._often(0.2):
            out["liveness_states"] = sorted(chance.sample((0, 1, 2), chance.randint(1, 2)))
        if self._often(0.4):
            out["estimate_liveness"] = {"estimate": chance.randint(0, 1)}
            if self._often():
                out["estimate_liveness"]["liveness_threshold"] = round(chance.random(), 2)
            if self._often(0.4):
                out["estimate_liveness"]["quality_threshold"] = round(chance.random() / 2, 2)
        if self._often(0.3):
            checks: dict[str, Any] = {}
            if self._often():
                checks["head_yaw"] = {"threshold": {"min": -40, "max": 40}}
            if self._often():
                checks["head_pitch"] = {"estimate": chance.randint(0, 1), "threshold": {"min": -30}}
            if self._often(0.4):
                checks["left_eye"] = {"threshold": ["open", "closed"]}
            if self._often(0.4):
                checks["red_eyes"] = {"estimate": chance.randint(0, 1)}
            out["face_quality"] = {"estimate": 1, "filter": chance.randint(0, 1), "checks": checks}
        return out

    def _extract(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if self._often(0.3):
            out["extract_face_descriptor"] = int(self._often(0.7))
        if self._often(0.2):
            out["extract_body_descriptor"] = 0
        if self._often():
            out["extract_basic_attributes"] = int(self._often(0.8))
        if out.get("extract_face_descriptor", 1) and self._often(0.3):
            out["fd_score_threshold"] = round(self.chance.random() / 2, 2)
        return out

    def _estimated(self, detect: dict[str, Any], extract: dict[str, Any]) -> list[str]:
        """The attributes that filters may speak of."""
        if detect.get("detect_face", 1) != 1:
            return []
        found = ["gender", "age", "ethnic_group"] if extract.get("extract_basic_attributes", 0) else []
        if detect.get("estimate_mask", 0) or "mask_states" in detect:
            found.append("mask")
        if detect.get("estimate_liveness", {}).get("estimate", 0) or "liveness_states" in detect:
            found.append("liveness")
        return found

    def _filters(self, estimated: Sequence[str], labels: Sequence[str] = ()) -> dict[str, Any]:
        chance = self.chance
        out: dict[str, Any] = {}
        for name in estimated:
            if not self._often(0.3):
                continue
            match name:
                case "gender":
                    out["gender"] = chance.randint(0, 1)
                case "age":
                    if self._often():
                        out["age__gte"] = chance.randint(0, 50)
                    if self._often():
                        out["age__lt"] = chance.randint(20, 90)
                case "ethnic_group":
                    out["ethnic_group"] = sorted(chance.sample((1, 2, 3, 4), chance.randint(1, 3)))
                case "mask":
                    out["mask"] = sorted(chance.sample((1, 2, 3), chance.randint(1, 2)))
                case "liveness":
                    out["liveness"] = sorted(chance.sample((0, 1, 2), chance.randint(1, 2)))
        if labels and self._often(0.5):
            out["match"] = [self._match_filter(chance.choice(labels)) for _ in range(chance.randint(1, 2))]
        return out

    def _match_filter(self, label: str) -> dict[str, Any]:
        low, high = sorted(round(self.chance.random(), 2) for _ in range(2))
        out: dict[str, Any] = {"label": label}
        if self._often():
            out["similarity__gte"] = low
        if self._often():
            out["similarity__lte"] = high
        return out

    def _match(self, label: str, estimated: Sequence[str]) -> dict[str, Any]:
        chance = self.chance
        candidates: dict[str, Any] = {"origin": "faces"}
        kind = chance.choice(("all", "list", "ids", "external"))
        if kind == "list":
            candidates["list_id"] = chance.choice(self._lists)
        elif kind == "ids":
            candidates["face_ids"] = [one.face_id for one in chance.sample(list(self._gallery), 5)]
        elif kind == "external":
            candidates["external_ids"] = [one.external_id for one in chance.sample(list(self._gallery), 3)]
        out: dict[str, Any] = {"label": label, "candidates": candidates}
        if self._often(0.5):
            out["limit"] = chance.randint(1, 6)
        if self._often(0.5):
            out["threshold"] = round(chance.random(), 2)
        if self._often(0.4):
            out["filters"] = self._filters(estimated)
        return out

    def _storage(self, estimated: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, switch in (
            ("face_sample_policy", "store_sample"),
            ("body_sample_policy", "store_sample"),
            ("image_origin_policy", "store_image"),
            ("attribute_policy", "store_attribute"),
            ("face_policy", "store_face"),
            ("event_policy", "store_event"),
            ("notification_policy", "send_notification"),
        ):
            if self._often():
                policy: dict[str, Any] = {}
                if self._often(0.8):
                    policy[switch] = int(self._often(0.7))
                if self._often(0.5):
                    policy["filters"] = self._filters(estimated, labels)
                out[name] = policy
        face = out.get("face_policy")
        if face is not None:
            if self._often(0.4):
                face["set_sample_as_avatar"] = self.chance.randint(0, 1)
            if self._often():
                chosen = self.chance.sample(list(self._lists), self.chance.randint(1, len(self._lists)))
                face["link_to_lists_policy"] = [
                    {"list_id": one, "filters": self._filters(estimated, labels)} for one in chosen
                ]
        return out
