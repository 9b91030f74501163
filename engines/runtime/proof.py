"""Proof at the start that a device computes what the CPU computes. Without it a server does not start.

Every network is run on fixed random input on both, alone and as a batch, and what differs is said.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from engines.runtime.devices import Precision
from engines.runtime.runtime import Runtime, RuntimeFailure, Session, Tensor, TensorSpec, is_batched

log = logging.getLogger(__name__)

_ROWS = 3
_SIDE = 64
"""Height and width, in pixels, of the random input of networks that take pictures of any size."""

_DESCRIPTOR = 32
"""Outputs [n, dimensions] of so many dimensions are vectors whose direction matters: cosines are compared."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a device may be from the CPU.

    Attributes:
        cosine: least cosine of a descriptor with the CPU's.
        difference: largest difference of any other output, as a part of the CPU's largest absolute value, or of 1
            where that is smaller.
    """

    cosine: float
    difference: float


TOLERANCES = {Precision.FP32: Tolerance(0.99999, 1e-3), Precision.FP16: Tolerance(0.999, 0.1)}
"""FP32: sums in another order and other convolution algorithms; no TF32, whose 11 bits would show. FP16: 11 bits for
weights and activations; on the CPU single values of the default pack's outputs differ by at most 2e-3, and of YuNet and
FastestDet, which add up more, by 2e-2 and 6e-2. A network that computes something else differs by about 1."""


class ProvingRuntime:
    """A runtime that hands out only networks that agree with a reference.

    Args:
        runtime: what is to be proved.
        reference: what is believed: ONNX Runtime on the CPU in float32.
        tolerance: how far they may differ.
    """

    def __init__(self, runtime: Runtime, reference: Runtime, tolerance: Tolerance) -> None:
        self._runtime = runtime
        self._reference = reference
        self._tolerance = tolerance

    @property
    def name(self) -> str:
        """Runtime and device."""
        return self._runtime.name

    @property
    def device(self) -> str:
        """The device as the settings name it."""
        return self._runtime.device

    def load(self, model: Path) -> Session:
        """Load a model and prove it.

        Raises:
            RuntimeFailure: it cannot be loaded, or computes something else than the reference does; the message says
                what differs and by how much.
        """
        session = self._runtime.load(model)
        reference = self._reference.load(model)
        try:
            prove(session, reference, self._tolerance, scale=scale(model))
        except RuntimeFailure as failure:
            session.close()
            message = f"{self._runtime.name} does not serve {model.name} as the CPU does: {failure}"
            raise RuntimeFailure(message) from failure
        finally:
            reference.close()
        log.info("%s: %s agrees with the CPU", self._runtime.name, model.name)
        return session

    def close(self) -> None:
        """Free every network."""
        self._runtime.close()


def prove(session: Session, reference: Session, tolerance: Tolerance, *, scale: tuple[float, float]) -> None:
    """Compare a network with its reference on fixed random input.

    Args:
        session: what is to be proved.
        reference: what is believed.
        tolerance: how far they may differ.
        scale: least and largest value of the input.

    Raises:
        RuntimeFailure: inputs, outputs, shapes or values differ.
    """
    for ours, theirs, what in (
        (session.inputs, reference.inputs, "inputs"),
        (session.outputs, reference.outputs, "outputs"),
    ):
        if [(one.name, one.shape) for one in ours] != [(one.name, one.shape) for one in theirs]:
            message = f"its {what} are {ours} and should be {theirs}"
            raise RuntimeFailure(message)
    generator = np.random.default_rng(20190708)
    rows = _ROWS if is_batched(session) else 1
    inputs = {spec.name: _random(spec, rows, scale, generator) for spec in reference.inputs}
    expected = reference.run(inputs)
    _compare(session.run(inputs), expected, tolerance)
    if rows > 1:
        alone = {name: value[rows - 1 :].copy() for name, value in inputs.items()}
        _compare(session.run(alone), {name: value[rows - 1 :] for name, value in expected.items()}, tolerance)


def scale(model: Path) -> tuple[float, float]:
    """The range of values that a model is to be tried with.

    A network that begins by subtracting a constant takes pixels, [0, 255], and centres them itself; others take what
    has been centred, about [-1, 1].
    """
    graph = onnx.load(str(model), load_external_data=False).graph
    names = {one.name for one in graph.input} - {one.name for one in graph.initializer}
    centres = any(node.op_type == "Sub" and node.input[0] in names for node in graph.node)
    return (0.0, 255.0) if centres else (-1.0, 1.0)


def _random(spec: TensorSpec, rows: int, within: tuple[float, float], generator: np.random.Generator) -> Tensor:
    first = rows if spec.shape[0] is None else spec.shape[0]
    shape = (first, *(_SIDE if size is None else size for size in spec.shape[1:]))
    return generator.uniform(*within, shape).astype(np.float32)


def _compare(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: Tolerance) -> None:
    for name, value in expected.items():
        ours = found[name]
        if ours.shape != value.shape or ours.dtype != value.dtype:
            message = f"{name!r} is {ours.dtype} {ours.shape} and should be {value.dtype} {value.shape}"
            raise RuntimeFailure(message)
        if not np.isfinite(ours).all():
            message = f"{name!r} has values that are not finite"
            raise RuntimeFailure(message)
        if value.ndim == 2 and value.shape[1] >= _DESCRIPTOR:
            cosine = float(_cosines(ours, value).min())
            if not cosine >= tolerance.cosine:
                message = f"the cosine of {name!r} with the CPU's is {cosine:.6f}, and {tolerance.cosine} is the least"
                raise RuntimeFailure(message)
        else:
            largest = max(1.0, float(np.abs(value).max()))
            difference = float(np.abs(ours - value).max()) / largest
            if not difference <= tolerance.difference:
                message = f"{name!r} differs by {difference:.2g} of its size, and {tolerance.difference} is the most"
                raise RuntimeFailure(message)


def _cosines(a: Tensor, b: Tensor) -> npt.NDArray[np.float64]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.asarray((x * y).sum(axis=1) / np.maximum(lengths, 1e-30), np.float64)
