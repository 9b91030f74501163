"""The start of a lambda in its pod: `python -m server.lambdas.kubernetes.launch FOLDER` becomes the lambda's process.

It has limits that Kubernetes has not, and the environment of a lambda and nothing else of the pod's.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from server.lambdas.local.environment import environment

from .layout import BASE, CODE, PACKAGES

GIVEN = ("CODE", "TYPE", "ID", "VERSION", "ACCOUNT", "PLATFORM", "TOKEN", "PORT", "REQUEST_BYTES")
"""Variables LUNA_LAMBDA_... that the lambda has as they are."""


def variables(folder: Path, before: Mapping[str, str]) -> dict[str, str]:
    """The environment of a lambda that was built in a folder."""
    names = [f"LUNA_LAMBDA_{name}" for name in GIVEN]
    path = os.pathsep.join(str(folder / name) for name in (CODE, PACKAGES, BASE))
    given = {name: before[name] for name in names if name in before}
    return {**environment(), **given, "PYTHONPATH": path}


def limit(processes: int, files: int) -> None:
    """Hold this process, and those that come of it, to limits."""
    for kind, most in (
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))


def main(arguments: Sequence[str]) -> None:
    """Become the lambda."""
    (folder,) = arguments
    limit(int(os.environ["LUNA_LAMBDA_PROCESSES"]), int(os.environ["LUNA_LAMBDA_FILES"]))
    os.execve(  # noqa: S606 - no shell is meant
        sys.executable, [sys.executable, "-P", "-m", "luna_lambda"], variables(Path(folder), os.environ)
    )


if __name__ == "__main__":
    main(sys.argv[1:])
