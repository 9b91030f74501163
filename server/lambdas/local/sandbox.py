"""How a program is started apart from everything else: one order, and what each way of isolation makes of it."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from server.lambdas.local import view
from server.lambdas.local.enter import NICE
from server.lambdas.local.view import Bind, Link, Memory, Mount

ENTER = Path(__file__).with_name("enter.py")
_ENTER_INSIDE = "/lambda/enter.py"
_REQUEST = "{request}"
_REPORT = "{report}"
_KEPT = "{kept}"
MOST_FILES = 1 << 14
"""Most files in a writable folder in memory: each takes a kilobyte that its size does not count."""


class Way(Enum):
    """How programs are kept apart."""

    BUBBLEWRAP = "bubblewrap"
    USER = "user"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Order:
    """A program to be started.

    Attributes:
        arguments: what follows the interpreter.
        mounts: what it sees besides Python.
        uid: the user that it becomes, where this process is root.
        memory: most bytes of private memory of one process; also what is kept for its writable folder.
        processes, files, file_bytes: limits; `processes` of its user.
        folder: a closed folder of this start alone, for what the start needs.
        filter: a program of seccomp; empty where none can be made.
        listener: a socket that the program inherits as descriptor 3.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    mounts: tuple[Mount, ...]
    folder: Path
    uid: int | None
    memory: int
    processes: int
    files: int
    file_bytes: int
    temporary: int
    network: bool = False
    filter: bytes = field(default=b"", repr=False)
    listener: int | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command line with places for descriptors, and the request that the first one is read from."""

    argv: tuple[str, ...]
    request: dict[str, object] = field(repr=False)

    def with_descriptors(self, request: int, report: int, kept: int) -> tuple[str, ...]:
        """The command line for descriptors that it inherits."""
        places = {_REQUEST: str(request), _REPORT: str(report), _KEPT: str(kept)}
        return tuple(places.get(one, one) for one in self.argv)


def command(way: Way, order: Order, report: int, tether: int) -> Command:
    """What starts an order.

    Args:
        way: how it is kept apart.
        order: what is started.
        report: the descriptor that the number of the sandbox's first process is written to, as bubblewrap does it.
        tether: the descriptor whose other end is closed when the program is to end.
    """
    request = _request(order, tether, alone=way is Way.NONE)
    match way:
        case Way.BUBBLEWRAP:
            return Command(_bubblewrap(order), request)
        case Way.USER:
            outside = _outside(order, report)
            return Command(_python(str(ENTER), _REQUEST), {**request, "outside": outside})
        case Way.NONE:
            places = {one.target: one.source for one in order.mounts if isinstance(one, Bind)}
            environment = {name: _placed(value, places) for name, value in order.environment.items()}
            argv = [_placed(one, places) for one in _python(*order.arguments)]
            home = order.folder / "tmp"
            home.mkdir(exist_ok=True)
            environment |= {"HOME": str(home), "TMPDIR": str(home)}
            request |= {"argv": argv, "env": environment, "cwd": str(home), "uid": None}
            return Command(_python(str(ENTER), _REQUEST), request)


def _request(order: Order, tether: int, *, alone: bool) -> dict[str, object]:
    limits = {
        "CORE": 0,
        "DATA": order.memory,
        "FSIZE": order.file_bytes,
        "NOFILE": order.files,
        "MEMLOCK": 64 << 10,
        "MSGQUEUE": 64 << 10,
        "RTPRIO": 0,
        "NICE": 20 - NICE,
    }
    if not alone:
        limits["NPROC"] = order.processes
    return {
        "outside": None,
        "argv": list(_python(*order.arguments)),
        "env": dict(order.environment),
        "cwd": view.TEMPORARY,
        "uid": order.uid,
        "limits": limits,
        "filter": base64.b64encode(order.filter).decode(),
        "listener": order.listener,
        "tether": tether,
        "alone": alone,
    }


def _python(*arguments: str) -> tuple[str, ...]:
    """The interpreter, with nothing of its user or of the folder that it is started in."""
    isolated = ("-I", "-S") if arguments[0] in (str(ENTER), _ENTER_INSIDE) else ("-P",)
    return (sys.executable, *isolated, *arguments)


def _mounts(order: Order) -> tuple[Mount, ...]:
    own = (
        Memory(view.TEMPORARY, order.temporary),
        Memory(view.SHARED_MEMORY, min(order.temporary, view.SHARED_MEMORY_BYTES)),
    )
    network = view.network() if order.network else ()
    # Python itself may be below a folder that is replaced here
    return (*own, *view.python(), *network, *order.mounts)


def _bubblewrap(order: Order) -> tuple[str, ...]:
    mounts = (*_mounts(order), Bind(str(ENTER), _ENTER_INSIDE))
    argv = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    argv += [] if order.network else ["--unshare-net"]
    # not --die-with-parent: who dies between telling of the sandbox's first process and letting it go on leaves it
    # waiting for ever
    argv += ["--sync-fd", _KEPT, "--info-fd", _REPORT]
    argv += ["--new-session", "--clearenv", "--hostname", "lambda"]
    argv += ["--cap-drop", "ALL"]
    if order.uid is None:
        # nobody inside makes a namespace in which it has rights
        argv += ["--unshare-user", "--disable-userns"]
    else:
        # given up by what is run inside, once it has become the lambda's user
        for name in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            argv += ["--cap-add", name]
    # pages of /dev/zero that are mapped are counted nowhere
    argv += ["--proc", "/proc", "--dev", "/dev", "--dev-bind", "/dev/null", "/dev/zero"]
    for mount in mounts:
        if isinstance(mount, Memory):
            argv += ["--perms", "1777", "--size", str(mount.size), "--tmpfs", mount.target]
    # otherwise bubblewrap makes them for its own user alone
    for name in view.parents(mounts):
        argv += ["--perms", "0755", "--dir", name]
    for mount in mounts:
        match mount:
            case Bind(source, target, writable):
                argv += ["--bind" if writable else "--ro-bind", source, target]
            case Link(value, target):
                argv += ["--symlink", value, target]
    argv += ["--remount-ro", "/dev", "--remount-ro", "/", "--", *_python(_ENTER_INSIDE, _REQUEST)]
    return tuple(argv)


def _outside(order: Order, report: int) -> dict[str, object]:
    mounts = _mounts(order)
    root = order.folder / "root"
    root.mkdir(exist_ok=True)
    told, memory = [], []
    for mount in mounts:
        match mount:
            case Bind(source, target, writable):
                told.append(("write" if writable else "read", source, target))
            case Link(value, target):
                told.append(("link", value, target))
            case Memory(target, size):
                memory.append((f"mode=1777,size={size},nr_inodes={MOST_FILES}", target))
    return {
        "report": report,
        "root": str(root),
        "network": order.network,
        "parents": view.parents(mounts),
        "memory": memory,
        "mounts": told,
    }


def _placed(value: str, places: Mapping[str, str]) -> str:
    """A value whose places of the sandbox are those of the host."""
    for target, source in places.items():
        value = value.replace(target, source)
    return value
