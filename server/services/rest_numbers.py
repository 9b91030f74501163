"""The numbers that LUNA gives to values of enums, read from the protos."""

from __future__ import annotations

from functools import cache

from google.protobuf.descriptor import EnumDescriptor
from luna import options_pb2


@cache
def number_of(enum: EnumDescriptor, value: int) -> int:
    """LUNA's number of a value of an enum.

    Raises:
        KeyError: the value has none.
    """
    return _numbers(enum)[value]


@cache
def value_of(enum: EnumDescriptor, number: int) -> int:
    """The value of an enum that LUNA gives a number.

    Raises:
        KeyError: there is none.
    """
    return {known: value for value, known in _numbers(enum).items()}[number]


def _numbers(enum: EnumDescriptor) -> dict[int, int]:
    options = {value.number: value.GetOptions().Extensions[options_pb2.value] for value in enum.values}
    return {value: known.number for value, known in options.items() if known.HasField("number")}
