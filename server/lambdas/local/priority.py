"""Lets a sandbox that takes much time of the processors have only what nobody else wants.

A bucket: a quarter of a processor is filled in all the time, two seconds of one at most. What a sandbox takes drains
it, and so does what it would take with many threads at a time if it could. A sandbox that has emptied it becomes idle
work of the kernel's scheduler, which any other program goes before, and stays that for a while, longer each time that
it happens again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from server.lambdas.local.usage import Usage, threads

SHARE = 0.25
"""Processors that a sandbox may use for ever."""
THREADS = 3
"""Threads that may compute at a time: where processors are short, more of them take from others by their number."""
BURST_SECONDS = 2.0
"""Seconds of a processor that it may use beyond that."""
FIRST_STAY, LONGEST_STAY = 4.0, 600.0
"""Seconds that it stays idle work; each time soon after the last one doubles it."""
SOON_SECONDS = 60.0
LONGEST_CROWD = 0.2
"""Seconds that a crowd of threads, seen once, is believed to have been there."""
IDLE_NICE = 19
SESSION_NICE = 0
"""Where sessions are groups of the kernel's scheduler they share evenly, and the nice value of a process counts inside
of its session only."""


class Priority:
    """Of one lambda, whatever process it has.

    Attributes:
        idle: whether it is idle work now.
    """

    def __init__(self) -> None:
        self.idle = False
        self._left = BURST_SECONDS
        self._seconds = 0.0
        self._when: float | None = None
        self._stay = FIRST_STAY
        self._until = 0.0

    def look(self, used: Usage, now: float) -> None:
        """Take what was used since the last look out of the bucket, and see to the sandbox's place."""
        passed = 0.0 if self._when is None else now - self._when
        # a new process begins to count anew
        taken = used.seconds - self._seconds if used.seconds >= self._seconds else used.seconds
        crowd = min(passed, LONGEST_CROWD) * max(0, used.runnable - THREADS)
        self._left = min(BURST_SECONDS, self._left + passed * SHARE - taken - crowd)
        self._seconds, self._when = used.seconds, now
        if self.idle:
            if now >= self._until and self._left > 0:
                self.idle = False
                _place(used.pids, os.SCHED_BATCH, SESSION_NICE)
                return
        elif self._left < 0:
            self._stay = min(2 * self._stay, LONGEST_STAY) if now - self._until < SOON_SECONDS else FIRST_STAY
            self.idle, self._until = True, now + self._stay
        if self.idle:
            # new processes inherit it; those that were being started when it was given do not
            self._left = max(self._left, -BURST_SECONDS)
            _place(used.pids, os.SCHED_IDLE, IDLE_NICE)


def _place(pids: tuple[int, ...], policy: int, nice: int) -> None:
    """Give every thread a policy, and every session a nice value among sessions."""
    for thread in threads(pids):
        with suppress(OSError):
            if os.sched_getscheduler(thread) != policy:
                os.sched_setscheduler(thread, policy, os.sched_param(0))
    for pid in pids:
        with suppress(OSError):
            path = Path(f"/proc/{pid}/autogroup")
            if not path.read_text().endswith(f" nice {nice}\n"):
                path.write_text(str(nice))
