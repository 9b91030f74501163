"""System calls that no lambda needs, refused by the kernel: a filter made by libseccomp, where that is installed.

What a sandbox does not show cannot be reached without it either. It narrows what of the kernel itself can be attacked,
and closes ways to hold memory that nobody counts.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
from functools import cache

_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000
_EQUAL, _MASKED_EQUAL = 4, 7

_REFUSED = (
    # other processes
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise"),
    # namespaces, mounts, roots
    *("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsmount"),
    *("fsconfig", "fspick", "mount_setattr", "name_to_handle_at", "open_by_handle_at"),
    # the kernel
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog", "acct"),
    *("swapon", "swapoff", "quotactl", "quotactl_fd", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime"),
    *("iopl", "ioperm", "modify_ldt", "vm86", "vm86old", "lookup_dcookie", "nfsservctl", "vhangup", "uselib", "ustat"),
    *("sethostname", "setdomainname", "fanotify_init", "landlock_create_ruleset", "personality"),
    # keys are shared beyond sandboxes
    *("keyctl", "add_key", "request_key"),
    # memory that no process maps
    *("memfd_create", "memfd_secret", "shmget", "msgget", "semget", "mq_open"),
    # the place that the scheduler gives it
    *("sched_setscheduler", "sched_setparam", "sched_setattr", "ioprio_set"),
    # a session of its own is a group of the scheduler of its own
    "setsid",
    *("set_mempolicy", "mbind", "migrate_pages", "move_pages"),
)
_CLONES = ("clone",)
_NEW_NAMESPACES = 0x7E020080
"""Every CLONE_NEW... flag."""
_FAMILIES_LAST = 10
"""AF_UNIX is 1, AF_INET 2, AF_INET6 10; AF_NETLINK, which the C library asks for addresses with, is 16."""
_NETLINK = 16
_SHARED, _PRIVATE, _ANONYMOUS = 1, 2, 32
"""Of mmap. Memory that is shared and of no file stays where no process shows it any more, and nobody could count it."""
_IOCTL_PUSHES_INPUT = 0x5412


class _Compare(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


@cache
def program() -> bytes:
    """A filter as the kernel takes it; empty where libseccomp is not installed."""
    name = ctypes.util.find_library("seccomp") or "libseccomp.so.2"
    try:
        library = ctypes.CDLL(name, use_errno=True)
    except OSError:
        return b""
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    try:
        for call in _REFUSED:
            _refuse(library, context, call, errno.EPERM)
        for call in _CLONES:
            for bit in range(32):
                if _NEW_NAMESPACES >> bit & 1:
                    _refuse(library, context, call, errno.EPERM, _Compare(0, _MASKED_EQUAL, 1 << bit, 1 << bit))
        # its flags are in memory, where a filter cannot look; the C library then takes clone
        _refuse(library, context, "clone3", errno.ENOSYS)
        for family in range(64):
            if family not in (1, 2, _FAMILIES_LAST, _NETLINK):
                _refuse(library, context, "socket", errno.EAFNOSUPPORT, _Compare(0, _EQUAL, family, 0))
        for shared in (_SHARED, _SHARED | _PRIVATE):
            kind = _SHARED | _PRIVATE | _ANONYMOUS
            _refuse(library, context, "mmap", errno.EPERM, _Compare(3, _MASKED_EQUAL, kind, shared | _ANONYMOUS))
        _refuse(library, context, "ioctl", errno.EPERM, _Compare(1, _EQUAL, _IOCTL_PUSHES_INPUT, 0))
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _refuse(library: ctypes.CDLL, context: ctypes.c_void_p, call: str, number: int, *compared: _Compare) -> None:
    """Add a rule. A call that this machine, or this libseccomp, does not know needs none."""
    known = library.seccomp_syscall_resolve_name(call.encode())
    if known >= 0:
        conditions = (_Compare * len(compared))(*compared)
        library.seccomp_rule_add_array(
            context, ctypes.c_uint32(_REFUSE | number), known, ctypes.c_uint(len(compared)), conditions
        )


def _exported(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    handle = os.memfd_create("filter")
    try:
        if library.seccomp_export_bpf(context, handle) != 0:
            return b""
        return os.pread(handle, os.fstat(handle).st_size, 0)
    finally:
        os.close(handle)
