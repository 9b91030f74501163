"""Reader of TIFF directories: the header of TIFF files, and the whole of EXIF, which is a TIFF file without pixels.

Source: TIFF revision 6.0, section 2; Exif 2.32, section 4.6. Nothing here trusts an offset or a count.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

Value = int | float | Fraction
Values = tuple[Value, ...] | bytes | str
"""Numbers; text where the field's type is ASCII; bytes where it is BYTE or UNDEFINED."""

ORIENTATION = 0x0112

_ENTRY = 12
_MAX_ENTRIES = 512
_ASCII = 2
_BYTES = {1, _ASCII, 7}
_NUMBERS = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d"}
_FRACTIONS = {5: "I", 10: "i"}


class BadTiff(ValueError):
    """A TIFF structure is damaged."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a directory, where its values are, and how many."""

    tag: int
    kind: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class Tiff:
    """A TIFF structure in memory. `order` is `<` or `>` as in the module struct."""

    data: memoryview
    order: str

    @classmethod
    def open(cls, data: bytes | memoryview) -> Tiff:
        """Take a structure that begins with a TIFF header.

        Raises:
            BadTiff: it does not.
        """
        view = memoryview(data)
        order = {b"II": "<", b"MM": ">"}.get(bytes(view[:2]))
        if order is None or len(view) < 8 or struct.unpack_from(order + "H", view, 2)[0] != 42:
            raise BadTiff("it has no TIFF header")
        return cls(view, order)

    def first(self) -> Mapping[int, Field]:
        """The fields of the first directory, by tag."""
        (offset,) = self._unpack("I", 4)
        return self.directory(int(offset))

    def directory(self, offset: int) -> Mapping[int, Field]:
        """The fields of the directory at an offset, by tag.

        Raises:
            BadTiff: it is not all there, has too many fields, or has a field twice.
        """
        (count,) = self._unpack("H", offset)
        if not 0 < count <= _MAX_ENTRIES:
            message = f"a directory has {count} fields"
            raise BadTiff(message)
        fields: dict[int, Field] = {}
        for i in range(int(count)):
            at = offset + 2 + i * _ENTRY
            tag, kind, number = (int(v) for v in self._unpack("HHI", at))
            size = _size(kind) * number
            if tag in fields:
                message = f"the field {tag:#06x} is there twice"
                raise BadTiff(message)
            place = at + 8 if size <= 4 else int(self._unpack("I", at + 8)[0])
            fields[tag] = Field(tag, kind, number, place)
        return fields

    def values(self, field: Field) -> Values:
        """The values of a field; none for a type that is not known.

        Raises:
            BadTiff: they are not all there.
        """
        if field.kind in _BYTES:
            content = bytes(self.data[field.offset : field.offset + field.count])
            if len(content) != field.count:
                raise BadTiff("a field ends beyond the data")
            return content.split(b"\x00", 1)[0].decode("utf-8", "replace") if field.kind == _ASCII else content
        if field.kind in _NUMBERS:
            return self._unpack(_NUMBERS[field.kind], field.offset, field.count)
        if field.kind in _FRACTIONS:
            parts = self._unpack(_FRACTIONS[field.kind], field.offset, 2 * field.count)
            pairs = zip(parts[::2], parts[1::2], strict=True)
            return tuple(Fraction(int(a), int(b)) if b else float("nan") for a, b in pairs)
        return ()

    def integers(self, fields: Mapping[int, Field], tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The values of a field of integers; `default` where it is absent.

        Raises:
            BadTiff: the field is there and has no integers, or they are not all there.
        """
        if tag not in fields:
            return default
        values = self.values(fields[tag])
        if not values or not all(isinstance(value, int) for value in values):
            message = f"the field {tag:#06x} has no integers"
            raise BadTiff(message)
        return tuple(int(value) for value in values)

    def _unpack(self, code: str, offset: int, count: int | None = None) -> tuple[int | float, ...]:
        layout = self.order + (code if count is None else f"{count}{code}")
        if offset + struct.calcsize(layout) > len(self.data):
            raise BadTiff("a field ends beyond the data")
        return struct.unpack_from(layout, self.data, offset)


def _size(kind: int) -> int:
    if kind in _BYTES:
        return 1
    if kind in _FRACTIONS:
        return 8
    return struct.calcsize("<" + _NUMBERS[kind]) if kind in _NUMBERS else 1
