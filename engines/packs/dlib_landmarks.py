"""dlib's shape predictor (an ensemble of regression trees) as arrays.

Kazemi and Sullivan, One Millisecond Face Alignment with an Ensemble of Regression Trees, CVPR 2014.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.packs.dlib_stream import integers
from engines.packs.errors import SourceUnreadable

_SPLIT = 4
"""Integers of one split: two feature indices, mantissa and exponent of the threshold."""


def arrays(data: bytes) -> dict[str, npt.NDArray[np.generic]]:
    """The predictor in a `shape_predictor_*.dat`.

    Returns:
        With c cascades, t trees each, d splits and d + 1 leaves per tree, f features and p points, in a frame where
        the face rectangle is the unit square:
        `mean` float32 [p, 2]; `first`, `second` int16 [c, t, d], the two features that a split compares;
        `threshold` float32 [c, t, d]; `leaf` float32 [c, t, d + 1, p, 2], the shift of a leaf; `anchor` int16 [c, f],
        the point that a feature is near to; `delta` float32 [c, f, 2], its offset from there.

    Raises:
        SourceUnreadable: the data has another structure, or trees of different sizes.
    """
    cursor = _Cursor(integers(data))
    cursor.expect(1, "version")
    mean = cursor.vector()
    cascades = cursor.one()
    forest, shape = _forest(cursor, cascades, len(mean))
    trees, splits = shape
    anchor = np.stack([cursor.take(cursor.one()) for _ in range(cursor.one())])
    delta = np.stack([_reals(cursor.take(4 * cursor.one())) for _ in range(cursor.one())])
    if cursor.remaining:
        raise SourceUnreadable(f"{cursor.remaining} values follow the shape predictor")
    features = anchor.shape[1]
    nodes = forest[:, 1 : 1 + _SPLIT * splits].reshape(cascades, trees, splits, _SPLIT)
    leaves = forest[:, 2 + _SPLIT * splits :].reshape(cascades * trees * (splits + 1), -1)
    if nodes[..., :2].min() < 0 or nodes[..., :2].max() >= features or anchor.max() >= len(mean) // 2:
        raise SourceUnreadable("the shape predictor refers to features or points that it has not")
    points = len(mean) // 2
    return {
        "mean": mean.reshape(points, 2),
        "first": nodes[..., 0].astype(np.int16),
        "second": nodes[..., 1].astype(np.int16),
        "threshold": _reals(nodes[..., 2:].reshape(-1)).reshape(cascades, trees, splits),
        "leaf": _reals(leaves[:, 2:].reshape(-1)).reshape(cascades, trees, splits + 1, points, 2),
        "anchor": anchor.astype(np.int16),
        "delta": delta.reshape(cascades, features, 2),
    }


class _Cursor:
    """A position in the integers of the stream."""

    def __init__(self, values: npt.NDArray[np.int32]) -> None:
        self._values = values
        self._position = 0

    @property
    def remaining(self) -> int:
        return len(self._values) - self._position

    def take(self, count: int) -> npt.NDArray[np.int32]:
        if not 0 <= count <= self.remaining:
            raise SourceUnreadable(f"the shape predictor has {self.remaining} values where {count} are announced")
        self._position += count
        return self._values[self._position - count : self._position]

    def peek(self, offset: int) -> int:
        if offset >= self.remaining:
            raise SourceUnreadable("the shape predictor is cut off")
        return int(self._values[self._position + offset])

    def one(self) -> int:
        return int(self.take(1)[0])

    def expect(self, value: int, what: str) -> None:
        found = self.one()
        if found != value:
            raise SourceUnreadable(f"the shape predictor has {what} {found} where {value} is expected")

    def vector(self) -> npt.NDArray[np.float32]:
        """A column vector; dlib writes its sizes negated."""
        rows, columns = abs(self.one()), abs(self.one())
        return _reals(self.take(2 * rows * columns))


def _forest(cursor: _Cursor, cascades: int, length: int) -> tuple[npt.NDArray[np.int32], tuple[int, int]]:
    """All trees as rows of integers [cascades * trees, values of a tree], and (trees, splits).

    The trees of a predictor have one depth, so each is the same number of integers long, and the forest is a table.
    """
    trees, splits = cursor.peek(0), cursor.peek(1)
    size = 1 + _SPLIT * splits + 1 + (splits + 1) * (2 + 2 * length)
    tables = []
    for _ in range(cascades):
        if cursor.one() != trees:
            raise SourceUnreadable("the cascades of the shape predictor have different numbers of trees")
        tables.append(cursor.take(trees * size).reshape(trees, size))
    table = np.concatenate(tables)
    heads = table[:, 2 + _SPLIT * splits :].reshape(len(table), splits + 1, 2 + 2 * length)[..., :2]
    if (
        np.any(table[:, 0] != splits)
        or np.any(table[:, 1 + _SPLIT * splits] != splits + 1)
        or np.any(np.abs(heads) != (length, 1))
    ):
        raise SourceUnreadable("the trees of the shape predictor have different sizes")
    return table, (trees, splits)


def _reals(values: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Numbers from pairs of mantissa and exponent."""
    pairs = values.reshape(-1, 2)
    return np.ldexp(pairs[:, 0].astype(np.float64), pairs[:, 1]).astype(np.float32)
