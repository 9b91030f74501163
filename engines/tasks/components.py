"""Connected components that grow by arrays of edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Nodes = NDArray[np.integer]


class Components:
    """A forest over n nodes, always flat: `root[i]` is the smallest node of i's component.

    Hooking and pointer jumping (Shiloach and Vishkin, An O(log n) parallel connectivity algorithm, 1982), so that an
    array of edges costs a few passes over it instead of a step of the interpreter for each edge.
    """

    def __init__(self, size: int) -> None:
        self.root: NDArray[np.int32] = np.arange(size, dtype=np.int32)

    def join(self, first: Nodes, second: Nodes) -> None:
        """Connect nodes, pair by pair."""
        while len(first):
            one, two = self.root[first], self.root[second]
            apart = one != two
            if not apart.any():
                return
            first, second, one, two = first[apart], second[apart], one[apart], two[apart]
            # A root hooks to a smaller one only, and so no cycle can come about.
            np.minimum.at(self.root, np.maximum(one, two), np.minimum(one, two))
            self._flatten()

    def together(self, first: slice, second: slice) -> bool:
        """True where two ranges of nodes are in one component already."""
        root = self.root[first.start]
        return bool((self.root[first] == root).all() and (self.root[second] == root).all())

    def _flatten(self) -> None:
        while True:
            above = self.root[self.root]
            if np.array_equal(above, self.root):
                return
            self.root = above
