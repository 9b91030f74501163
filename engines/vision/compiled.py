"""Loops over numbers that are compiled: numba's machine code, kept beside the source or in the user's cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

C = TypeVar("C", bound=Callable[..., Any])


def compiled(function: C) -> C:
    """Compiles a function over arrays when it is first called, without the interpreter's lock while it runs.

    Arithmetic is that of IEEE 754 in the order in which it is written. No index is checked.
    """
    try:
        found: C = njit(function, nogil=True, cache=True)
    except RuntimeError:
        # nowhere to keep it: each process compiles its own
        found = njit(function, nogil=True)
    return found
