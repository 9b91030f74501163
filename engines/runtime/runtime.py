"""What every runtime offers, so that the vision code does not know which one it runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Tensor = npt.NDArray[np.float32]
Tensors = Mapping[str, Tensor]


class RuntimeFailure(Exception):
    """A network cannot be loaded, or cannot be run on these inputs."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name and shape of an input or output of a network. None is a dimension known at run time only."""

    name: str
    shape: tuple[int | None, ...]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """True where an array of `shape` is one of these tensors."""
        return len(shape) == len(self.shape) and all(
            expected in (None, found) for expected, found in zip(self.shape, shape, strict=True)
        )

    @property
    def batched(self) -> bool:
        """True where the first dimension is a batch of any size."""
        return bool(self.shape) and self.shape[0] is None


class Session(Protocol):
    """A loaded network. It may be run from several threads at once.

    Where every input and output is `batched`, rows do not influence each other: a row's output is the same in any
    batch, up to rounding.
    """

    @property
    def name(self) -> str:
        """Name of the model's file, for errors and metrics."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What `run` gives."""
        ...

    @property
    def max_batch(self) -> int | None:
        """Most rows that the device works on at once; `run` splits what is longer. None is no limit."""
        ...

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        """Every output by its name; all tensors are float32 and C-contiguous. No rows give no rows.

        Raises:
            RuntimeFailure: an input is missing or has another shape or type, the inputs differ in their rows, the
                session is closed, or the runtime failed.
        """
        ...

    def close(self) -> None:
        """Free the network. Nothing may be running."""
        ...


class Runtime(Protocol):
    """Loads networks for one device."""

    @property
    def name(self) -> str:
        """Runtime and device, for logs and health pages."""
        ...

    @property
    def device(self) -> str:
        """The device as the settings name it: `cpu`, `cuda:0`, `tensorrt:0`."""
        ...

    def load(self, model: Path) -> Session:
        """Load an ONNX model with float32 inputs and outputs.

        Raises:
            RuntimeFailure: the file cannot be loaded on this device.
        """
        ...

    def close(self) -> None:
        """Free every network that was loaded. Nothing may be running."""
        ...


def is_batched(session: Session) -> bool:
    """True where every input and output of a network is a batch of any size."""
    return all(spec.batched for spec in (*session.inputs, *session.outputs))


def rows_of(session: Session, inputs: Tensors) -> int:
    """How many rows the inputs have. Checks them against what the network takes.

    Raises:
        RuntimeFailure: an input is missing or has another shape or type, or the inputs differ in their rows.
    """
    found = set()
    for spec in session.inputs:
        value = inputs.get(spec.name)
        if value is None or value.dtype != np.float32 or not spec.fits(value.shape):
            what = "nothing" if value is None else f"{value.dtype} {value.shape}"
            message = f"{session.name} takes float32 {spec.shape} as {spec.name!r}, not {what}"
            raise RuntimeFailure(message)
        found.add(value.shape[0])
    if len(found) != 1:
        message = f"the inputs of {session.name} have {sorted(found)} rows"
        raise RuntimeFailure(message)
    return int(found.pop())


def in_parts(
    run: Callable[[Tensors], dict[str, Tensor]], inputs: Tensors, rows: int, max_batch: int | None
) -> dict[str, Tensor]:
    """Run a batched network on any number of rows, at most `max_batch` at once.

    No rows are run as one row of zeros whose output is cut away: not every kernel takes empty tensors, and the sizes of
    the outputs' other dimensions may be known to the network alone.
    """
    if rows == 0:
        answer = run({name: np.zeros((1, *value.shape[1:]), np.float32) for name, value in inputs.items()})
        return {name: value[:0] for name, value in answer.items()}
    if max_batch is None or rows <= max_batch:
        return run(inputs)
    begins = range(0, rows, max_batch)
    return joined([run(cut(inputs, begin, begin + max_batch)) for begin in begins])


def cut(tensors: Tensors, begin: int, end: int) -> dict[str, Tensor]:
    """Some rows of tensors, as views."""
    return {name: value[begin:end] for name, value in tensors.items()}


def joined(parts: Sequence[Tensors]) -> dict[str, Tensor]:
    """The rows of several sets of tensors one after the other; there is at least one set."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
