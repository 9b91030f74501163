"""Parts of the local runner by themselves: lines, places, users, system calls, control groups."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
from pathlib import Path

import pytest

from server.errors import Busy, DeadlineExceeded, NoIsolation
from server.lambdas.gate import Gate
from server.lambdas.local import isolation, seccomp, uids, view
from server.lambdas.local.cgroups import Cgroups
from server.lambdas.local.isolation import Isolation
from server.lambdas.local.output import LINE_BYTES, Lines, Log, Reader, readable
from server.lambdas.local.priority import FIRST_STAY, Priority
from server.lambdas.local.sandbox import MOST_FILES
from server.lambdas.local.usage import Usage
from server.lambdas.local.watch import Most, excess


def used(seconds: float = 0.0, threads: int = 1, held: int = 0, files: int = 0, runnable: int = 0) -> Usage:
    """Of no process that there is, so that nobody's place is changed."""
    return Usage((1 << 30,), threads, 0, held, files, seconds, runnable)


# what is written


def test_the_newest_lines_are_kept_within_their_bytes() -> None:
    lines = Lines(100)
    for number in range(50):
        lines.add(f"line {number:02}")
    assert lines.tail(None) == [f"line {number:02}" for number in range(38, 50)]
    assert lines.tail(2) == ["line 48", "line 49"]
    assert lines.tail(0) == []


def test_a_line_is_text_whatever_was_written() -> None:
    assert readable("ok \t é\r".encode()) == "ok \t é"
    assert readable(b"a\x00b\x1b[31m\xff") == "a�b�[31m�"


async def test_a_pipe_is_read_in_lines_and_long_ones_are_cut() -> None:
    lines: list[str] = []
    reader = Reader(lines.append)
    os.write(reader.writing, b"one\ntwo\n" + b"x" * (LINE_BYTES + 5) + b"\nlast")
    await reader.close()
    assert [len(line) for line in lines] == [3, 3, LINE_BYTES, 5, 4]


async def test_a_pipe_is_read_no_faster_than_its_rate() -> None:
    lines: list[str] = []
    reader = Reader(lines.append, rate=1 << 20)
    os.set_blocking(reader.writing, False)
    written, loop = 0, asyncio.get_running_loop()
    ends = loop.time() + 1.0
    while loop.time() < ends:
        try:
            written += os.write(reader.writing, b"y" * 1023 + b"\n")
        except BlockingIOError:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)
    await reader.close()
    assert (2 << 20) * 0.3 < written <= (2 << 20) + (1.5 * (1 << 20)) + (128 << 10)


async def test_a_log_outlives_who_keeps_it(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", 1000)
    for number in range(100):
        log.add(f"line {number}")
    await log.close()
    assert Log(tmp_path / "log", 1000).tail(1) == ["line 99"]
    assert (tmp_path / "log").stat().st_size <= 1000


# who is given time


def test_a_sandbox_that_takes_much_time_is_idle_work_for_longer_each_time() -> None:
    priority = Priority()
    now, seconds, stays, since = 0.0, 0.0, [], None
    while now < 120:
        now += 0.1
        seconds += 0.2
        before = priority.idle
        priority.look(used(seconds), now)
        if priority.idle and not before:
            since = now
        if before and not priority.idle and since is not None:
            stays.append(now - since)
            # it pauses just long enough to be let go
        if priority.idle and since is not None and now - since > stays_of(stays):
            seconds -= 0.2
    assert len(stays) >= 2
    assert stays == sorted(stays)
    assert stays[1] >= 1.5 * stays[0]


def stays_of(stays: list[float]) -> float:
    """When the test's sandbox becomes calm: as late as it may be still held."""
    return FIRST_STAY * 2 ** len(stays) - 2


def test_a_sandbox_that_takes_little_time_keeps_its_place() -> None:
    priority = Priority()
    for step in range(1, 1000):
        priority.look(used(step * 0.1 * 0.2), step * 0.1)
        assert not priority.idle


def test_many_threads_that_wait_for_a_processor_count_as_what_they_would_take() -> None:
    priority = Priority()
    for step in range(10):
        priority.look(used(step * 0.01, runnable=24), step * 0.1)
    assert priority.idle


def test_a_new_process_does_not_make_a_lambda_innocent() -> None:
    priority = Priority()
    for step in range(30):
        priority.look(used(step * 0.2), step * 0.1)
    assert priority.idle
    priority.look(used(0.1), 3.1)
    assert priority.idle


# what is too much


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (used(threads=10), None),
        (used(threads=12), "processes and threads"),
        (used(files=MOST_FILES + 1), "files in its temporary folders"),
        (used(held=2 << 20), "bytes of memory"),
    ],
)
def test_what_is_too_much_is_named(usage: Usage, told: str | None) -> None:
    reason = excess(usage, Most(1 << 20, 10))
    assert (reason is None) if told is None else (reason is not None and told in reason)


