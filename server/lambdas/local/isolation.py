"""Which way of keeping lambdas apart this machine has: each is tried with a program before it is believed."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

from server.errors import NoIsolation
from server.lambdas.local import seccomp, uids
from server.lambdas.local.output import Lines, Reader
from server.lambdas.local.process import CannotStart, Process
from server.lambdas.local.sandbox import Order, Way

PROBE_SECONDS = 20.0
AGAIN_SECONDS = 30.0
"""A refusal is looked into again after so long."""
_PROBE = "import os, sys; print('apart', os.getpid(), os.getuid(), os.path.exists(sys.argv[1]))"
_CONTAINERS = ("/.dockerenv", "/run/.containerenv")
_OTHERWISE = (
    "Or let them run on a cluster with LUNA_LAMBDAS__RUNNER=kubernetes, or, where every lambda is trusted like this "
    "program itself, set LUNA_LAMBDAS__ISOLATION=none"
)


class Isolation:
    """Finds the way, once.

    Args:
        wanted: `auto`, or the name of a way.
    """

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._way: Way | None = None
        self._refusal: tuple[float, NoIsolation] | None = None
        self._lock = asyncio.Lock()

    async def way(self) -> Way:
        """The way that lambdas are kept apart.

        Raises:
            NoIsolation: there is none; the error says why, and what would help.
        """
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._way is None:
                if self._refusal is not None and now - self._refusal[0] < AGAIN_SECONDS:
                    raise self._refusal[1]
                try:
                    self._way = await self._find()
                except NoIsolation as refusal:
                    self._refusal = now, refusal
                    raise
            return self._way

    async def _find(self) -> Way:
        if self._wanted == Way.NONE.value:
            return Way.NONE
        reasons = []
        for way in (Way.BUBBLEWRAP, Way.USER):
            if self._wanted in ("auto", way.value):
                reason = await _hindrance(way)
                if reason is None:
                    return way
                reasons.append(f"{way.value}: {reason}")
        message = ". ".join([*reasons, *_advice(self._wanted), _OTHERWISE])
        raise NoIsolation(message=message)


async def _hindrance(way: Way) -> str | None:
    """Why a way cannot be had; None where it can."""
    if way is Way.BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    if way is Way.USER and os.geteuid() != 0:
        return "only root may become the user of a lambda"
    try:
        uid = uids.available().start if os.geteuid() == 0 else None
    except uids.NoUser as error:
        return str(error)
    folder = Path(tempfile.mkdtemp(prefix="luna-probe-"))
    lines = Lines(1 << 14)
    reader = Reader(lines.add)
    try:
        process = await Process.start(way, _probe(folder, uid), reader.writing)
    except CannotStart as error:
        await reader.close()
        return "; ".join([*lines.tail(5), str(error)])
    else:
        ended = await process.ended(PROBE_SECONDS)
        process.kill()
        await reader.close()
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return None if ended and _apart(lines.tail(None), uid) else "; ".join([*lines.tail(5), process.reason()])


def _probe(folder: Path, uid: int | None) -> Order:
    return Order(
        arguments=("-I", "-S", "-c", _PROBE, str(folder)),
        environment={},
        mounts=(),
        folder=folder,
        uid=uid,
        memory=256 << 20,
        processes=8,
        files=64,
        file_bytes=1 << 20,
        temporary=1 << 20,
        filter=seccomp.program(),
    )


def _apart(lines: list[str], uid: int | None) -> bool:
    """Whether a probe was in a process space of its own, as the user that was asked for, and saw nothing of outside."""
    match " ".join(lines).split():
        case ["apart", pid, user, "False"]:
            return int(pid) < 10 and int(user) == (os.geteuid() if uid is None else uid)
    return False


def _advice(wanted: str) -> list[str]:
    """What would help on this machine."""
    advice = []
    if wanted != Way.USER.value and shutil.which("bwrap") is None:
        advice.append("Install bubblewrap, the package of that name in every distribution")
    if any(Path(one).exists() for one in _CONTAINERS):
        advice.append(
            "In a container, namespaces have to be allowed: run it with --cap-add SYS_ADMIN and "
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
        )
    elif os.geteuid() != 0:
        for setting, off, value in (
            ("kernel.unprivileged_userns_clone", "0", "1"),
            ("user.max_user_namespaces", "0", "10000"),
            ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ):
            path = Path("/proc/sys") / setting.replace(".", "/")
            if path.exists() and path.read_text().strip() == off:
                advice.append(f"Allow user namespaces with `sysctl {setting}={value}`")
    return advice
