"""Becomes a lambda's program, after giving up whatever it may not have.

Run as a script, by path, without site packages: between the start of a process and the program that it is for. Under
bubblewrap it is started inside the sandbox, and only drops what is left. Without bubblewrap it makes the sandbox too:
namespaces, a root of its own and a first process that reaps; that needs root. The request comes through an inherited
descriptor, so that no environment shows in an argument list.
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

NOT_STARTED = 127
"""The exit status where the program could not be reached, as shells have it."""
LISTENER = 3
"""The descriptor of the socket that calls come on."""

NICE = 5
"""Of every program in a sandbox; one that takes much time gets less (`server.lambdas.local.priority`)."""

_NEW_MOUNTS, _NEW_CGROUP, _NEW_HOST, _NEW_IPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
_NEW_PROCESSES, _NEW_NETWORK = 0x20000000, 0x40000000
_READ_ONLY, _NO_SETUID, _NO_DEVICES, _NO_PROGRAMS, _REMOUNT = 1, 2, 4, 8, 32
_BIND, _RECURSIVE, _PRIVATE, _DETACH = 4096, 16384, 1 << 18, 2
_DEATH_SIGNAL, _SECCOMP, _DROP_BOUND, _NO_NEW_PRIVILEGES = 1, 22, 24, 38
_FILTER = 2
_IDLE_IO, _IO_OF_PROCESS = 3 << 13, 1
_DEVICES = ("null", "full", "random", "urandom")
"""Not zero: pages of it that are mapped are counted nowhere."""
_CAPABILITIES_VERSION = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def main(descriptor: int) -> None:
    """Read the request from `descriptor` and become the program that it names."""
    with os.fdopen(descriptor, "rb") as file:
        request: dict[str, Any] = json.load(file)
    os.umask(0o022)
    if request["outside"] is not None:
        _enter(request)
    _drop(request)
    os.execve(request["argv"][0], request["argv"], request["env"])  # noqa: S606


def _enter(request: dict[str, Any]) -> None:
    """Return in the sandbox, in a child of its first process."""
    outside = request["outside"]
    kinds = _NEW_MOUNTS | _NEW_IPC | _NEW_HOST | _NEW_PROCESSES | _NEW_CGROUP
    _checked(libc.unshare(kinds | (0 if outside["network"] else _NEW_NETWORK)), "unshare")
    first = os.fork()
    if first:
        os.write(outside["report"], json.dumps({"child-pid": first}).encode() + b"\n")
        os.closerange(LISTENER, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        sys.exit(_status(os.waitpid(first, 0)[1]))
    socket.sethostname("lambda")
    if not outside["network"]:
        _loopback_up()
    _build(outside)
    program = os.fork()
    if program:
        _reap(program, request["tether"])


def _reap(program: int, tether: int) -> None:
    """Live as the sandbox's first process until the program has ended; the kernel then ends every other one."""
    _bound()
    libc.capset(*_no_capabilities())
    _close_from(0, tether)
    while True:
        pid, status = os.wait()
        if pid == program:
            os._exit(_status(status))


def _build(outside: dict[str, Any]) -> None:
    """A root that has what the view names."""
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    root = Path(outside["root"])
    _mount("tmpfs", str(root), "tmpfs", _NO_SETUID | _NO_DEVICES, "mode=755,size=1m,nr_inodes=4096")
    for name in ("proc", "dev", "old"):
        (root / name).mkdir(mode=0o755)
    _devices(root / "dev")
    for data, place in outside["memory"]:
        target = root / place[1:]
        target.mkdir(exist_ok=True)
        _mount("tmpfs", str(target), "tmpfs", _NO_SETUID | _NO_DEVICES, data)
    for place in outside["parents"]:
        (root / place[1:]).mkdir(mode=0o755, exist_ok=True)
    for kind, source, place in outside["mounts"]:
        target = root / place[1:]
        if kind == "link":
            target.symlink_to(source)
        else:
            _bind(source, target, writable=kind == "write")
    _mount("none", str(root / "dev"), None, _REMOUNT | _BIND | _READ_ONLY | _NO_SETUID)
    os.chdir(root)
    _checked(libc.syscall(ctypes.c_long(_pivot_root()), b".", b"old"), "pivot_root")
    _mount("proc", "/proc", "proc", _NO_SETUID | _NO_DEVICES | _NO_PROGRAMS)
    _checked(libc.umount2(b"/old", _DETACH), "umount")
    Path("/old").rmdir()
    _mount("none", "/", None, _REMOUNT | _BIND | _READ_ONLY | _NO_SETUID | _NO_DEVICES)


def _devices(folder: Path) -> None:
    _mount("tmpfs", str(folder), "tmpfs", _NO_SETUID, "mode=755,size=64k,nr_inodes=64")
    for name in _DEVICES:
        (folder / name).touch()
        _mount(f"/dev/{name}", str(folder / name), None, _BIND)
    for name, value in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (folder / name).symlink_to(f"/proc/self/{value}")
    (folder / "shm").mkdir()


