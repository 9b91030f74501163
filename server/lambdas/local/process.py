"""One running program in its sandbox, from its start to the end of all that it has started."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from signal import Signals

from server.lambdas.local.cgroups import Cgroup
from server.lambdas.local.sandbox import Order, Way, command

REPORT_SECONDS = 10.0
"""A sandbox is made in a fraction of a second."""
KILL_SECONDS = 10.0
_SIGNALLED = 128


class CannotStart(Exception):
    """The program could not be started; the text says why."""


class Process:
    """A program of an order. Nothing that it has started is left once `ended` has returned.

    It ends with this process, however that ends: the other end of its tether is then closed (`enter.py`).

    Attributes:
        first: number of the sandbox's first process, whose end is the end of all.
        code: exit status; of a program that a signal has ended, 128 and its number; None while it runs.
    """

    def __init__(self, way: Way, process: subprocess.Popen[bytes], tether: socket.socket) -> None:
        self.first = process.pid
        self.code: int | None = None
        self._way = way
        self._process = process
        self._tether = tether
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._handle = os.pidfd_open(process.pid)
        self._first_handle: int | None = None
        self._loop.add_reader(self._handle, self._reap)

    @classmethod
    async def start(
        cls, way: Way, order: Order, output: int, errors: int | None = None, group: Cgroup | None = None
    ) -> Process:
        """Start a program that writes to a descriptor, and wait until its sandbox is there.

        Must be called in the thread of the running loop, which has to live as long: where nothing keeps the program
        apart the kernel ends it with that thread.

        Args:
            way: how it is kept apart.
            order: what is started.
            output: where its standard output goes.
            errors: where its standard error goes; None is to `output` too.
            group: the control group that it is put into.

        Raises:
            CannotStart: there is no program, or no sandbox.
        """
        outputs = output, output if errors is None else errors
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            try:
                process = cls(way, *_started(way, order, outputs, (reading, writing)))
            except OSError as error:
                raise CannotStart(str(error)) from error
            finally:
                os.close(writing)
            try:
                if group is not None:
                    group.join(process.first)
                if way is not Way.NONE:
                    await process._find_first(reading)
                if group is not None:
                    # what was started before the first one was in it
                    for pid in (process.first, *descendants(process.first)):
                        group.join(pid)
            except BaseException:
                process.kill()
                await process.ended(KILL_SECONDS)
                raise
        finally:
            os.close(reading)
        return process

    @property
    def over(self) -> bool:
        """Whether the program and all that it started have ended."""
        return self._over.is_set()

    async def ended(self, seconds: float | None = None) -> bool:
        """Wait until everything has ended, at most so long; whether it has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        return self.over

    def ask(self) -> None:
        """Tell the program to stop."""
        for pid in [self.first] if self._way is Way.NONE else children(self.first):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the program and all that it has started, at once.

        A sandbox whose first process is not known yet is made, and ends before its program begins: its making is not
        broken off, since that could leave a first process which waits for it.
        """
        self._tether.close()
        if self._first_handle is None and self._way is not Way.NONE:
            return
        if self._first_handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_handle, signal.SIGKILL)
        if self._way is Way.NONE:
            _kill_below(self.first)
        if self._process.returncode is None:
            self._process.kill()

    async def stop(self, seconds: float) -> None:
        """Ask it to stop, wait so long, and kill it; with 0 seconds it is not asked."""
        if seconds > 0 and not self.over:
            self.ask()
            await self.ended(seconds)
        if not self.over:
            self.kill()
            await self.ended(KILL_SECONDS)

    def reason(self) -> str:
        """How it ended, for people."""
        if self.code is None:
            return "it runs"
        if self.code > _SIGNALLED:
            with suppress(ValueError):
                return f"it was ended by {Signals(self.code - _SIGNALLED).name}"
        return f"it ended with status {self.code}"

    async def _find_first(self, report: int) -> None:
        """Learn from a pipe which the sandbox's first process is.

        Raises:
            CannotStart: there is none.
        """
        data = b""
        try:
            async with asyncio.timeout(REPORT_SECONDS):
                while not data.rstrip().endswith(b"}"):
                    await _readable(report)
                    piece = os.read(report, 4096)
                    if not piece:
                        await self._over.wait()
                        raise CannotStart(self.reason())
                    data += piece
            first = int(json.loads(data)["child-pid"])
            self._first_handle = os.pidfd_open(first)
        except TimeoutError:
            message = "its sandbox was not made in time"
            raise CannotStart(message) from None
        except ProcessLookupError:
            await self._over.wait()
            raise CannotStart(self.reason()) from None
        self.first = first
        if self._process.returncode is not None:
            self._end_first()

    def _reap(self) -> None:
        self._tether.close()
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        if self._way is Way.NONE:
            _kill_below(self.first)
        code = self._process.wait()
        self.code = code if code >= 0 else _SIGNALLED - code
        if self._first_handle is None:
            self._over.set()
        else:
            self._end_first()

    def _end_first(self) -> None:
        """End the sandbox's first process; the kernel lets it end once every other one has."""
        if self._first_handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_handle, signal.SIGKILL)
            self._loop.add_reader(self._first_handle, self._gone)

    def _gone(self) -> None:
        if self._first_handle is not None:
            self._loop.remove_reader(self._first_handle)
            os.close(self._first_handle)
            self._first_handle = None
        self._over.set()


def children(pid: int) -> list[int]:
    """Processes that a process has started, or that were left to it."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += [int(one) for one in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Processes below a process, outer ones first."""
    found, waiting = [], children(pid)
    while waiting:
        one = waiting.pop(0)
        found.append(one)
        waiting += children(one)
    return found


def _kill_below(pid: int) -> None:
    for one in descendants(pid):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _started(
    way: Way, order: Order, outputs: tuple[int, int], report: tuple[int, int]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The process of an order, and this process's end of its tether.

    It has both ends of the pipe `report`, so that what it tells never fails: it would end in the middle of its work.
    """
    own, tether = socket.socketpair()
    request = os.memfd_create("request")
    try:
        with tether, tether.dup() as kept:
            wanted = command(way, order, report[1], tether.fileno())
            os.write(request, json.dumps(wanted.request).encode())
            os.lseek(request, 0, os.SEEK_SET)
            argv = wanted.with_descriptors(request, report[1], kept.fileno())
            inherited = [request, *report, tether.fileno(), kept.fileno()]
            if order.listener is not None:
                inherited.append(order.listener)
            process = subprocess.Popen(  # noqa: S603
                argv,
                executable=shutil.which(argv[0]),
                stdin=subprocess.DEVNULL,
                stdout=outputs[0],
                stderr=outputs[1],
                cwd="/",
                env={},
                pass_fds=inherited,
                start_new_session=True,
            )
    except BaseException:
        own.close()
        raise
    finally:
        os.close(request)
    return process, own


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
