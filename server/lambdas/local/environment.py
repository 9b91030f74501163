"""The environment that every program of a lambda has, wherever it runs."""

from __future__ import annotations

from server.lambdas.local import view


def environment() -> dict[str, str]:
    """What every program in a sandbox is told, and no more of this process's own environment."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": view.TEMPORARY,
        "TMPDIR": view.TEMPORARY,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # pools of threads are otherwise as large as the machine
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "MALLOC_ARENA_MAX": "4",
    }
