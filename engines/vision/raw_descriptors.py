"""Descriptors as they are stored, and several as one. Needs no network, and imports none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from server.domain.vision import ExtractedDescriptor


def raw(descriptor: npt.NDArray[np.float32]) -> bytes:
    """The raw layout of a descriptor: float16, little-endian."""
    return descriptor.astype("<f2").tobytes()


def aggregate(descriptors: Sequence[ExtractedDescriptor]) -> ExtractedDescriptor:
    """The mean of descriptors of one version, weighted by their scores, of unit length; the score is their mean.

    A mean over several pictures lies nearer to the person than any one of them (template averaging, as in IJB-C's
    protocol). Where every score is 0 all weigh the same.
    """
    vectors = np.stack([np.frombuffer(one.data, "<f2") for one in descriptors]).astype(np.float32)
    scores = np.array([one.score for one in descriptors], np.float32)
    mean = np.average(vectors, axis=0, weights=scores if scores.any() else None)
    length = max(float(np.linalg.norm(mean)), 1e-12)
    unit = np.asarray(mean / length, np.float32)
    return ExtractedDescriptor(descriptors[0].version, raw(unit), float(scores.mean()))
