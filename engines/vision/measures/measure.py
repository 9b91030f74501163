"""What a measurement gives: values, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.domain.checks import CheckName, CheckValue


@dataclass(frozen=True, slots=True)
class Missing:
    """A check whose value cannot be measured, and what would have to be installed or changed."""

    reason: str


Measures = Mapping[CheckName, CheckValue | Missing]

OF_SAMPLE = Missing("an image: a sample has no background, and neither its size nor the face's place in it is its own")
"""Of everything that a warp no longer shows."""
