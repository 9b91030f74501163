"""The contract as objects: the operations of `api/operations-core.yaml` and `operations-workflows.yaml`.

All that they refer to is resolved. The two files have a notation each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.contract.core import Core
from tests.contract.operations import Operation
from tests.contract.workflows import Workflows
from tests.documents import read_yaml

API = Path(__file__).resolve().parents[3] / "shared" / "api"
FILES = (API / "operations-core.yaml", API / "operations-workflows.yaml")


class Contract:
    """The whole contract, read from its files."""

    def __init__(self, core: Path, workflows: Path) -> None:
        first, second = (read_yaml(file.read_text(encoding="utf-8")) for file in (core, workflows))
        shared = Core(first)
        every = [*shared.operations, *Workflows(second, shared.failures("auth"), shared.failures("query")).operations]
        served = [one for one in every if one.served]
        self.operations: Mapping[str, Operation] = {one.id: one for one in served}
        self.not_served = tuple(one for one in every if not one.served)
        with_options = [*first["paths_with_options"]["paths"], *second["options_paths"]["paths"]]
        self.paths = tuple(path for path in with_options if path in {one.path for one in served})
        """Paths of the served operations that answer OPTIONS."""

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations.values())

    def verbs(self, path: str) -> frozenset[str]:
        """The methods that the contract has for a path, and for those that cannot be told from it.

        /6/samples/{samples_type} and the deprecated /6/samples/{sample_id} are one address to a router.
        """
        return frozenset(one.method for one in self if _shape(one.path) == _shape(path))


def _shape(path: str) -> str:
    """A path without the names of its variables."""
    return re.sub(r"\{\w+\}", "{}", path)


@cache
def _read() -> Contract:
    return Contract(*FILES)


def contract() -> Contract:
    """The contract. A test module that asks for it where it is not there is skipped."""
    if not all(file.is_file() for file in FILES):
        pytest.skip("the contract, shared/api/operations-*.yaml, is not there", allow_module_level=True)
    return _read()
