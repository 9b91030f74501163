"""Approximate cosines of blocks of descriptors, by one kernel that runs on the calling thread alone.

Worker processes share a machine's cores: a product that took threads of its own would fight with the other workers'.
"""

from __future__ import annotations

import numkong
import numpy as np
from numpy.typing import NDArray

from engines.tasks.packing import Packed


class Block:
    """Rows [start, stop) of packed descriptors, made ready to be multiplied with many others."""

    def __init__(self, packed: Packed, start: int, stop: int) -> None:
        self._packing = numkong.dots_pack(packed.elements[start:stop])
        self.inverse = packed.inverse[start:stop]

    def scores(self, packed: Packed, start: int, stop: int) -> NDArray[np.float32]:
        """Cosines of rows [start, stop) (axis 0) with those of the block (axis 1), float32.

        They are off by `Packed.tolerance` at most; one factor is still missing: the columns are to be multiplied by
        `inverse`, which a comparison does better on its other side.
        """
        products = np.asarray(numkong.dots_packed(packed.elements[start:stop], self._packing))
        scores = products.astype(np.float32, copy=False)
        scores *= packed.inverse[start:stop, None]
        return scores