def _bind(source: str, target: Path, *, writable: bool) -> None:
    if Path(source).is_dir():
        target.mkdir(mode=0o755, exist_ok=True)
    else:
        target.touch()
    _mount(source, str(target), None, _BIND)
    if not writable:
        _mount("none", str(target), None, _REMOUNT | _BIND | _READ_ONLY | _NO_SETUID | _NO_DEVICES)


def _drop(request: dict[str, Any]) -> None:
    """Give up rights, and take on limits. Everything else is left open to no child."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    # it may have the number that the listener is to have
    tether = fcntl.fcntl(request["tether"], fcntl.F_DUPFD_CLOEXEC, LISTENER + 1)
    if request["listener"] is not None and request["listener"] != LISTENER:
        os.dup2(request["listener"], LISTENER)
    _close_from(LISTENER if request["listener"] is None else LISTENER + 1, tether)
    if request["listener"] is not None:
        os.set_inheritable(LISTENER, True)
    _yield_to_others()
    for name, most in request["limits"].items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (most, most))
    if request["uid"] is not None:
        _bound()
        os.setgroups([])
        os.setresgid(*[request["uid"]] * 3)
        os.setresuid(*[request["uid"]] * 3)
    libc.capset(*_no_capabilities())
    _tie(tether, alone=request["alone"])
    _prctl(_NO_NEW_PRIVILEGES, 1)
    if request["filter"]:
        _filter(base64.b64decode(request["filter"]))
    os.chdir(request["cwd"])


def _tie(tether: int, *, alone: bool) -> None:
    """End this process with the service that has asked for it, whatever of what is between them has ended before.

    The kernel sends the signal when the service's end of the tether is closed, as long as this end is open, and the
    sandbox's first process has it open, too. Death signals do not do here: one that is set after the parent has died is
    never sent, and a process that dies of one may be the one that its child waits for.

    Args:
        tether: one of a pair of sockets. Not a pipe: whoever sees an end of one in /proc may open the other one.
        alone: there is no first process, so the signal is that of the parent's death; the parent is the service.
    """
    if alone:
        _prctl(_DEATH_SIGNAL, signal.SIGKILL)
    else:
        # as the user that this process stays: the kernel compares them when it sends the signal
        fcntl.fcntl(tether, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(tether, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(tether, fcntl.F_SETFL, fcntl.fcntl(tether, fcntl.F_GETFL) | os.O_ASYNC)
    # it may have been closed before anybody was to be told
    closed = select.poll()
    closed.register(tether, 0)
    if closed.poll(0):
        sys.exit(NOT_STARTED)
    os.close(tether)


def _close_from(first: int, kept: int) -> None:
    """Close every descriptor from a number on, but for one."""
    os.closerange(first, kept)
    os.closerange(max(first, kept + 1), resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _yield_to_others() -> None:
    """Be behind others where time is short, and the first to be ended where memory runs out."""
    if os.getsid(0) != os.getpid():
        with suppress(PermissionError):
            os.setsid()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.nice(NICE)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with suppress(KeyError):
        libc.syscall(ctypes.c_long(_number("ioprio_set")), _IO_OF_PROCESS, 0, _IDLE_IO)


def _bound() -> None:
    """Let no program that is run have a capability."""
    number = 0
    while libc.prctl(_DROP_BOUND, number, 0, 0, 0) == 0:
        number += 1


def _no_capabilities() -> tuple[ctypes.Array[ctypes.c_uint32], ctypes.Array[ctypes.c_uint32]]:
    return (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0), (ctypes.c_uint32 * 6)()


def _filter(program: bytes) -> None:
    """Let the kernel refuse what `program`, a filter of seccomp, refuses."""
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    filled = Program(len(program) // 8, ctypes.addressof(code))
    _prctl(_SECCOMP, _FILTER, ctypes.addressof(filled))


def _loopback_up() -> None:
    """A network of its own has a loopback that is down; programs that use it among themselves may."""
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 1))


def _pivot_root() -> int:
    return _number("pivot_root")


def _number(name: str) -> int:
    """The number of a system call that the C library has no function for.

    Raises:
        KeyError: it is not known for this machine.
    """
    numbers = {
        "x86_64": {"pivot_root": 155, "ioprio_set": 251},
        "aarch64": {"pivot_root": 41, "ioprio_set": 30},
    }
    return numbers[os.uname().machine][name]


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    done = libc.mount(
        source.encode(), target.encode(), None if kind is None else kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _checked(done, f"mount {target}")


def _prctl(*arguments: int) -> None:
    values = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[1:5]]
    _checked(libc.prctl(arguments[0], *values), f"prctl {arguments[0]}")


def _checked(done: int, what: str) -> None:
    if done != 0:
        sys.stderr.write(f"{what}: {os.strerror(ctypes.get_errno())}\n")
        sys.stderr.flush()
        os._exit(NOT_STARTED)


def _status(waited: int) -> int:
    """An exit status that tells of a signal too, as shells have it."""
    code = os.waitstatus_to_exitcode(waited)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main(int(sys.argv[1]))
