"""Reader of dlib's binary serialization.

An integer is a control byte (low four bits: how many bytes follow, high bit: sign) and its little-endian magnitude. A
float is two integers, mantissa and exponent of two. A string is its length and its bytes. A tensor is a version, four
integers and raw little-endian float32 (source: dlib/serialize.h, dlib/float_details.h, dlib/cuda/gpu_data.h).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from engines.packs.errors import SourceUnreadable

_SIGN = 0x80
_RESERVED = 0x70
_MAX_BYTES = 8
_INFINITY = 32_000
_BLOCK = 1 << 14


class Reader:
    """Reads one value after another."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._position = 0

    @property
    def remaining(self) -> int:
        """Bytes that have not been read."""
        return len(self._data) - self._position

    def take(self, count: int) -> memoryview:
        """The next `count` bytes.

        Raises:
            SourceUnreadable: there are fewer.
        """
        end = self._position + count
        if count < 0 or end > len(self._data):
            raise SourceUnreadable(f"dlib stream ends within a value at byte {self._position}")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def integer(self) -> int:
        """A signed integer."""
        control = self.take(1)[0]
        count = control & 0x0F
        if not 0 < count <= _MAX_BYTES or control & _RESERVED:
            raise SourceUnreadable(f"{control:#04x} at byte {self._position - 1} begins no dlib integer")
        value = int.from_bytes(self.take(count), "little")
        return -value if control & _SIGN else value

    def boolean(self) -> bool:
        """A boolean, written as the character 0 or 1."""
        value = self.take(1)[0]
        if value not in b"01":
            raise SourceUnreadable(f"{value:#04x} at byte {self._position - 1} is no dlib boolean")
        return value == ord("1")

    def real(self) -> float:
        """A floating point number."""
        mantissa, exponent = self.integer(), self.integer()
        if exponent >= _INFINITY:
            return {_INFINITY: math.inf, _INFINITY + 1: -math.inf}.get(exponent, math.nan)
        return math.ldexp(mantissa, exponent)

    def string(self) -> str:
        """A byte string, as Latin-1."""
        return bytes(self.take(self.integer())).decode("latin-1")

    def one_of(self, *names: str) -> str:
        """A string that must be one of `names`."""
        found = self.string()
        if found not in names:
            raise SourceUnreadable(f"dlib stream has {found!r} where {' or '.join(names)} is expected")
        return found

    def version(self, *known: int) -> int:
        """An integer that must be one of `known`."""
        found = self.integer()
        if found not in known:
            raise SourceUnreadable(f"dlib stream has version {found} where {known} are known")
        return found

    def tensor(self) -> npt.NDArray[np.float32]:
        """A tensor, float32 [samples, channels, rows, columns]."""
        self.version(2)
        shape = tuple(self.integer() for _ in range(4))
        if min(shape) < 0:
            raise SourceUnreadable(f"dlib tensor has the shape {shape}")
        return np.frombuffer(self.take(4 * math.prod(shape)), "<f4").reshape(shape)

    def alias(self) -> tuple[int, int, int, int]:
        """The shape of a tensor that is a part of another one."""
        self.version(1)
        return self.integer(), self.integer(), self.integer(), self.integer()


def integers(data: bytes) -> npt.NDArray[np.int32]:
    """All values of a stream that consists of integers only, int32 [n].

    A stream of this kind can be a hundred megabytes long, so it is not read value by value: within a block, where each
    value ends is known for every byte that could begin one, and doubling the step of that map (Wyllie's pointer
    jumping) finds all true beginnings in log n vector operations.

    Raises:
        SourceUnreadable: a byte begins no integer, an integer needs more than 31 bits, or the stream is cut off.
    """
    octets = np.frombuffer(data, np.uint8)
    padded = np.concatenate([octets, np.zeros(_MAX_BYTES, np.uint8)])
    parts: list[npt.NDArray[np.int32]] = []
    begin = 0
    while begin < len(octets):
        block = octets[begin : begin + _BLOCK]
        starts = begin + _starts(block)
        control = octets[starts]
        count = control & 0x0F
        if np.any(control & _RESERVED) or count.min() == 0 or count.max() > 4:
            raise SourceUnreadable(f"no dlib integers of 31 bits between bytes {begin} and {begin + _BLOCK}")
        magnitude = np.zeros(len(starts), np.int64)
        for i in range(int(count.max())):
            magnitude |= np.where(count > i, padded[starts + 1 + i], 0).astype(np.int64) << (8 * i)
        if magnitude.max() >= 1 << 31:
            raise SourceUnreadable(f"a dlib integer between bytes {begin} and {begin + _BLOCK} needs more than 31 bits")
        parts.append(np.where(control & _SIGN, -magnitude, magnitude).astype(np.int32))
        begin = int(starts[-1]) + 1 + int(count[-1])
    if begin != len(octets):
        raise SourceUnreadable("dlib stream ends within a value")
    return np.concatenate(parts) if parts else np.empty(0, np.int32)


def _starts(block: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """Offsets at which values begin, if one begins at 0."""
    size = len(block)
    jump = np.minimum(np.arange(size) + 1 + (block & 0x0F), size)
    jump = np.append(jump, size)
    starts = np.zeros(1, np.intp)
    while starts[-1] < size:
        starts = np.concatenate([starts, jump[starts]])
        jump = jump[jump]
    return starts[starts < size]
