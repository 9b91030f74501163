"""Pixels as the numbers that networks take, and networks run over many pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session, Tensor
from engines.vision.decoding import Image

Images = npt.NDArray[np.uint8]
"""uint8 [n, height, width, 3], RGB."""

_BATCH = 16


def planes(images: Sequence[Image] | Images, pixels: Pixels) -> Tensor:
    """Network input, float32 [n, 3, height, width]: (pixel - mean) * scale."""
    stacked = np.stack(list(images)) if not isinstance(images, np.ndarray) else images
    ordered = stacked[..., ::-1] if pixels.colours == "bgr" else stacked
    values = np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), np.float32)
    mean, scale = (np.array(numbers, np.float32).reshape(1, -1, 1, 1) for numbers in (pixels.mean, pixels.scale))
    if mean.any():
        values -= mean
    if (scale != 1).any():
        values *= scale
    return values


def forward(network: Session, values: Tensor) -> dict[str, Tensor]:
    """Every output of a network with one input, for a batch of any length.

    A network of a fixed batch is run as often as it takes, the last time with zeros behind.

    Args:
        network: outputs have the batch as their first dimension.
        values: float32 [n, ...], n at least 1.

    Raises:
        RuntimeFailure: the network failed.
    """
    spec = network.inputs[0]
    fixed = spec.shape[0]
    step = fixed or _BATCH
    parts = []
    for begin in range(0, len(values), step):
        part = values[begin : begin + step]
        rest = step - len(part) if fixed else 0
        padded = np.concatenate([part, np.zeros((rest, *part.shape[1:]), np.float32)]) if rest else part
        answer = network.run({spec.name: padded})
        parts.append({name: value[: len(part)] for name, value in answer.items()})
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def only(network: Session, values: Tensor) -> Tensor:
    """The output of a network that has one, float32 [n, ...].

    Raises:
        RuntimeFailure: it has several, or failed.
    """
    if len(network.outputs) != 1:
        message = f"a network with one output is needed, this one has {len(network.outputs)}"
        raise RuntimeFailure(message)
    return forward(network, values)[network.outputs[0].name]


def side(network: Session, otherwise: int) -> int:
    """Height and width of a network with a square input; `otherwise` where it takes any.

    Raises:
        RuntimeFailure: its input is not [n, 3, side, side].
    """
    shape = network.inputs[0].shape
    if len(network.inputs) != 1 or len(shape) != 4 or shape[1] not in {3, None} or shape[2] != shape[3]:
        message = f"one input [n, 3, side, side] is needed, this network takes {shape}"
        raise RuntimeFailure(message)
    return shape[2] or otherwise


def probabilities(values: Tensor) -> Tensor:
    """Rows [n, classes] that sum to 1: softmax, unless the network has done it already."""
    if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return values
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float32)


def unit(rows: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays zeros."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), np.float32)


def resized(image: Image, width: int, height: int) -> Image:
    """The image in another size, by area means where it shrinks."""
    shrinks = image.shape[0] > height or image.shape[1] > width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)


def letterboxed(image: Image, size: int, fill: int) -> tuple[Image, float]:
    """The image scaled into the upper left of a square [size, size, 3], and the scale."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    inner = resized(image, max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = np.full((size, size, 3), fill, np.uint8)
    canvas[: inner.shape[0], : inner.shape[1]] = inner
    return canvas, scale
