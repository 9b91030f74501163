"""Becomes another program, after tying its life to the supervisor's.

Run as a script, by path and without the site packages, between fork and exec: what it does is not safe to do in a
fork of a process with threads. The order is essential: a change of user clears the parent-death signal (prctl(2)), an
exec keeps it. The request comes through an inherited descriptor, so that no environment shows in an argument list.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1

NOT_STARTED = 127
"""The exit status of a program that could not be run, as shells have it."""


def main(descriptor: int) -> None:
    """Read the request from `descriptor` and become the program that it names."""
    # A shell that starts `luna up &` has SIGINT ignored, which an exec would pass on.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    with os.fdopen(descriptor, "rb") as file:
        request = json.load(file)
    libc = ctypes.CDLL(None, use_errno=True)
    if request["uid"] is not None:
        os.setgroups(request["groups"])
        os.setgid(request["gid"])
        os.setuid(request["uid"])
    if libc.prctl(PR_SET_PDEATHSIG, request["death_signal"], 0, 0, 0) != 0:
        sys.exit(f"The parent-death signal cannot be set: {os.strerror(ctypes.get_errno())}")
    # The supervisor may have died before the signal was set; then nobody waits for this program.
    if os.getppid() != request["parent"]:
        sys.exit("The supervisor is gone.")
    if request["batch"]:
        # a container may forbid it, and nothing but speed hangs on it
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        os.execve(request["argv"][0], request["argv"], request["env"])  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{request['argv'][0]} cannot be run: {error.strerror}\n")
        sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main(int(sys.argv[1]))
