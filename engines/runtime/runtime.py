"""What every runtime offers, so that the vision code does not know which one it runs on."""

from __future__ import annotations

from collections.abc import Mapping
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


class Session(Protocol):
    """A loaded network. It may be run from several threads at once."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What `run` gives."""
        ...

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        """Every output by its name; all tensors are float32 and C-contiguous.

        Raises:
            RuntimeFailure: an input is missing or has another shape or type, or the runtime failed.
        """
        ...


class Runtime(Protocol):
    """Loads networks for one device."""

    @property
    def name(self) -> str:
        """Runtime and device, for logs and health pages."""
        ...

    def load(self, model: Path) -> Session:
        """Load an ONNX model with float32 inputs and outputs.

        Raises:
            RuntimeFailure: the file cannot be loaded on this device.
        """
        ...
