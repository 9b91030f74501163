"""One running process of a program.

A process is not reaped before its group has been ended: as long as it is not, the kernel gives its number to nobody
else, so that a signal can never reach a stranger. `asyncio`'s own subprocesses are reaped too early for that.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from signal import Signals

from server.supervisor.program import Program

LAUNCHER = Path(__file__).with_name("launch.py")

KILL_SECONDS = 6
"""How long `kill_signal` may take. PostgreSQL kills its own children 5 s after an immediate shutdown began."""


class Child:
    """A process that has been started; leader of its own session and process group.

    Attributes:
        pid: Its number.
        code: How it ended, as `subprocess` has it: an exit status, or a negative signal number; None while it runs.
    """

    def __init__(self, program: Program, output: int) -> None:
        """Start `program` with its standard output and error going to the descriptor `output`.

        Must be called in the thread of the running loop, which has to live as long as the child: the kernel ends the
        child with that thread.

        Raises:
            OSError: no process can be started, or the working folder is not there.
            KeyError: the system account is not there.
        """
        self.program = program
        self.code: int | None = None
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        request = os.memfd_create("request")
        try:
            os.write(request, json.dumps(_request(program)).encode())
            os.lseek(request, 0, os.SEEK_SET)
            self._process = subprocess.Popen(  # noqa: S603
                (sys.executable, "-I", "-S", str(LAUNCHER), str(request)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=program.cwd,
                pass_fds=(request,),
                start_new_session=True,
            )
        finally:
            os.close(request)
        self.pid = self._process.pid
        self._handle = os.pidfd_open(self.pid)
        self._loop.add_reader(self._handle, self._reap)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until the process has ended, at most for `seconds`; True if it has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        return self._ended.is_set()

    def send(self, number: Signals) -> None:
        """Send a signal to the process, if it still runs."""
        if not self._ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self, hurry: asyncio.Event) -> bool:
        """Ask the process to stop, wait, and kill it with its group if it takes too long or `hurry` is set.

        Returns:
            True once it has ended; False if it outlives even SIGKILL, because it hangs in the kernel.
        """
        if not hurry.is_set():
            self.send(self.program.stop_signal)
            await self._wait_or(hurry, self.program.stop_seconds)
        for number in (self.program.kill_signal, signal.SIGKILL):
            if self._ended.is_set():
                break
            self.send(number)
            await self.wait(KILL_SECONDS)
        return self._ended.is_set()

    async def _wait_or(self, hurry: asyncio.Event, seconds: float) -> None:
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._ended, hurry)]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                future.cancel()

    def _reap(self) -> None:
        """The process has ended: end what is left of its group, then let its number go."""
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.code = self._process.wait()
        self._ended.set()


def _request(program: Program) -> dict[str, object]:
    uid, gid, groups = None, None, None
    if program.user is not None:
        entry = pwd.getpwnam(program.user)
        if entry.pw_uid != os.geteuid():
            uid, gid = entry.pw_uid, entry.pw_gid
            groups = os.getgrouplist(program.user, entry.pw_gid)
    return {
        "argv": list(program.argv),
        "env": dict(os.environ if program.env is None else program.env),
        "uid": uid,
        "gid": gid,
        "groups": groups,
        "batch": program.batch,
        "death_signal": int(program.kill_signal),
        "parent": os.getpid(),
    }
