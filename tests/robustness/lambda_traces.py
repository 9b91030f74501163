"""What lambdas might leave behind on this machine, before and after."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.lambdas.local.process import descendants


@dataclass(frozen=True)
class Traces:
    """Of this process: descriptors, processes below it, and mounts."""

    descriptors: int
    processes: frozenset[int]
    mounts: int

    def none_since(self, before: Traces) -> bool:
        """Whether nothing has come since then. Descriptors of an earlier test may have gone."""
        return (
            self.descriptors <= before.descriptors
            and self.processes <= before.processes
            and self.mounts == before.mounts
        )

    @classmethod
    def now(cls) -> Traces:
        return cls(
            descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
            processes=frozenset(descendants(os.getpid())),
            mounts=len(Path("/proc/self/mountinfo").read_text().splitlines()),
        )


def resident() -> int:
    """Bytes of memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def disk(folder: Path) -> int:
    """Bytes of files below a folder."""
    return sum(path.stat(follow_symlinks=False).st_size for path in folder.rglob("*") if path.is_file())


def of_users(users: set[int]) -> list[int]:
    """Processes of some users, whoever has started them."""
    found = []
    for path in Path("/proc").iterdir():
        with suppress(OSError):
            if path.name.isdigit() and path.stat().st_uid in users:
                found.append(int(path.name))
    return found
