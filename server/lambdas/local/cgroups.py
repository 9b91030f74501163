"""Control groups (cgroup v2) for sandboxes, where this process has been given a part of the tree.

The kernel then counts all memory of a sandbox, that of its folders and of its sockets too, and its processes; what it
cannot have is refused, or ends the sandbox as a whole. A part of the tree is given by systemd (`Delegate=yes` with
`DelegateSubgroup=`), which marks it; a tree that others manage is left alone.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids", "cpu")
NEEDED = frozenset({"memory", "pids"})
CPU_WEIGHT = 20
"""Beside 100 of whatever has none set."""
_MARKS = ("user.delegate", "trusted.delegate")

log = logging.getLogger(__name__)


class Cgroup:
    """The group of one sandbox."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def join(self, pid: int) -> bool:
        """Put a process into it, with all that it starts from then on; whether that was possible."""
        try:
            (self.path / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            log.warning("a sandbox is not put into its control group: %s", error)
            return False
        return True

    def killed(self) -> bool:
        """Whether the kernel has ended it for its memory."""
        with suppress(OSError, ValueError):
            told = dict(line.split() for line in (self.path / "memory.events").read_text().splitlines())
            return int(told.get("oom_group_kill", told.get("oom_kill", "0"))) > 0
        return False

    def remove(self) -> None:
        """Remove it, once nothing is left in it."""
        with suppress(OSError):
            self.path.rmdir()


class Cgroups:
    """Makes groups below the part of the tree that was given to this process.

    Args:
        folder: that part; None where there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @classmethod
    def found(cls, root: Path = ROOT, membership: Path = Path("/proc/self/cgroup")) -> Cgroups:
        """Look for the part of the tree that this process may divide."""
        return cls(_delegated(root, membership))

    @property
    def available(self) -> bool:
        """Whether there is one."""
        return self._folder is not None

    def make(self, name: str, memory: int, processes: int) -> Cgroup | None:
        """A group that holds what is in it to so many bytes and processes; None where none can be made."""
        if self._folder is None:
            return None
        path = self._folder / f"lambda-{name}"
        try:
            path.mkdir(exist_ok=True)
            (path / "memory.max").write_text(str(memory))
            (path / "pids.max").write_text(str(processes))
        except OSError as error:
            log.warning("no control group for a sandbox: %s", error)
            return None
        # older kernels have not all of these, and the first two hold without them
        for file, value in (("memory.swap.max", "0"), ("memory.oom.group", "1"), ("cpu.weight", str(CPU_WEIGHT))):
            with suppress(OSError):
                (path / file).write_text(value)
        return Cgroup(path)


def _delegated(root: Path, membership: Path) -> Path | None:
    """The nearest group above this process that was given away, has no processes, and can divide memory."""
    if not (root / "cgroup.controllers").exists():
        return None
    own = next((line[3:] for line in membership.read_text().splitlines() if line.startswith("0::")), None)
    if own is None:
        return None
    path = root / own.lstrip("/")
    while path != root and path.is_relative_to(root):
        if _marked(path):
            return path if _divides(path) else None
        path = path.parent
    return None


def _marked(path: Path) -> bool:
    for mark in _MARKS:
        with suppress(OSError):
            if os.getxattr(path, mark) == b"1":
                return True
    return False


def _divides(path: Path) -> bool:
    """Give the groups below it their controllers; whether the needed ones are there."""
    try:
        offered = set((path / "cgroup.controllers").read_text().split())
        for name in CONTROLLERS:
            if name in offered:
                (path / "cgroup.subtree_control").write_text(f"+{name}")
        given = set((path / "cgroup.subtree_control").read_text().replace("+", "").split())
    except OSError as error:
        log.info("control groups cannot be used: %s", error)
        return False
    return given >= NEEDED
