"""The devices that networks run on, by their names in the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

PATTERN = r"cpu|(cuda|tensorrt):\d{1,2}"
"""Names of devices: `cpu`; `cuda:N` is ONNX Runtime and `tensorrt:N` TensorRT, each on the GPU with that number."""


class Kind(Enum):
    """What executes networks, by the first part of a device's name."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


class Precision(Enum):
    """What the numbers inside a network are; its inputs and outputs are float32 always."""

    FP32 = "fp32"
    FP16 = "fp16"


@dataclass(frozen=True, slots=True)
class Device:
    """A device: what executes, and the number of the GPU (0 for the CPU)."""

    kind: Kind
    number: int = 0

    @classmethod
    def parse(cls, name: str) -> Device:
        """Read a device's name.

        Raises:
            ValueError: it is none.
        """
        if not re.fullmatch(PATTERN, name):
            message = f"{name!r} is no device: cpu, cuda:N or tensorrt:N"
            raise ValueError(message)
        kind, _, number = name.partition(":")
        return cls(Kind(kind), int(number or 0))

    def __str__(self) -> str:
        return self.kind.value if self.kind is Kind.CPU else f"{self.kind.value}:{self.number}"
