"""What engines see survives the way to another process: every field, every member, every kind of value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luna.engine.v1 import engine_pb2 as pb

from server.domain import vision
from server.domain.checks import CheckName
from server.domain.engine import Look
from server.domain.vision import (
    DetectedImage,
    DetectedPerson,
    Estimation,
    Eye,
    EyeState,
    FaceQuality,
    Point,
)
from server.inference.messages import from_estimations, from_message, to_estimations, to_message

KINDS = [one for one in vars(vision).values() if isinstance(one, type) and is_dataclass(one)] + [Look]
ENUMS = [
    one
    for one in vars(vision).values()
    if isinstance(one, type) and issubclass(one, Enum) and one.__module__ == vision.__name__
]
BY_NAME = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)

BY_KEY = {vision.Emotion, vision.MaskState, vision.LivenessState}
"""Enums that travel as keys, or not at all: a liveness state follows from scores and thresholds."""


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that a type hint of the domain allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, UnionType):
        return st.one_of(*(values(one) for one in arguments))
    if hint == Point:
        return st.tuples(values(int), values(int))
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is frozenset:
        return st.frozensets(values(arguments[0]), max_size=3)
    if origin in (Mapping, dict):
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return st.builds(hint, **{field.name: values(hints[field.name]) for field in fields(hint)})
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(-(2**31), 2**31 - 1),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
        str: st.text(max_size=5),
        bytes: st.binary(max_size=5),
        NoneType: st.none(),
    }
    return simple[hint]


@BY_NAME
@given(data=st.data())
def test_a_value_that_has_been_a_message_is_the_same_value(kind: Any, data: st.DataObject) -> None:
    value = data.draw(values(kind))
    message = getattr(pb, kind.__name__)
    sent = to_message(value, message).SerializeToString()
    assert from_message(kind, message.FromString(sent)) == value


@BY_NAME
def test_a_message_has_the_fields_of_its_dataclass_and_no_other(kind: Any) -> None:
    assert list(getattr(pb, kind.__name__).DESCRIPTOR.fields_by_name) == [field.name for field in fields(kind)]


@pytest.mark.parametrize("kind", [one for one in ENUMS if one not in BY_KEY], ids=lambda kind: kind.__name__)
def test_an_enum_has_the_members_of_the_domain_and_no_other(kind: type[Enum]) -> None:
    enum = getattr(pb, kind.__name__).DESCRIPTOR
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    assert [value.name.removeprefix(prefix) for value in enum.values][1:] == [member.name for member in kind]


def test_every_estimation_can_be_asked_for() -> None:
    assert from_estimations(to_estimations(Estimation)) == frozenset(Estimation)


def test_a_field_that_the_proto_lacks_is_an_error_and_not_left_out() -> None:
    @dataclass(frozen=True)
    class Gaze:
        yaw: float
        pitch: float
        vergence: float

    with pytest.raises(ValueError, match=r"luna\.engine\.v1\.Gaze lacks the field vergence"):
        to_message(Gaze(1, 2, 3), pb.Gaze)


def test_absent_and_empty_are_two_things() -> None:
    for exif in (None, {}):
        image = DetectedImage(1, 2, (), exif=exif, people_count=0)
        again = from_message(DetectedImage, to_message(image, pb.DetectedImage))
        assert (again.exif, again.people_count) == (exif, 0)
    assert from_message(DetectedPerson, to_message(DetectedPerson(), pb.DetectedPerson)) == DetectedPerson()


def test_a_whole_number_stays_one() -> None:
    found = {CheckName.IMAGE_WIDTH: 3, CheckName.HEAD_YAW: 3.0, CheckName.RED_EYES: "3"}
    quality = from_message(FaceQuality, to_message(FaceQuality(found, {}), pb.FaceQuality))
    assert [type(quality.values[name]) for name in found] == [int, float, str]


@pytest.mark.parametrize("state", [0, 99])
def test_a_member_that_is_not_known_here_is_refused(state: int) -> None:
    with pytest.raises(ValueError, match="is no EyeState"):
        from_message(Eye, pb.Eye(state=state))  # type: ignore[arg-type]
    assert from_message(Eye, to_message(Eye(EyeState.OPEN), pb.Eye)) == Eye(EyeState.OPEN)


def test_a_name_that_is_not_known_here_is_refused() -> None:
    with pytest.raises(ValueError, match="'TELEPATHY' is no CheckName"):
        from_message(FaceQuality, pb.FaceQuality(unavailable={"TELEPATHY": "a medium"}))
