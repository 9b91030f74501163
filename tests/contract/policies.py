"""Policies with every member that the contract has, each at a value that is allowed beside the others."""

from __future__ import annotations

from typing import Any

from tests.contract.contract import contract
from tests.contract.schema import Schema
from tests.contract.world import World

LABEL = "people"
LIFE = 300
"""Seconds that an attribute lives."""
_TEXTS = {
    "user_data": "someone",
    "create_time__gte": "now-3h",
    "create_time__lt": "2100-01-01T00:00:00Z",
    "face_id__gte": "00000000-0000-0000-0000-000000000000",
    "face_id__lt": "ffffffff-ffff-ffff-ffff-ffffffffffff",
}
ESTIMATED = {"estimate_mask": 1, "estimate_emotions": 1, "estimate_head_pose": 1}
"""What is switched on, so that filters may ask for it."""


def filters(*, match: bool) -> dict[str, Any]:
    """Filters by all that an event can be asked for."""
    plain = {"gender": 1, "age__gte": 18, "age__lt": 60, "ethnic_group": [1, 2], "mask": [1, 3], "liveness": [1]}
    return {**plain, **({"match": [{"label": LABEL, "similarity__gte": 0.2, "similarity__lte": 1}]} if match else {})}


def handler_policies(world: World) -> dict[str, Any]:
    """All policies of a handler."""
    properties = contract().operations["validate_handler_policies"].body
    assert properties is not None
    every = properties.fields["policies"].fields
    detect = _least(every["detect_policy"])
    kept = {name: {**part, "filters": filters(match=True)} for name, part in _least(every["storage_policy"]).items()}
    kept["face_policy"]["link_to_lists_policy"] = [{"list_id": world.list_id, "filters": filters(match=True)}]
    candidates = {
        "origin": "faces",
        "account_id": world.owner.account_id,
        "list_id": world.list_id,
        "face_ids": [world.face_id],
        "external_ids": ["person-1"],
        **_TEXTS,
    }
    return {
        "detect_policy": {**detect, **ESTIMATED, "mask_states": [1], "liveness_states": [1, 2]},
        "extract_policy": {
            **_least(every["extract_policy"]),
            "extract_face_descriptor": 1,
            "extract_basic_attributes": 1,
        },
        "match_policy": [
            {
                "label": LABEL,
                "candidates": candidates,
                "descriptor_type": "face",
                "limit": 3,
                "threshold": 0.5,
                "filters": filters(match=False),
                "targets": ["face_id", "similarity"],
            }
        ],
        "conditional_tags_policy": [{"tag": "known", "filters": filters(match=True)}],
        "storage_policy": kept,
    }


def verifier_policies() -> dict[str, Any]:
    """All policies of a verifier."""
    body = contract().operations["create_verifier"].body
    assert body is not None
    made: dict[str, Any] = _least(body.fields["policies"])
    return made


def _least(schema: Schema) -> Any:
    """A value of a schema: the smallest number, the first word; 1 for the two switches that others need."""
    match schema.kind:
        case "object":
            members = {name: one for name, one in schema.fields.items() if name not in _LEFT_OUT}
            return {name: LIFE if name == "ttl" else _least(one) for name, one in members.items()}
        case "array":
            return []
        case "string":
            return schema.enum[0] if schema.enum else "text"
        case "boolean":
            return False
        case _:
            return schema.enum[-1] if schema.enum else schema.minimum or 0


_LEFT_OUT = {"mask_states", "liveness_states", "filters", "threshold", "link_to_lists_policy"}
"""Lists that may not be empty, and what is put in by hand."""