async def test_a_gate_refuses_whom_it_has_no_place_for() -> None:
    gate, ends = Gate(1, 1), asyncio.get_running_loop().time() + 0.3
    async with gate.passed(ends):
        waiting = asyncio.create_task(enter(gate, ends))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await enter(gate, ends)
        with pytest.raises(DeadlineExceeded):
            await waiting
    await enter(gate, ends)


async def enter(gate: Gate, ends: float) -> None:
    async with gate.passed(ends):
        pass


# who lambdas are


def test_users_are_those_that_nobody_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    first = uids.free(tmp_path, [])
    assert first is not None
    assert first >= 1 << 30
    assert uids.free(tmp_path, [first]) == first + 1
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert uids.free(tmp_path, []) is None


# what the kernel refuses


@pytest.mark.skipif(not seccomp.program(), reason="libseccomp is not installed")
def test_the_filter_is_a_program_of_whole_instructions() -> None:
    program = seccomp.program()
    assert len(program) % 8 == 0
    assert 50 < len(program) // 8 < 4096
    for begin in range(0, len(program), 8):
        struct.unpack("HBBI", program[begin : begin + 8])


# what a sandbox sees


def test_python_is_seen_and_nothing_that_is_not_needed() -> None:
    targets = [mount.target for mount in view.python()]
    assert len(targets) == len(set(targets))
    for forbidden in ("/", "/etc", "/root", "/home", "/var", "/usr", "/tmp", "/run", "/proc", "/sys"):
        assert forbidden not in targets


def test_the_folders_above_mounts_come_outer_ones_first() -> None:
    assert view.parents((view.Bind("/x", "/a/b/c"), view.Link("y", "/a/d"))) == ["/a", "/a/b"]


# whether there is a way


async def test_without_bubblewrap_and_without_root_lambdas_are_refused_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(isolation.os, "geteuid", lambda: 1000)
    with pytest.raises(NoIsolation) as refusal:
        await Isolation("auto").way()
    told = refusal.value.detail
    assert "bubblewrap: bwrap is not installed" in told
    assert "user: only root may become the user of a lambda" in told
    assert "Install bubblewrap" in told
    assert "LUNA_LAMBDAS__ISOLATION=none" in told


async def test_a_bubblewrap_that_cannot_make_a_sandbox_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(NoIsolation, match="No permissions to create new namespace"):
        await Isolation("bubblewrap").way()


# control groups


def tree(root: Path, marked: bool = True) -> Path:
    """Files as a delegated part of the tree has them; the kernel's part is not played."""
    own = root / "system.slice" / "luna.service" / "supervisor"
    own.mkdir(parents=True)
    given = own.parent
    (root / "cgroup.controllers").write_text("cpu memory pids")
    (given / "cgroup.controllers").write_text("cpu memory pids")
    (given / "cgroup.subtree_control").write_text("cpu memory pids")
    if marked:
        try:
            os.setxattr(given, "user.delegate", b"1")
        except OSError:
            pytest.skip("this file system has no extended attributes")
    (root / "membership").write_text("0::/system.slice/luna.service/supervisor\n")
    return given


def test_a_part_of_the_tree_that_was_not_given_is_left_alone(tmp_path: Path) -> None:
    tree(tmp_path, marked=False)
    assert not Cgroups.found(tmp_path, tmp_path / "membership").available
    assert Cgroups.found(tmp_path / "nowhere", tmp_path / "membership").make("x", 1, 1) is None


def test_a_sandbox_has_a_group_with_its_limits(tmp_path: Path) -> None:
    given = tree(tmp_path)
    one = Cgroups(given).make("abc", 1000, 10)
    assert one is not None
    assert (one.path / "memory.max").read_text() == "1000"
    assert (one.path / "pids.max").read_text() == "10"
    assert one.join(os.getpid())
    assert (one.path / "cgroup.procs").read_text() == str(os.getpid())
    assert not one.killed()
    (one.path / "memory.events").write_text("low 0\noom 1\noom_kill 3\noom_group_kill 1\n")
    assert one.killed()
